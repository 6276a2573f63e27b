//! Members come and go while records flow: nothing lost, nothing doubled, order kept.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_worker_pool::{Ended, GroupProtocol, PoolError, StopError};
use rdkafka::types::RDKafkaRespErr;

use common::{Broker, Recorder, assert_all_and_in_order, assert_once_and_in_order, eventually, ready};

on_all_brokers!(
    a_second_member_joins_and_leaves_and_nothing_is_lost_or_doubled,
    a_stop_in_the_middle_leaves_the_rest_to_the_next
);

async fn a_second_member_joins_and_leaves_and_nothing_is_lost_or_doubled(broker: Broker) {
    let topic = broker.topic(8).await;
    // Both members share one recorder, so it sees the order of a key across them.
    let recorder = Recorder::new(Duration::from_millis(2), |_, _| Ok(()));
    let first = broker.pool(&topic).handler(recorder.clone()).start().unwrap();
    ready(&first).await;
    eventually("the first member has all partitions", || first.status().assigned.len() == 8).await;
    let mut sent = 500;
    broker.send(&topic, 0..sent, 40).await;
    let second = broker.pool(&topic).handler(recorder.clone()).start().unwrap();
    let shared = || first.status().assigned.len() == 4 && second.status().assigned.len() == 4;
    let deadline = std::time::Instant::now() + Duration::from_secs(40);
    while !shared() {
        assert!(std::time::Instant::now() < deadline, "{:?} {:?}", first.status(), second.status());
        broker.send(&topic, sent..sent + 100, 40).await;
        sent += 100;
    }
    broker.send(&topic, sent..sent + 1_000, 40).await;
    sent += 1_000;
    let report = second.stop().await.unwrap();
    assert_eq!(report.undone, 0);
    broker.send(&topic, sent..sent + 500, 40).await;
    sent += 500;
    let all = || recorder.done().iter().map(|seen| seen.number).collect::<BTreeSet<_>>().len() as u64 == sent;
    eventually("everything is done", all).await;
    eventually("the first member has all partitions again", || first.status().assigned.len() == 8).await;
    let rest = first.stop().await.unwrap();
    if broker.may_double() {
        let numbers: Vec<u64> = recorder.done().iter().map(|seen| seen.number).collect();
        assert_all_and_in_order(&numbers, 0..sent, 40);
        return;
    }
    assert_eq!(rest.handled + report.handled, sent);
    assert_once_and_in_order(&recorder.done(), 0..sent);
}

async fn a_stop_in_the_middle_leaves_the_rest_to_the_next(broker: Broker) {
    let topic = broker.topic(4).await;
    broker.send(&topic, 0..4_000, 40).await;
    let recorder = Recorder::new(Duration::from_millis(1), |_, _| Ok(()));
    let mut stops = 0;
    while recorder.count() < 4_000 {
        let mut options = broker.options();
        options.queue_capacity = 500;
        let pool = broker.pool(&topic).options(options).handler(recorder.clone()).start().unwrap();
        let enough = (recorder.count() + 700).min(4_000);
        recorder.until(enough).await;
        let report = pool.stop().await.unwrap();
        assert_eq!(report.undone, 0, "{report:?}");
        stops += 1;
    }
    assert!(stops > 1, "stopped in the middle");
    assert_once_and_in_order(&recorder.done(), 0..4_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fatal_error_ends_the_pool_on_the_embedded_broker() {
    const HEARTBEAT: i16 = 12;
    let broker = Broker::embedded(GroupProtocol::Classic);
    let topic = broker.topic(2).await;
    let mut options = broker.options();
    options.client.insert("group.instance.id".into(), "one".into());
    let pool = broker.pool(&topic).options(options).handler(Recorder::that_succeeds()).start().unwrap();
    ready(&pool).await;
    let fenced = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID; 3];
    broker.embedded.as_ref().unwrap().push_request_errors(HEARTBEAT, &fenced);
    let ended = tokio::time::timeout(Duration::from_secs(20), pool.finished()).await.unwrap();
    assert!(matches!(&ended, Err(PoolError::Client(_))), "{ended:?}");
    assert!(matches!(pool.stop().await, Err(StopError::Pool { report, .. }) if report.ended == Ended::Failed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_function_that_panics_ends_the_pool_on_the_embedded_broker() {
    let broker = Broker::embedded(GroupProtocol::Consumer);
    let topic = broker.topic(2).await;
    broker.send(&topic, 0..10, 2).await;
    let pool = broker
        .pool(&topic)
        .key(|record| if record.offset == 3 { panic!("planned") } else { bytes::Bytes::new() })
        .handler(Recorder::that_succeeds())
        .start()
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), pool.finished()).await.unwrap();
    assert!(matches!(&ended, Err(PoolError::Invariant(_))), "{ended:?}");
}
