//! Records in, effects out: each once, in order; failures retried, given up into the dead-letter topic; clean stops redeliver nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::time::Duration;

use common::{Broker, Recorder, assert_once_and_in_order, eventually, ready};
use kafka_worker_pool::{HandlerError, Order};

on_all_brokers!(
    everything_is_handled_once_and_a_restart_redelivers_nothing,
    what_keeps_failing_becomes_a_dead_letter,
    an_environment_that_is_away_costs_no_attempt,
    batches_are_taken_apart_around_the_culprit,
    two_topics_share_the_order_of_a_key,
);

async fn everything_is_handled_once_and_a_restart_redelivers_nothing(broker: Broker) {
    let topic = broker.topic(4).await;
    broker.send(&topic, 0..3_000, 50).await;
    let first = Recorder::that_succeeds();
    let pool = broker.pool(&topic).handler(first.clone()).start().unwrap();
    ready(&pool).await;
    first.until(3_000).await;
    let report = pool.stop().await.unwrap();
    assert_eq!((report.handled, report.undone, report.dead_lettered), (3_000, 0, 0));
    assert_once_and_in_order(&first.done(), 0..3_000);

    broker.send(&topic, 3_000..3_100, 50).await;
    let second = Recorder::that_succeeds();
    let pool = broker.pool(&topic).handler(second.clone()).start().unwrap();
    second.until(100).await;
    pool.stop().await.unwrap();
    assert_once_and_in_order(&second.done(), 3_000..3_100);
}

async fn what_keeps_failing_becomes_a_dead_letter(broker: Broker) {
    let topic = broker.topic(2).await;
    let letters = format!("{topic}.{}.dlq", broker.group);
    broker.create(&letters, 1).await;
    broker.send(&topic, 0..100, 10).await;
    let recorder = Recorder::new(Duration::ZERO, |number, tries| match number {
        7 => Err(HandlerError::retry("always fails")),
        18 => Err(HandlerError::reject("cannot be read")),
        29 if tries == 0 => panic!("planned"),
        31 if tries < 2 => Err(HandlerError::retry("fails twice")),
        _ => Ok(()),
    });
    let mut options = broker.options();
    options.max_attempts = 3;
    let pool = broker.pool(&topic).options(options).handler(recorder.clone()).start().unwrap();
    recorder.until(98).await;
    let mut found = broker.read(&letters, 2).await;
    found.sort_by_key(|(_, headers)| headers["ctms_cause"].clone());
    let (key, headers) = &found[0];
    assert_eq!(key, "k7", "the record's own key is kept");
    assert_eq!((headers["ctms_cause"].as_str(), headers["ctms_attempts"].as_str()), ("always fails", "3"));
    assert_eq!(
        (headers["ctms_topic"].as_str(), headers["ctms_group"].as_str()),
        (topic.as_str(), broker.group.as_str())
    );
    assert_eq!(found[1].1["ctms_attempts"], "1", "a rejection is given up at once");
    assert_eq!(recorder.tries(7), 3);
    assert_eq!((recorder.tries(29), recorder.tries(31)), (2, 3));
    let report = pool.stop().await.unwrap();
    assert_eq!((report.handled, report.dead_lettered, report.retried), (100, 2, 2 + 1 + 2));
}

async fn an_environment_that_is_away_costs_no_attempt(broker: Broker) {
    let topic = broker.topic(2).await;
    broker.send(&topic, 0..200, 20).await;
    let recorder = Recorder::new(Duration::ZERO, |number, tries| match number {
        100 if tries < 8 => Err(HandlerError::unavailable("database away")),
        _ => Ok(()),
    });
    let mut options = broker.options();
    options.max_attempts = 2;
    options.circuit.max = Duration::from_millis(50);
    let pool = broker.pool(&topic).options(options).handler(recorder.clone()).start().unwrap();
    recorder.until(200).await;
    let report = pool.stop().await.unwrap();
    assert_eq!((report.handled, report.dead_lettered), (200, 0));
    assert_eq!(recorder.tries(100), 9);
    assert_once_and_in_order(&recorder.done(), 0..200);
}

async fn batches_are_taken_apart_around_the_culprit(broker: Broker) {
    let topic = broker.topic(2).await;
    let letters = format!("{topic}.{}.dlq", broker.group);
    broker.create(&letters, 1).await;
    broker.send(&topic, 0..500, 7).await;
    let recorder = Recorder::new(Duration::from_millis(1), |number, _| match number {
        250 => Err(HandlerError::retry("the culprit")),
        _ => Ok(()),
    });
    let mut options = broker.options();
    options.max_batch = 64;
    options.max_attempts = 2;
    let pool = broker.pool(&topic).options(options).handler(recorder.clone()).start().unwrap();
    recorder.until(499).await;
    assert_eq!(broker.read(&letters, 1).await[0].0, "k5");
    let report = pool.stop().await.unwrap();
    assert_eq!((report.handled, report.dead_lettered), (500, 1));
    let done = recorder.done();
    assert_eq!(done.len(), 499, "nothing of a failed batch was applied twice");
    for pair in done.iter().filter(|seen| seen.key == "k5").collect::<Vec<_>>().windows(2) {
        assert!(pair[0].number < pair[1].number);
    }
}

async fn two_topics_share_the_order_of_a_key(broker: Broker) {
    let (main, retry) = (broker.topic(2).await, broker.topic(2).await);
    let recorder = Recorder::new(Duration::from_millis(1), |_, _| Ok(()));
    let pool = broker.pool(&main).topics([main.as_str(), retry.as_str()]).handler(recorder.clone()).start().unwrap();
    ready(&pool).await;
    broker.send(&main, 0..200, 3).await;
    broker.send(&retry, 200..400, 3).await;
    // The recorder itself checks that no two records of one key run at once.
    recorder.until(400).await;
    eventually("the lag is known and gone", || pool.status().lag == Some(0)).await;
    assert_eq!(pool.stop().await.unwrap().handled, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partition_order_on_the_embedded_broker() {
    let broker = Broker::embedded(kafka_worker_pool::GroupProtocol::Auto);
    let topic = broker.topic(3).await;
    broker.send(&topic, 0..300, 100).await;
    let recorder = Recorder::new(Duration::from_millis(1), |number, tries| match (number % 10, tries) {
        (0, 0) => Err(HandlerError::retry("once")),
        _ => Ok(()),
    });
    let mut options = broker.options();
    options.order = Order::Partition;
    let pool = broker.pool(&topic).options(options).handler(recorder.clone()).start().unwrap();
    recorder.until(300).await;
    assert_eq!(pool.status().protocol, "consumer", "the embedded broker offers it");
    pool.stop().await.unwrap();
    let done = recorder.done();
    for partition in 0..3 {
        let offsets: Vec<_> = done.iter().filter(|seen| seen.partition == partition).map(|seen| seen.offset).collect();
        assert!(offsets.is_sorted(), "partition {partition}: {offsets:?}");
    }
}
