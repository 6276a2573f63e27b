//! Where a partition starts and what is kept of its progress: Kafka's commit, a store of the user's, positions the broker does not have, topics
//! that do not exist yet, brokers that come late.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Broker, Recorder, assert_once_and_in_order, eventually, ready};
use kafka_worker_pool::{BoxError, GroupProtocol, KafkaWorkerPool, PositionStore, Start, TopicPartition};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};

on_all_brokers!(
    a_store_decides_where_to_start_and_knows_before_kafka_does,
    a_position_the_broker_does_not_have_starts_from_the_earliest,
    a_partition_paused_while_it_is_started_anew_goes_on_when_it_is_resumed,
    a_topic_made_late_is_read,
    latest_reads_only_what_comes_after,
);

#[derive(Clone, Default)]
struct Store {
    kept: Arc<Mutex<HashMap<TopicPartition, i64>>>,
    is_away: Arc<AtomicBool>,
}

impl PositionStore for Store {
    async fn load(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Option<i64>)>, BoxError> {
        if self.is_away.load(Ordering::Acquire) {
            return Err("the database is away".into());
        }
        let kept = self.kept.lock().unwrap();
        Ok(partitions.iter().map(|name| (name.clone(), kept.get(name).copied())).collect())
    }

    async fn save(&self, positions: &[(TopicPartition, i64)]) -> Result<(), BoxError> {
        self.kept.lock().unwrap().extend(positions.iter().cloned());
        Ok(())
    }
}

async fn a_store_decides_where_to_start_and_knows_before_kafka_does(broker: Broker) {
    let topic = broker.topic(1).await;
    broker.send(&topic, 0..100, 10).await;
    let store = Store::default();
    let name = TopicPartition::new(topic.as_str(), 0);
    store.kept.lock().unwrap().insert(name.clone(), 40);
    store.is_away.store(true, Ordering::Release);
    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(&topic).handler(recorder.clone()).positions(store.clone()).start().unwrap();
    eventually("the error shows", || pool.status().last_error.is_some_and(|error| error.contains("away"))).await;
    assert_eq!(recorder.count(), 0, "it waits for the store");
    store.is_away.store(false, Ordering::Release);
    recorder.until(60).await;
    assert_eq!(pool.stop().await.unwrap().handled, 60);
    assert_once_and_in_order(&recorder.done(), 40..100);
    assert_eq!(store.kept.lock().unwrap()[&name], 100);

    // A store restored from an old backup reads again what it lost, whatever Kafka has.
    store.kept.lock().unwrap().insert(name, 90);
    let again = Recorder::that_succeeds();
    let pool = broker.pool(&topic).handler(again.clone()).positions(store).start().unwrap();
    again.until(10).await;
    pool.stop().await.unwrap();
    assert_once_and_in_order(&again.done(), 90..100);
}

async fn a_position_the_broker_does_not_have_starts_from_the_earliest(broker: Broker) {
    let topic = broker.topic(2).await;
    broker.send(&topic, 0..100, 10).await;
    let store = Store::default();
    for partition in 0..2 {
        store.kept.lock().unwrap().insert(TopicPartition::new(topic.as_str(), partition), 9_000);
    }
    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(&topic).handler(recorder.clone()).positions(store.clone()).start().unwrap();
    recorder.until(100).await;
    broker.send(&topic, 100..200, 10).await;
    recorder.until(200).await;
    assert_eq!(pool.stop().await.unwrap().handled, 200);
    assert_once_and_in_order(&recorder.done(), 0..200);
    assert!(store.kept.lock().unwrap().values().all(|position| *position < 9_000));
}

