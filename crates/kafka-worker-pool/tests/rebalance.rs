//! Members come and go while records flow: nothing lost, nothing doubled, order kept.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::time::Duration;

use common::{Broker, Recorder, assert_once_and_in_order, eventually, ready};

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
    let all = usize::try_from(sent).unwrap();
    recorder.until(all).await;
    eventually("the first member has all partitions again", || first.status().assigned.len() == 8).await;
    let rest = first.stop().await.unwrap();
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
