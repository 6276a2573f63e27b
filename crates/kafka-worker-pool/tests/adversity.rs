//! Things that go wrong around a pool: a store that panics or is away at a stop, a broker that is away at a stop, a runtime that ends first,
//! handlers that never return, held keys that could fill the pool. It always ends, and says how.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Broker, Recorder, assert_once_and_in_order, eventually, ready};
use kafka_worker_pool::{
    BoxError, GroupProtocol, HandlerError, OnTimeout, Order, Phase, PoolError, PositionStore, Record, StopError,
    TopicPartition, each,
};
use tokio::sync::watch;

on_all_brokers!(
    held_partitions_that_could_fill_the_pool_stop_nobody_else,
    a_stop_while_the_store_is_away_is_clean,
    a_call_that_outlived_its_revoke_does_not_hold_up_a_stop,
);

/// What must come true in time.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(40), future).await.unwrap_or_else(|_| panic!("did not end: {what}"))
}

async fn held_partitions_that_could_fill_the_pool_stop_nobody_else(broker: Broker) {
    let topic = broker.topic(4).await;
    broker.send(&topic, 0..4_000, 40).await;
    let in_the_way = Arc::new(AtomicBool::new(true));
    let (blocked, recorder) = (Arc::clone(&in_the_way), Recorder::that_succeeds());
    let seen = recorder.clone();
    let handler = each(move |record: Record| {
        let (blocked, seen) = (Arc::clone(&blocked), seen.clone());
        async move {
            if record.partition < 3 && blocked.load(Ordering::Acquire) {
                return Err(HandlerError::hold("planned"));
            }
            kafka_worker_pool::Handler::handle(&seen, std::slice::from_ref(&record)).await
        }
    });
    let mut options = broker.options();
    options.order = Order::Partition;
    options.queue_capacity = 120;
    let pool = broker.pool(&topic).options(options).handler(handler).start().unwrap();
    eventually("three partitions are held", || pool.status().held.len() == 3).await;
    broker.send(&topic, 4_000..8_000, 40).await;
    let of_the_free: usize = 8_000 / 4 / 2;
    eventually("the fourth goes on", || recorder.count() > of_the_free).await;
    let partitions: BTreeSet<i32> = recorder.done().iter().map(|seen| seen.partition).collect();
    assert_eq!(partitions, BTreeSet::from([3]));
    assert!(pool.status().in_flight <= 120 + 4 * 64, "{:?}", pool.status());

    in_the_way.store(false, Ordering::Release);
    pool.release_all();
    recorder.until(8_000).await;
    assert_eq!(pool.stop().await.unwrap().handled, 8_000);
    assert_once_and_in_order(&recorder.done(), 0..8_000);
}

/// A store that fails, or panics, as long as it is told to.
#[derive(Clone)]
struct Failing {
    by_panic: bool,
    fails: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Failing {
    fn new(by_panic: bool) -> Self {
        Self { by_panic, fails: Arc::new(AtomicBool::new(true)), asked: Arc::default() }
    }

    fn answer(&self) -> Result<(), BoxError> {
        self.asked.fetch_add(1, Ordering::AcqRel);
        match self.fails.load(Ordering::Acquire) {
            true if self.by_panic => panic!("planned"),
            true => Err("the database is away".into()),
            false => Ok(()),
        }
    }
}

impl PositionStore for Failing {
    async fn load(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Option<i64>)>, BoxError> {
        self.answer()?;
        Ok(partitions.iter().map(|name| (name.clone(), None)).collect())
    }

