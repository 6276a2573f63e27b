//! The test driver, as a user tests handlers with it: order, retries with their backoff, dead letters, revokes in the middle, positions, holds, the
//! circuit. No broker; the clock is the test's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use kafka_worker_pool::testing::TestPool;
use kafka_worker_pool::{
    CircuitState, Ended, Handler, HandlerError, Hold, KafkaWorkerPool, Options, Record, Reject, Retry, Start,
    TopicPartition, Unavailable, each,
};

fn options() -> Options {
    let mut options = Options::default();
    options.backoff.first = Duration::from_secs(10);
    options.backoff.max = Duration::from_secs(1_000);
    options
}

fn start<H: Handler>(options: Options, handler: H) -> TestPool<H> {
    KafkaWorkerPool::builder("", "g").topics(["t"]).options(options).handler(handler).start_in_memory().unwrap()
}

/// A handler that takes so long for each record, and then answers by its value.
fn answering(
    work: Duration,
    answer: impl Fn(&str) -> Result<(), HandlerError> + Clone + Send + Sync + 'static,
) -> impl Handler {
    each(move |record: Record| {
        let answer = answer.clone();
        async move {
            tokio::time::sleep(work).await;
            answer(&text(&record))
        }
    })
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.as_deref().unwrap().to_vec()).unwrap()
}