async fn a_partition_paused_while_it_is_started_anew_goes_on_when_it_is_resumed(broker: Broker) {
    const PARTITIONS: i32 = 30;
    let topic = broker.topic(PARTITIONS).await;
    let names: Vec<TopicPartition> =
        (0..PARTITIONS).map(|number| TopicPartition::new(topic.as_str(), number)).collect();
    broker.send_to_each(&topic, PARTITIONS).await;
    let store = Store::default();
    store.kept.lock().unwrap().extend(names.iter().map(|name| (name.clone(), 9_000)));
    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(&topic).handler(recorder.clone()).positions(store.clone()).start().unwrap();
    eventually("they are assigned", || pool.status().assigned.len() == names.len()).await;
    // Some are just being started anew now.
    pool.pause_partitions(names.clone());
    let all = names.len();
    // The first statistics come after two seconds, on the thread that starts partitions anew: behind all of that.
    eventually("the client has told its statistics", || pool.status().lag.is_some()).await;
    pool.resume_partitions(names);
    recorder.until(all).await;
    assert_eq!(pool.stop().await.unwrap().handled, all as u64);
}

async fn a_topic_made_late_is_read(broker: Broker) {
    let early = broker.topic(1).await;
    let late = format!("{early}-late");
    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(&early).topics([early.as_str(), late.as_str()]).handler(recorder.clone()).start().unwrap();
    broker.send(&early, 0..10, 3).await;
    recorder.until(10).await;
    if broker.embedded.is_some() && pool.status().protocol == "consumer" {
        // The embedded broker assigns by KIP-848 only when membership changes: a topic made late is seen by the next member.
        pool.stop().await.unwrap();
        return;
    }
    if broker.embedded.is_none() {
        // The embedded broker makes topics that are asked for.
        eventually("the missing topic is named", || pool.status().missing_topics == [late.as_str()]).await;
        broker.create(&late, 2).await;
    }
    broker.send(&late, 10..40, 3).await;
    recorder.until(40).await;
    eventually("nothing is missing", || pool.status().missing_topics.is_empty()).await;
    pool.stop().await.unwrap();
}

async fn latest_reads_only_what_comes_after(broker: Broker) {
    let topic = broker.topic(1).await;
    broker.send(&topic, 0..50, 5).await;
    let recorder = Recorder::that_succeeds();
    let mut options = broker.options();
    options.start = Start::Latest;
    let pool = broker.pool(&topic).options(options).handler(recorder.clone()).start().unwrap();
    ready(&pool).await;
    // The end is looked up before the assignment is told.
    broker.send(&topic, 50..60, 5).await;
    recorder.until(10).await;
    pool.stop().await.unwrap();
    assert_once_and_in_order(&recorder.done(), 50..60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_broker_that_comes_late_is_waited_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let recorder = Recorder::that_succeeds();
    let pool =
        KafkaWorkerPool::builder(address.to_string(), "g").topics(["late"]).handler(recorder.clone()).start().unwrap();
    eventually("the error shows", || pool.status().last_error.is_some()).await;
    assert!(!pool.status().is_ready());
    let options =
        EmbeddedOptions { listen: address, topics: vec![("late".to_owned(), 2)], ..EmbeddedOptions::default() };
    let broker = EmbeddedBroker::start(&options).unwrap();
    ready(&pool).await;
    pool.stop().await.unwrap();
    drop(broker);

    let never = KafkaWorkerPool::builder("127.0.0.1:1", "g").topics(["t"]).handler(recorder).start().unwrap();
    assert_eq!(never.stop().await.unwrap().handled, 0, "a pool that never connected stops at once");
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_start() {
    let builder = || KafkaWorkerPool::builder("127.0.0.1:1", "g").handler(Recorder::that_succeeds());
    assert!(builder().start().unwrap_err().to_string().contains("topics"));
    for (brokers, group, expected) in [(" ", "g", "brokers"), ("127.0.0.1:1", "", "group")] {
        let nameless = KafkaWorkerPool::builder(brokers, group).topics(["t"]).handler(Recorder::that_succeeds());
        let error = nameless.start().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut options = kafka_worker_pool::Options::default();
    options.protocol = GroupProtocol::Classic;
    options.client.insert("no.such.property".into(), "1".into());
    let error = builder().topics(["t"]).options(options).start().unwrap_err();
    assert!(error.to_string().contains("no.such.property"), "{error}");
    let mut options = kafka_worker_pool::Options::default();
    options.drain_timeout = Duration::MAX;
    let error = builder().topics(["t"]).options(options).start().unwrap_err();
    assert!(error.to_string().contains("drain_timeout"), "{error}");
}
