//! Short handlers are called on the pool's own thread, and nobody can tell by what happens to records.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Broker, Recorder, assert_once_and_in_order, eventually, ready};
use kafka_worker_pool::{Handler, HandlerError, Record};

on_all_brokers!(
    short_handlers_are_called_on_one_thread_and_whatever_they_do_keeps_to_the_rules,
    a_restart_after_calls_on_the_pools_thread_redelivers_nothing,
);

const RECORDS: u64 = 5_000;
/// Rounds of as many records before the faults: a slow machine may take some to call on the pool's thread.
const ROUNDS: u64 = 20;

/// Counts the calls that the pool made on its own thread; some calls wait once faults are due.
#[derive(Clone)]
struct Counting {
    recorder: Recorder,
    direct: Arc<AtomicU64>,
    /// The number of the first record that may fail.
    faults: Arc<AtomicU64>,
}

impl Handler for Counting {
    async fn handle(&self, batch: &[Record]) -> Result<(), HandlerError> {
        let is_direct = std::thread::current().name() == Some("pool-data");
        self.direct.fetch_add(u64::from(is_direct), Ordering::Relaxed);
        let number: u64 = std::str::from_utf8(batch[0].value.as_deref().unwrap()).unwrap().parse().unwrap();
        if number >= self.faults.load(Ordering::Relaxed) && number % 1_000 == 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.recorder.handle(batch).await
    }
}

/// The verdict gets how far a record is behind the first that may fail.
fn counting(verdict: impl Fn(u64, u32) -> Result<(), HandlerError> + Send + Sync + 'static) -> Counting {
    let faults = Arc::new(AtomicU64::new(u64::MAX));
    let from = Arc::clone(&faults);
    let recorder =
        Recorder::new(Duration::ZERO, move |number, tries| match number.checked_sub(from.load(Ordering::Relaxed)) {
            None => Ok(()),
            Some(behind) => verdict(behind, tries),
        });
    Counting { recorder, direct: Arc::default(), faults }
}

async fn short_handlers_are_called_on_one_thread_and_whatever_they_do_keeps_to_the_rules(broker: Broker) {
    let topic = broker.topic(4).await;
    broker.create(&format!("{topic}.{}.dlq", broker.group), 1).await;
    let handler = counting(|behind, tries| match behind {
        1_000 => Err(HandlerError::reject("cannot be read")),
        2_000 if tries == 0 => panic!("planned"),
        3_000 if tries < 2 => Err(HandlerError::retry("fails twice")),
        _ => Ok(()),
    });
    let mut options = broker.options();
    // Without optimisation a call takes longer than it does in a release.
    options.direct_below = Duration::from_secs(1);
    // What lanes have in hand when calls turn out to be short must not reach to the faults.
    options.queue_capacity = 512;
    let pool = broker.pool(&topic).options(options).handler(handler.clone()).start().unwrap();
    ready(&pool).await;
    let mut sent = 0;
    while handler.direct.load(Ordering::Relaxed) < 1_000 {
        assert!(sent < ROUNDS * RECORDS, "of {sent} calls {:?} were on the pool's thread", handler.direct);
        broker.send(&topic, sent..sent + RECORDS, 500).await;
        sent += RECORDS;
        handler.recorder.until(usize::try_from(sent).unwrap()).await;
    }
    handler.faults.store(sent, Ordering::Relaxed);
    let rejected = sent + 1_000;
    broker.send(&topic, sent..sent + RECORDS, 500).await;
    sent += RECORDS;
    handler.recorder.until(usize::try_from(sent).unwrap() - 1).await;
    eventually("the letter is written", || pool.status().in_flight == 0).await;
    let report = pool.stop().await.unwrap();
    assert_eq!((report.handled, report.dead_lettered, report.retried), (sent, 1, 1 + 2));
    assert_eq!(report.undone, 0);
    let mut done = handler.recorder.done();
    assert_eq!(done.iter().filter(|seen| seen.number == rejected).count(), 0, "it is a dead letter");
    let mut letter = done[0].clone();
    (letter.number, letter.key) = (rejected, "no other key".to_owned());
    done.push(letter);
    assert_once_and_in_order(&done, 0..sent);
}

async fn a_restart_after_calls_on_the_pools_thread_redelivers_nothing(broker: Broker) {
    let topic = broker.topic(3).await;
    for numbers in [0..RECORDS, RECORDS..RECORDS + 100] {
        broker.send(&topic, numbers.clone(), 50).await;
        let handler = counting(|_, _| Ok(()));
        let mut options = broker.options();
        options.direct_below = Duration::from_secs(1);
        let pool = broker.pool(&topic).options(options).handler(handler.clone()).start().unwrap();
        handler.recorder.until(usize::try_from(numbers.end - numbers.start).unwrap()).await;
        pool.stop().await.unwrap();
        assert_once_and_in_order(&handler.recorder.done(), numbers);
    }
}
