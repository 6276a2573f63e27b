//! What stops, and how much of it: back-pressure, a pause, a held partition, a key at its cap, a stop at its deadline.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Broker, Recorder, assert_once_and_in_order, eventually, ready};
use kafka_worker_pool::{Ended, Handler, HandlerError, Record, StopError};
use tokio::sync::Semaphore;

on_all_brokers!(
    a_full_pool_stops_fetching_and_stays_in_the_group,
    a_held_partition_stands_still_alone_until_it_is_released,
    a_key_at_its_cap_stops_its_partition_alone,
    a_stop_at_its_deadline_says_so_and_loses_nothing,
    a_pause_stops_dispatch_and_nothing_else,
);

/// A handler that waits at a gate before it does what the recorder does.
struct Gated {
    gate: Arc<Semaphore>,
    waits: Box<dyn Fn(&Record) -> bool + Send + Sync>,
    recorder: Recorder,
}

impl Handler for Gated {
    async fn handle(&self, batch: &[Record]) -> Result<(), HandlerError> {
        if batch.iter().any(&self.waits) {
            drop(self.gate.acquire().await.map_err(HandlerError::retry)?);
        }
        self.recorder.handle(batch).await
    }
}

fn gated(recorder: &Recorder, waits: impl Fn(&Record) -> bool + Send + Sync + 'static) -> (Gated, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let handler = Gated { gate: Arc::clone(&gate), waits: Box::new(waits), recorder: recorder.clone() };
    (handler, gate)
}

fn number(record: &Record) -> u64 {
    std::str::from_utf8(record.value.as_deref().unwrap()).unwrap().parse().unwrap()
}

async fn a_full_pool_stops_fetching_and_stays_in_the_group(broker: Broker) {
    let topic = broker.topic(4).await;
    let payload = "x".repeat(1_000);
    let records = (0..5_000).map(|n| (format!("k{n}"), format!("{payload}{n}"))).collect();
    broker.send_all(&topic, records).await;
    let recorder = Recorder::that_succeeds();
    let (handler, gate) = gated(&recorder, |_| true);
    let mut options = broker.options();
    options.queue_capacity = 300;
    options.workers = 16;
    let pool = broker.pool(&topic).options(options).handler(handler).start().unwrap();
    ready(&pool).await;
    eventually("the pool is full", || pool.status().in_flight >= 300).await;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(pool.status().in_flight <= 300, "{:?}", pool.status());
    }
    assert!(pool.status().oldest_in_flight.unwrap() > Duration::from_millis(300));
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    recorder.until(5_000).await;
    let report = pool.stop().await.unwrap();
    assert_eq!((report.handled, report.assignments), (5_000, 1), "the group was never left");
}

async fn a_held_partition_stands_still_alone_until_it_is_released(broker: Broker) {
    let topic = broker.topic(4).await;
    broker.send(&topic, 0..400, 40).await;
    let in_the_way = Arc::new(AtomicBool::new(true));
    let blocked = Arc::clone(&in_the_way);
    let recorder = Recorder::new(Duration::ZERO, move |number, _| {
        if number == 33 && blocked.load(Ordering::Acquire) {
            return Err(HandlerError::hold("parked rows at their bound"));
        }
        Ok(())
    });
    let pool = broker.pool(&topic).handler(recorder.clone()).start().unwrap();
    eventually("one record is held", || pool.status().held.len() == 1).await;
    let held = pool.status().held[0].clone();
    assert_eq!(held.cause, "parked rows at their bound");

    broker.send(&topic, 400..2_400, 40).await;
    let done_elsewhere = || {
        let done = recorder.done();
        done.iter().filter(|seen| seen.number >= 400).count()
    };
    eventually("other partitions go on", || done_elsewhere() > 1_000).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let late = recorder.done().into_iter().filter(|seen| seen.number >= 1_400);
    let partitions: BTreeSet<i32> = late.map(|seen| seen.partition).collect();
    assert!(!partitions.contains(&held.partition.partition), "the held one stands still");
    assert_eq!(partitions.len(), 3, "all others go on");

    in_the_way.store(false, Ordering::Release);
    pool.release(&held.partition);
    recorder.until(2_400).await;
    assert_eq!(pool.stop().await.unwrap().handled, 2_400);
    assert_once_and_in_order(&recorder.done(), 0..2_400);
}

async fn a_key_at_its_cap_stops_its_partition_alone(broker: Broker) {
    let topic = broker.topic(4).await;
    // One key has 3,000 records, forty others 50 each.
    let hot = (0..3_000).map(|n| ("hot".to_owned(), n.to_string()));
    let others = (3_000..5_000).map(|n| (format!("k{}", n % 40), n.to_string()));
    broker.send_all(&topic, hot.chain(others).collect()).await;
    let recorder = Recorder::that_succeeds();
    let (handler, gate) = gated(&recorder, |record| record.key.as_deref() == Some(b"hot"));
    let mut options = broker.options();
    options.key_backlog = 100;
    options.queue_capacity = 1_000;
    let pool = broker.pool(&topic).options(options).handler(handler).start().unwrap();
    let of_others = || {
        recorder
            .done()
            .iter()
            .filter(|seen| seen.key != "hot")
            .map(|seen| seen.partition)
            .collect::<BTreeSet<_>>()
            .len()
    };
    eventually("at least three partitions go on", || of_others() >= 3).await;
    assert!(pool.status().in_flight <= 1_000);
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    recorder.until(5_000).await;
    assert_eq!(pool.stop().await.unwrap().handled, 5_000);
    assert_once_and_in_order(&recorder.done(), 0..5_000);
}

async fn a_stop_at_its_deadline_says_so_and_loses_nothing(broker: Broker) {
    let topic = broker.topic(2).await;
    broker.send(&topic, 0..100, 20).await;
    let recorder = Recorder::that_succeeds();
    let (handler, _gate) = gated(&recorder, |record| number(record) == 50);
    let mut options = broker.options();
    options.drain_timeout = Duration::from_millis(300);
    let pool = broker.pool(&topic).options(options).handler(handler).start().unwrap();
    recorder.until(97).await;
    let Err(StopError::Deadline(report)) = pool.stop().await else { panic!("a record was not done") };
    assert_eq!((report.undone, report.ended), (3, Ended::AtDeadline), "50, 70 and 90 have one key");
    let next = Recorder::that_succeeds();
    let pool = broker.pool(&topic).handler(next.clone()).start().unwrap();
    eventually("what was not done is read again", || {
        let numbers: BTreeSet<u64> = next.done().iter().map(|seen| seen.number).collect();
        [50, 70, 90].iter().all(|number| numbers.contains(number))
    })
    .await;
    pool.stop().await.unwrap();
}

async fn a_pause_stops_dispatch_and_nothing_else(broker: Broker) {
    let topic = broker.topic(2).await;
    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(&topic).handler(recorder.clone()).start().unwrap();
    ready(&pool).await;
    pool.pause();
    tokio::time::sleep(Duration::from_millis(150)).await;
    broker.send(&topic, 0..50, 5).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((recorder.count(), pool.status().paused), (0, true));
    pool.resume();
    recorder.until(50).await;
    assert_eq!(pool.stop().await.unwrap().assignments, 1);
}