fn place(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn values<H: Handler>(pool: &TestPool<H>) -> Vec<String> {
    pool.calls().iter().flat_map(|call| call.records.iter().map(text).collect::<Vec<_>>()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_failing_key_waits_its_backoff_alone_and_keeps_its_order() {
    let failures = Arc::new(AtomicU32::new(0));
    let failed = Arc::clone(&failures);
    let handler = answering(Duration::ZERO, move |value| match value {
        "a1" if failed.fetch_add(1, Ordering::Relaxed) < 2 => Err(Retry::new("not yet"))?,
        _ => Ok(()),
    });
    let mut pool = start(options(), handler);
    for (key, value) in [("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2")] {
        pool.send(&place(0), key, value);
    }
    pool.assign([place(0)]).await;
    pool.until("b is done", |pool| pool.handled() == 2).await;
    assert_eq!(values(&pool), ["a1", "b1", "b2"]);
    assert!(pool.elapsed() < Duration::from_secs(1), "nobody waited for a");
    assert_eq!(pool.committed(&place(0)), None, "the first record is not done");
    pool.until("all is done", |pool| pool.handled() == 4).await;
    assert_eq!(values(&pool), ["a1", "b1", "b2", "a1", "a1", "a2"]);
    let began: Vec<Duration> = pool.calls().iter().map(|call| call.began).collect();
    // The backoff is 10 s, then 20 s, each with jitter in its upper half.
    assert!((5..=11).contains(&(began[3] - began[0]).as_secs()), "{began:?}");
    assert!((10..=21).contains(&(began[4] - began[3]).as_secs()), "{began:?}");
    let report = pool.stop().await;
    assert_eq!((report.handled, report.retried, report.ended), (4, 2, Ended::Stopped));
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_is_a_letter_with_its_cause_and_positions_pass_it() {
    let handler = answering(Duration::ZERO, |value| match value {
        "bad" => Err(Reject::new("no such account"))?,
        "never" => Err(Retry::new("always fails"))?,
        _ => Ok(()),
    });
    let mut options = options();
    options.max_attempts = 3;
    let mut pool = start(options, handler);
    for (key, value) in [("a", "bad"), ("b", "never"), ("c", "good")] {
        pool.send(&place(0), key, value);
    }
    let last = pool.send_after_gap(40, &place(0), "d", "good");
    assert_eq!(last, 43);
    pool.assign([place(0)]).await;
    pool.until("both are given up", |pool| pool.dead_letters().len() == 2).await;
    let letters = pool.dead_letters();
    assert_eq!((letters[0].cause.as_str(), letters[0].attempts), ("no such account", 1));
    assert_eq!((letters[1].cause.as_str(), letters[1].attempts), ("always fails", 3));
    assert!(letters[1].at > Duration::from_secs(15), "after two backoffs: {:?}", letters[1].at);
    let report = pool.stop().await;
    assert_eq!((report.handled, report.dead_lettered, report.undone), (4, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_revoke_waits_for_what_is_in_hand_and_who_gets_the_partition_back_goes_on_there() {
    let mut pool = start(options(), answering(Duration::from_secs(3), |_| Ok(())));
    for (key, value) in [("a", "a1"), ("b", "b1"), ("a", "a2")] {
        pool.send(&place(0), key, value);
    }
    pool.send(&place(1), "z", "z1");
    pool.assign([place(0), place(1)]).await;
    pool.until("all keys are being handled", |pool| pool.calls().len() == 3).await;
    pool.revoke([place(0)]).await;
    assert_eq!(pool.committed(&place(0)), Some(3), "drained: a2 too, behind a1");
    assert!(pool.elapsed() < options().drain_timeout);
    pool.send(&place(0), "a", "a3");
    pool.advance(Duration::from_secs(60)).await;
    assert!(!values(&pool).contains(&"a3".to_owned()), "somebody else's");
    pool.assign([place(0)]).await;
    pool.until("what is new is done", |pool| pool.handled() == 5).await;
    assert_eq!(values(&pool).iter().filter(|value| *value == "a1").count(), 1, "nothing is done twice");
    assert_eq!(pool.stop().await.undone, 0);
}

#[tokio::test(start_paused = true)]
async fn what_ends_after_its_assignment_counts_for_nothing() {
    let mut pool = start(options(), answering(Duration::from_secs(25), |_| Ok(())));
    pool.send(&place(0), "a", "a1");
    pool.assign([place(0)]).await;
    pool.until("it is being handled", |pool| pool.calls().len() == 1).await;
    // The drain ends at its deadline, ten seconds on; the call ends at twenty-five.
    pool.revoke([place(0)]).await;
    assert_eq!((pool.handled(), pool.committed(&place(0))), (0, None));
    pool.assign([place(0)]).await;
    pool.until("the call of the old assignment ended", |pool| pool.calls()[0].ended.is_some()).await;
    pool.advance(Duration::from_secs(1)).await;
    assert_eq!(pool.committed(&place(0)), None, "the record is in hand again");
    pool.until("and is done once more", |pool| pool.handled() == 1).await;
    assert_eq!(values(&pool), ["a1", "a1"]);
    pool.lose([place(0)]).await;
    assert_eq!(pool.stop().await.undone, 0);
}

/// A handler that tries "stuck" again and again until it may pass.
fn stuck_until(is_free: &Arc<AtomicBool>) -> impl Handler {
    let free = Arc::clone(is_free);
    answering(Duration::ZERO, move |value| match value {
        "stuck" if !free.load(Ordering::Relaxed) => Err(Retry::new("not yet"))?,
        _ => Ok(()),
    })
}

/// A pool whose first record is stuck, another of its key waits behind it, and twenty of other keys are done. Then the partition is gone,
/// as in a crash.
async fn crashed_with_one_stuck(options: Options, is_free: &Arc<AtomicBool>) -> TestPool<impl Handler> {
    let mut pool = start(options, stuck_until(is_free));
    pool.send(&place(0), "a", "stuck");
    for number in 0..20 {
        pool.send_after_gap(number % 3, &place(0), format!("k{number}"), format!("v{number}"));
    }
    pool.send(&place(0), "a", "behind");
    pool.assign([place(0)]).await;
    pool.until("the others are done", |pool| pool.handled() == 20).await;
    pool.advance(Duration::from_millis(600)).await;
    assert_eq!(pool.committed(&place(0)), Some(0));
    pool.lose([place(0)]).await;
    pool
}

#[tokio::test(start_paused = true)]
async fn what_was_done_above_a_stuck_record_is_not_handed_out_again() {
    let is_free = Arc::new(AtomicBool::new(false));
    let mut pool = crashed_with_one_stuck(options(), &is_free).await;
    let before = values(&pool).len();
    // What comes while it is paused waits aside, and is looked at later.
    pool.monitor().pause_partitions([place(0)]);
    pool.assign([place(0)]).await;
    pool.advance(Duration::from_secs(1)).await;
    pool.lose([place(0)]).await;
    assert_eq!(values(&pool).len(), before);
    pool.assign([place(0)]).await;
    pool.advance(Duration::from_secs(1)).await;
    is_free.store(true, Ordering::Relaxed);
    pool.monitor().resume_partitions([place(0)]);
    pool.until("the rest is done", |pool| pool.handled() == 22).await;
    assert_eq!(values(&pool)[before..], ["stuck", "behind"]);
    pool.send(&place(0), "k1", "new");
    pool.until("what is new is done", |pool| pool.handled() == 23).await;
    pool.advance(Duration::from_millis(50)).await;
    assert_eq!(pool.committed(&place(0)), Some(22 + 19 + 1), "records, gaps, and the new one");
    assert_eq!(pool.stop().await.undone, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_or_an_option_hands_out_everything_again() {
    let is_free = Arc::new(AtomicBool::new(false));
    let mut pool = crashed_with_one_stuck(options(), &is_free).await;
    is_free.store(true, Ordering::Relaxed);
    pool.reset(&place(0), 0);
    pool.assign([place(0)]).await;
    pool.until("all is done again", |pool| pool.handled() == 20 + 22).await;

    is_free.store(false, Ordering::Relaxed);
    let mut off = options();
    off.commit_metadata_bytes = 0;
    let mut pool = start(off, stuck_until(&is_free));
    pool.send(&place(0), "a", "stuck");
    pool.send(&place(0), "b", "done");
    pool.assign([place(0)]).await;
    pool.until("the other is done", |pool| pool.handled() == 1).await;
    pool.advance(Duration::from_secs(1)).await;
    assert_eq!(pool.committed(&place(0)), None);
    pool.lose([place(0)]).await;
    pool.assign([place(0)]).await;
    pool.until("and is done again", |pool| pool.handled() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_held_partition_stands_still_alone_until_it_is_released() {
    let is_full = Arc::new(AtomicBool::new(true));
    let full = Arc::clone(&is_full);
    let handler = answering(Duration::ZERO, move |value| match value {
        "h" if full.load(Ordering::Relaxed) => Err(Hold::new("no room"))?,
        _ => Ok(()),
    });
    let mut pool = start(options(), handler);
    pool.send(&place(0), "a", "h");
    pool.assign([place(0), place(1)]).await;
    pool.until("it is held", |pool| pool.monitor().status().held.len() == 1).await;
    for number in 0..5 {
        pool.send(&place(0), "b", format!("behind{number}"));
        pool.send(&place(1), "c", format!("beside{number}"));
    }
    pool.advance(Duration::from_secs(3_600)).await;
    assert_eq!(pool.handled(), 5, "the other partition's");
    assert_eq!(pool.monitor().status().held[0].cause, "no room");
    is_full.store(false, Ordering::Relaxed);
    pool.monitor().release(&place(0));
    pool.until("all is done", |pool| pool.handled() == 11).await;
    assert_eq!(pool.stop().await.undone, 0);
}

#[tokio::test(start_paused = true)]
async fn an_environment_that_is_away_costs_no_attempt_and_no_letter() {
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let handler = answering(Duration::ZERO, move |_| match away.load(Ordering::Relaxed) {
        true => Err(Unavailable::new("the database is away"))?,
        false => Ok(()),
    });
    let mut options = options();
    options.max_attempts = 1;
    let mut pool = start(options, handler);
    for number in 0..20 {
        pool.send(&place(0), format!("k{number}"), "x");
    }
    pool.assign([place(0)]).await;
    pool.advance(Duration::from_secs(3_600)).await;
    assert_eq!(pool.monitor().status().circuit, CircuitState::Open);
    assert_eq!((pool.handled(), pool.dead_letters().len()), (0, 0));
    let probes = pool.calls().len();
    assert!(probes < 3_600, "a probe each 2.5 to 5 s: {probes}");
    is_away.store(false, Ordering::Relaxed);
    pool.until("all is done", |pool| pool.handled() == 20).await;
    assert_eq!(pool.stop().await.dead_lettered, 0);
}

#[tokio::test(start_paused = true)]
async fn pauses_starts_and_a_stop_at_its_deadline() {
    let mut at_the_end = options();
    at_the_end.start = Start::Latest;
    at_the_end.drain_timeout = Duration::from_secs(1);
    at_the_end.start_offsets.insert(place(1), 1);
    let handler = answering(Duration::ZERO, |_| Ok(()));
    let mut pool = start(at_the_end.clone(), handler);
    for partition in [0, 1] {
        for number in 0..3 {
            pool.send(&place(partition), "k", format!("old{partition}{number}"));
        }
    }
    pool.assign([place(0), place(1)]).await;
    pool.monitor().pause_partitions([place(1)]);
    pool.send(&place(0), "k", "new");
    pool.advance(Duration::from_secs(10)).await;
    let done = values(&pool);
    assert!(done.contains(&"new".to_owned()) && !done.contains(&"old00".to_owned()), "{done:?}");
    pool.monitor().resume_partitions([place(1)]);
    pool.until("the offset that was named is read", |pool| values(pool).contains(&"old11".to_owned())).await;
    pool.advance(Duration::from_secs(1)).await;
    assert_eq!(pool.committed(&place(1)), Some(3));
    assert!(!values(&pool).contains(&"old10".to_owned()));
    pool.stop().await;

    let mut slow = start(at_the_end, answering(Duration::from_secs(30), |_| Ok(())));
    slow.assign([place(0)]).await;
    slow.send(&place(0), "k", "slow");
    slow.until("it is being handled", |pool| pool.calls().len() == 1).await;
    let report = slow.stop().await;
    assert_eq!((report.undone, report.ended), (1, Ended::AtDeadline));
}

#[tokio::test(start_paused = true)]
async fn the_pool_is_ready_once_it_has_partitions_and_while_nothing_is_away() {
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let handler = answering(Duration::ZERO, move |_| match away.load(Ordering::Acquire) {
        true => Err(Unavailable::new("the database is away"))?,
        false => Ok(()),
    });
    let mut pool = start(options(), handler);
    assert!(!pool.monitor().status().is_ready(), "it has no assignment");
    pool.assign([place(0)]).await;
    assert!(pool.monitor().status().is_ready(), "{:?}", pool.monitor().status());
    pool.send(&place(0), "a", "1");
    pool.until("the circuit opens", |pool| !pool.monitor().status().is_ready()).await;
    is_away.store(false, Ordering::Release);
    pool.until("the circuit closes", |pool| pool.monitor().status().is_ready()).await;
}
