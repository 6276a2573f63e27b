//! What was done above a record that is not: a new assignment knows of it by what stands beside the commit, and hands it out again only where
//! somebody reset the group, the topic was made anew, or nobody wrote it down.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Broker, Recorder, eventually};
use kafka_worker_pool::{BoxError, Handle, HandlerError, Options, PositionStore, Retry, StopError, TopicPartition};

on_all_brokers!(
    what_was_done_above_a_stuck_record_is_not_handed_out_again,
    what_others_wrote_beside_a_commit_is_ignored,
    with_a_store_nothing_is_written_beside_commits,
);
// The embedded broker lets nobody but its members commit, has no topics that go, and takes what it is given.
on_real_kafka!(
    a_group_that_was_reset_hands_out_everything,
    a_topic_made_anew_hands_out_everything,
    a_broker_that_takes_less_gets_nothing_beside_positions,
);

const RECORDS: u64 = 1_000;
/// All but the first.
const OTHERS: usize = 999;

/// Never ends the first record, nor any of its key.
fn stuck() -> Recorder {
    Recorder::new(Duration::ZERO, |number, _| match number {
        0 => Err(Retry::new("planned").after(Duration::from_secs(3_600)).into()),
        _ => Ok(()),
    })
}

fn options(broker: &Broker) -> Options {
    let mut options = broker.options();
    options.drain_timeout = Duration::from_millis(300);
    options.commit_interval_ms = 100;
    options
}

/// Records `1..RECORDS`, each with a key of its own, are done; record 0 is not.
async fn all_but_the_first_done(broker: &Broker, options: Options) -> String {
    let topic = broker.topic(1).await;
    broker.send(&topic, 0..RECORDS, RECORDS).await;
    let recorder = stuck();
    let pool = broker.pool(&topic).options(options).handler(recorder.clone()).start().unwrap();
    recorder.until(OTHERS).await;
    stop_with_one_undone(pool).await;
    topic
}

async fn stop_with_one_undone(pool: Handle) {
    let Err(StopError::Deadline(report)) = pool.stop().await else { panic!("one is not done") };
    assert_eq!(report.undone, 1, "{report:?}");
}

/// What a new pool is given of records `0..RECORDS`: it gets more behind them, and once those are done it stops.
async fn handed_out_again(broker: &Broker, topic: &str) -> Vec<u64> {
    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(topic).options(options(broker)).handler(recorder.clone()).start().unwrap();
    broker.send(topic, RECORDS..RECORDS + 10, RECORDS).await;
    let end = RECORDS + 9;
    eventually("what is new is done", || recorder.done().iter().any(|seen| seen.number == end)).await;
    pool.stop().await.unwrap();
    let mut numbers: Vec<u64> = recorder.done().iter().map(|seen| seen.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers.split_off(numbers.len() - 10), (RECORDS..RECORDS + 10).collect::<Vec<_>>(), "once each");
    numbers
}

fn everything() -> Vec<u64> {
    (0..RECORDS).collect()
}

async fn what_was_done_above_a_stuck_record_is_not_handed_out_again(broker: Broker) {
    let topic = all_but_the_first_done(&broker, options(&broker)).await;
    let (position, text) = broker.commit_of(&topic, 0).await.unwrap();
    assert_eq!((position, text.is_empty()), (0, false), "what is done stands beside the position");
    // A pool that is stuck at the same record does not forget what the first one did.
    let recorder = stuck();
    let pool = broker.pool(&topic).options(options(&broker)).handler(recorder.clone()).start().unwrap();
    eventually("it has come to that record", || recorder.tries(0) > 0).await;
    stop_with_one_undone(pool).await;
    assert_eq!(recorder.done(), []);

    assert_eq!(handed_out_again(&broker, &topic).await, [0]);
    let end = i64::try_from(RECORDS).unwrap() + 10;
    assert_eq!(broker.commit_of(&topic, 0).await, Some((end, String::new())), "nothing is left to be known");
}