    async fn save(&self, _positions: &[(TopicPartition, i64)]) -> Result<(), BoxError> {
        self.answer()
    }
}

async fn a_stop_while_the_store_is_away_is_clean(broker: Broker) {
    let topic = broker.topic(2).await;
    broker.send(&topic, 0..200, 20).await;
    let store = Failing::new(false);
    let pool = broker.pool(&topic).positions(store.clone()).handler(Recorder::that_succeeds()).start().unwrap();
    eventually("the store is asked", || store.asked.load(Ordering::Acquire) > 1).await;
    let report = soon("the stop", pool.stop()).await.unwrap();
    assert_eq!(report.handled, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_panics_is_as_one_that_fails_on_the_embedded_broker() {
    let broker = Broker::embedded(GroupProtocol::Consumer);
    let topic = broker.topic(2).await;
    broker.send(&topic, 0..200, 20).await;
    let store = Failing::new(true);
    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(&topic).positions(store.clone()).handler(recorder.clone()).start().unwrap();
    eventually("the store is asked again", || store.asked.load(Ordering::Acquire) > 2).await;
    assert!(pool.status().last_error.unwrap().contains("panicked"), "{:?}", pool.status());
    store.fails.store(false, Ordering::Release);
    recorder.until(200).await;
    store.fails.store(true, Ordering::Release);
    broker.send(&topic, 200..400, 20).await;
    recorder.until(400).await;
    eventually("a save panics", || pool.status().last_error.is_some_and(|error| error.contains("panicked"))).await;
    store.fails.store(false, Ordering::Release);
    assert_eq!(soon("the stop", pool.stop()).await.unwrap().handled, 400);
}

async fn a_call_that_outlived_its_revoke_does_not_hold_up_a_stop(broker: Broker) {
    let topic = broker.topic(4).await;
    broker.send(&topic, 0..40, 40).await;
    let mut options = broker.options();
    options.drain_timeout = Duration::from_millis(300);
    options.handler_timeout = Duration::from_secs(3_600);
    options.on_timeout = OnTimeout::Await;
    let (free, freed) = watch::channel(BTreeSet::new());
    let handler = each(move |record: Record| {
        let mut freed = freed.clone();
        async move {
            freed.wait_for(|free| free.contains(&record.partition)).await.map_err(HandlerError::retry)?;
            Ok(())
        }
    });
    let first = broker.pool(&topic).options(options).handler(handler).start().unwrap();
    eventually("all partitions are stuck", || first.status().in_flight == 40).await;
    let recorder = Recorder::that_succeeds();
    let second = broker.pool(&topic).handler(recorder.clone()).start().unwrap();
    // Its records are begun again elsewhere: the calls here have outlived their revoke, and nobody waits for them.
    eventually("a part of it moves", || first.status().assigned.len() == 2 && recorder.count() > 0).await;
    let kept = first.status().assigned.iter().map(|name| name.partition).collect();
    free.send_replace(kept);
    eventually("the rest is done", || first.status().in_flight == 0).await;
    let report = soon("the first stop", first.stop()).await.unwrap();
    assert!(report.stop_took < Duration::from_secs(20), "{report:?}");
    eventually("nothing is lost", || recorder.count() as u64 + report.handled >= 40).await;
    soon("the second stop", second.stop()).await.unwrap();
}

#[test]
fn a_runtime_that_ends_before_the_pool_ends_the_pool_on_the_embedded_broker() {
    let broker = Broker::embedded(GroupProtocol::Consumer);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let watching = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pool = runtime.block_on(async {
        let topic = broker.topic(2).await;
        let builder = broker.pool(&topic).positions(Failing::new(false));
        let pool = builder.handler(Recorder::that_succeeds()).start().unwrap();
        eventually("it joins", || pool.status().phase == Phase::Joining).await;
        pool
    });
    drop(runtime);
    let ended = watching.block_on(soon("the pool", pool.finished()));
    assert!(matches!(ended, Err(PoolError::Invariant(_))), "{ended:?}");
}

#[test]
fn a_runtime_without_a_clock_is_told_so() {
    let broker = Broker::embedded(GroupProtocol::Consumer);
    let bare = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let watching = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pool = bare.block_on(async { broker.pool("t").handler(Recorder::that_succeeds()).start().unwrap() });
    let ended = watching.block_on(soon("the pool", pool.finished()));
    assert!(matches!(ended, Err(PoolError::Invariant(_))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_at_a_stop_does_not_hold_it_up_on_the_embedded_broker() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let broker = Broker::embedded(protocol);
        let topic = broker.topic(2).await;
        let recorder = Recorder::that_succeeds();
        let mut options = broker.options();
        options.commit_interval_ms = 60_000;
        let pool = broker.pool(&topic).options(options).handler(recorder.clone()).start().unwrap();
        ready(&pool).await;
        broker.send(&topic, 0..200, 20).await;
        recorder.until(200).await;
        broker.embedded.as_ref().unwrap().set_down().unwrap();
        let began = Instant::now();
        let stopped = tokio::time::timeout(Duration::from_secs(90), pool.stop()).await.expect("the stop ends");
        assert!(matches!(stopped, Err(StopError::Commit { .. })), "{protocol:?} {stopped:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{protocol:?} took {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_options_work_on_the_embedded_broker() {
    let broker = Broker::embedded(GroupProtocol::Consumer);
    let topic = broker.topic(2).await;
    broker.send(&topic, 0..20, 20).await;
    let recorder = Recorder::that_succeeds();
    let mut options = broker.options();
    options.queue_capacity = usize::MAX;
    options.buffer_bytes = usize::MAX;
    options.key_backlog = usize::MAX;
    options.max_batch = usize::MAX;
    options.handler_timeout = Duration::MAX;
    options.save_interval = Duration::MAX;
    options.backoff.max = Duration::MAX;
    let pool = broker.pool(&topic).options(options).handler(recorder.clone()).start().unwrap();
    recorder.until(20).await;
    assert_eq!(soon("the stop", pool.stop()).await.unwrap().handled, 20);
}
