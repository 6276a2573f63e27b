//! What is asked for with options: a circuit on handlers that only fail, and a number of calls at once that follows how long they take.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{Broker, Recorder, assert_once_and_in_order, eventually};
use kafka_worker_pool::{
    AdaptiveConcurrency, Backoff, CircuitState, FailingCircuit, Handler, HandlerError, Record, each,
};

on_all_brokers!(while_every_attempt_fails_the_pool_waits_and_writes_no_letters);

on_real_kafka!(a_slow_database_is_not_drowned);

async fn while_every_attempt_fails_the_pool_waits_and_writes_no_letters(broker: Broker) {
    let topic = broker.topic(4).await;
    let letters = format!("{topic}.{}.dlq", broker.group);
    broker.create(&letters, 1).await;
    broker.send(&topic, 0..2_000, 100).await;
    let (fails, attempts) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (failing, counted) = (Arc::clone(&fails), Arc::clone(&attempts));
    let recorder = Recorder::new(Duration::ZERO, move |_, _| {
        counted.fetch_add(1, Ordering::AcqRel);
        match failing.load(Ordering::Acquire) {
            true => Err(HandlerError::retry("a bad deployment")),
            false => Ok(()),
        }
    });
    let mut options = broker.options();
    options.max_attempts = 3;
    let mut circuit = FailingCircuit::default();
    circuit.pause = Backoff { first: Duration::from_millis(50), max: Duration::from_millis(200) };
    options.failing_circuit = Some(circuit);
    let pool = broker.pool(&topic).options(options).handler(recorder.clone()).start().unwrap();
    eventually("the circuit opens", || pool.status().failing_circuit == CircuitState::Open).await;
    let status = pool.status();
    assert_eq!(status.failing_circuit_cause.as_deref(), Some("a bad deployment"));
    assert_eq!((status.circuit, status.is_ready()), (CircuitState::Closed, false));
    let at_opening = attempts.load(Ordering::Acquire);
    assert!(at_opening <= 20 + 64 + 5, "{at_opening} attempts: 20 open it, 64 may be in flight");
    eventually("it tries again", || attempts.load(Ordering::Acquire) >= at_opening + 5).await;

    fails.store(false, Ordering::Release);
    recorder.until(2_000).await;
    eventually("the circuit is closed", || pool.status().failing_circuit == CircuitState::Closed).await;
    let report = pool.stop().await.unwrap();
    assert_eq!((report.handled, report.dead_lettered), (2_000, 0));
    assert!(report.retried <= 20, "{report:?}: only what failed while it was closed counts");
    assert_once_and_in_order(&recorder.done(), 0..2_000);
}

/// Takes 5 ms for up to eight calls at once, and longer by the square of what is beyond.
struct Database {
    running: AtomicUsize,
    most: AtomicUsize,
    recorder: Recorder,
}

async fn a_slow_database_is_not_drowned(broker: Broker) {
    let topic = broker.topic(4).await;
    broker.send(&topic, 0..2_000, 1_000).await;
    let recorder = Recorder::that_succeeds();
    let database =
        Arc::new(Database { running: AtomicUsize::new(0), most: AtomicUsize::new(0), recorder: recorder.clone() });
    let asked = Arc::clone(&database);
    let handler = each(move |record: Record| {
        let database = Arc::clone(&asked);
        async move {
            let running = database.running.fetch_add(1, Ordering::AcqRel) + 1;
            database.most.fetch_max(running, Ordering::AcqRel);
            let load = f64::from(u32::try_from(running).unwrap()) / 8.0;
            tokio::time::sleep(Duration::from_millis(5).mul_f64((load * load).max(1.0))).await;
            database.running.fetch_sub(1, Ordering::AcqRel);
            database.recorder.handle(std::slice::from_ref(&record)).await
        }
    });
    let mut options = broker.options();
    options.workers = 256;
    options.adaptive = Some(AdaptiveConcurrency::between(1, 256));
    let pool = broker.pool(&topic).options(options).handler(handler).start().unwrap();
    eventually("the limit is known", || pool.status().concurrency_limit.is_some()).await;
    recorder.until(2_000).await;
    let most = database.most.load(Ordering::Acquire);
    assert!((8..=40).contains(&most), "{most} of 256 at once, the knee is at 8");
    assert_eq!(pool.stop().await.unwrap().handled, 2_000);
    assert_once_and_in_order(&recorder.done(), 0..2_000);
}