async fn a_group_that_was_reset_hands_out_everything(broker: Broker) {
    let topic = all_but_the_first_done(&broker, options(&broker)).await;
    // As `kafka-consumer-groups --reset-offsets` does, even to the offset it had.
    broker.commit(&topic, 0, 0, "").await;
    assert_eq!(handed_out_again(&broker, &topic).await, everything());
}

async fn what_others_wrote_beside_a_commit_is_ignored(broker: Broker) {
    let topic = broker.topic(1).await;
    broker.send(&topic, 0..RECORDS, RECORDS).await;
    broker.commit(&topic, 0, 0, "bAAMAAAAAAAAAAAAA").await;
    assert_eq!(handed_out_again(&broker, &topic).await, everything());
}

/// A store that has no position: Kafka's counts.
struct Empty;

impl PositionStore for Empty {
    async fn load(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Option<i64>)>, BoxError> {
        Ok(partitions.iter().map(|name| (name.clone(), None)).collect())
    }

    async fn save(&self, _positions: &[(TopicPartition, i64)]) -> Result<(), BoxError> {
        Ok(())
    }
}

async fn with_a_store_nothing_is_written_beside_commits(broker: Broker) {
    let topic = all_but_the_first_done(&broker, options(&broker)).await;
    // Whose effects are gone with a database restored from a backup is done again.
    let recorder = stuck();
    let pool =
        broker.pool(&topic).options(options(&broker)).positions(Empty).handler(recorder.clone()).start().unwrap();
    recorder.until(OTHERS).await;
    stop_with_one_undone(pool).await;
    // Nor without a store, where it is switched off.
    let mut off = options(&broker);
    off.commit_metadata_bytes = 0;
    let recorder = stuck();
    let pool = broker.pool(&topic).options(off.clone()).handler(recorder.clone()).start().unwrap();
    recorder.until(OTHERS).await;
    stop_with_one_undone(pool).await;
    let topic = all_but_the_first_done(&broker, off).await;
    assert_eq!(broker.commit_of(&topic, 0).await, None);
}

async fn a_topic_made_anew_hands_out_everything(broker: Broker) {
    let topic = all_but_the_first_done(&broker, options(&broker)).await;
    let (position, text) = broker.commit_of(&topic, 0).await.unwrap();
    broker.make_anew(&topic, 1).await;
    broker.send(&topic, 0..RECORDS, RECORDS).await;
    // The broker forgets commits of a topic it deletes; a member that was slow to hear of it commits once more.
    broker.commit(&topic, 0, position, &text).await;
    assert_eq!(handed_out_again(&broker, &topic).await, everything());
}

async fn a_broker_that_takes_less_gets_nothing_beside_positions(broker: Broker) {
    let topic = broker.topic(1).await;
    broker.send(&topic, 0..6_000, 6_000).await;
    let is_free = Arc::new(AtomicBool::new(false));
    let free = Arc::clone(&is_free);
    // Every other record is not done: more ranges than the broker's 4,096 bytes hold.
    let recorder = Recorder::new(Duration::ZERO, move |number, _| -> Result<(), HandlerError> {
        match number {
            0 if free.load(Ordering::Acquire) => Ok(()),
            0 => Err(Retry::new("planned").after(Duration::from_millis(20)).into()),
            odd if odd % 2 == 1 => Ok(()),
            _ => Err(Retry::new("planned").after(Duration::from_secs(3_600)).into()),
        }
    });
    let mut options = options(&broker);
    options.max_attempts = u32::MAX;
    options.commit_metadata_bytes = 30_000;
    let pool = broker.pool(&topic).options(options).handler(recorder.clone()).start().unwrap();
    recorder.until(3_000).await;
    is_free.store(true, Ordering::Release);
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        match broker.commit_of(&topic, 0).await {
            Some((2, text)) if text.is_empty() => break,
            other => assert!(Instant::now() < deadline, "the position is not committed: {other:?}"),
        }
    }
    assert!(matches!(pool.stop().await, Err(StopError::Deadline(_))), "the others are not done");
}
