//! Members come and go while records flow: nothing lost, nothing doubled, order kept.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka_worker_pool::{Ended, GroupProtocol, HandlerError, PoolError, Record, StopError, each};
use rdkafka::types::RDKafkaRespErr;

use common::{Broker, Recorder, assert_all_and_in_order, assert_once_and_in_order, eventually, ready};

on_all_brokers!(
    a_second_member_joins_and_leaves_and_nothing_is_lost_or_doubled,
    a_stop_in_the_middle_leaves_the_rest_to_the_next,
    a_partition_that_went_is_no_lag_of_this_member,
);

// Not on the embedded broker under classic: it refuses commits while a group rebalances, and a revoke waits for its own.
on_real_kafka!(partitions_that_stay_flow_on_when_the_others_are_drained);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_stay_flow_on_when_the_others_are_drained_on_the_embedded_broker() {
    partitions_that_stay_flow_on_when_the_others_are_drained(Broker::embedded(GroupProtocol::Consumer)).await;
}

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

/// librdkafka pauses all partitions while some are revoked. What is measured is how long the others are silent after that.
async fn partitions_that_stay_flow_on_when_the_others_are_drained(broker: Broker) {
    const SOON: Duration = Duration::from_millis(400);
    let topic = broker.topic(4).await;
    let done: Arc<Mutex<Vec<(i32, Instant)>>> = Arc::default();
    let seen = Arc::clone(&done);
    let work = move |record: Record| {
        let seen = Arc::clone(&seen);
        async move {
            // So a drain takes as long, and every fetch ends meanwhile.
            tokio::time::sleep(Duration::from_millis(100)).await;
            seen.lock().unwrap().push((record.partition, Instant::now()));
            Ok::<(), HandlerError>(())
        }
    };
    let first = broker.pool(&topic).handler(each(work)).start().unwrap();
    ready(&first).await;
    let rounds = async {
        // When its fetcher falls asleep is chance, so one round could pass by luck.
        for _ in 0..4 {
            eventually("the first member has all partitions", || first.status().assigned.len() == 4).await;
            let second = broker.pool(&topic).handler(Recorder::that_succeeds()).start().unwrap();
            eventually("the members share", || first.status().assigned.len() == 2).await;
            let let_go = Instant::now();
            let kept: Vec<i32> = first.status().assigned.iter().map(|kept| kept.partition).collect();
            let fresh = |(partition, at): &(i32, Instant)| {
                // Not those whose handling had begun before.
                kept.contains(partition) && *at > let_go + Duration::from_millis(100)
            };
            eventually("a partition that stayed flows", || done.lock().unwrap().iter().any(fresh)).await;
            let silence = done.lock().unwrap().iter().find(|seen| fresh(seen)).unwrap().1 - let_go;
            assert!(silence < SOON, "silent for {silence:?}");
            eventually("the second member has its part", || second.status().assigned.len() == 2).await;
            second.stop().await.unwrap();
        }
    };
    tokio::select! {
        _ = broker.send_paced(&topic, 1_000_000, 200, Duration::from_millis(5)) => panic!("the records ended"),
        () = rounds => {}
    }
    first.stop().await.unwrap();
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

async fn a_partition_that_went_is_no_lag_of_this_member(broker: Broker) {
    let topic = broker.topic(2).await;
    broker.send(&topic, 0..100, 20).await;
    let recorder = Recorder::that_succeeds();
    let first = broker.pool(&topic).handler(recorder.clone()).start().unwrap();
    recorder.until(100).await;
    first.pause();
    broker.send(&topic, 100..200, 20).await;
    eventually("the first member is behind in both", || first.status().lag == Some(100)).await;
    let second = broker.pool(&topic).handler(recorder.clone()).start().unwrap();
    second.pause();
    let has_one = |status: kafka_worker_pool::Status| status.assigned.len() == 1;
    eventually("each has one", || has_one(first.status()) && has_one(second.status())).await;
    let kept = first.status().assigned[0].partition;
    let done_of_kept = recorder.done().iter().filter(|seen| seen.partition == kept).count();
    let behind = i64::try_from(broker.offsets(&topic, kept).await.len() - done_of_kept).unwrap();
    assert!((1..100).contains(&behind), "both partitions have records: {behind}");
    eventually("the first member's lag is that of its one", || first.status().lag == Some(behind)).await;
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}
