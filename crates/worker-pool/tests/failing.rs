//! The circuit on failing handlers on a pool, on a paused clock: while everything fails hardly anything is tried, and nothing is given up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod rig;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rig::{Bench, Fault, Item, job, options, start, within};
use worker_pool::{AdaptiveConcurrency, Backoff, CircuitState, FailingCircuit};

const ATTEMPTS: usize = 10;

fn with_circuit(lanes: usize, workers: usize, max_batch: usize) -> Bench {
    let mut circuit = FailingCircuit::default();
    circuit.attempts = ATTEMPTS;
    circuit.keys = 3;
    circuit.pause = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(4) };
    let mut options = options(lanes, workers, max_batch);
    options.failing_circuit = Some(circuit);
    start(options)
}

fn all_fail(bench: &Bench, fault: Option<Fault>) {
    bench.log.lock().unwrap().all_fail = fault;
}

async fn until_open(bench: &Bench) {
    while bench.pool.failing_circuit().0 != CircuitState::Open {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_every_attempt_fails_little_is_tried_and_nothing_is_given_up() {
    for fault in [Fault::Retry, Fault::Panic, Fault::Hang] {
        rig::hide_planned_panics();
        let bench = with_circuit(2, 8, 1);
        all_fail(&bench, Some(fault));
        bench.give((0..200).map(|n| job(n, n % 50)));
        until_open(&bench).await;
        let at_opening = bench.calls().len();
        assert!(at_opening <= ATTEMPTS + 8, "{fault:?}: {at_opening} calls before it opened");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let tries = bench.calls().len() - at_opening;
        assert!((10..70).contains(&tries), "{fault:?}: {tries} tries in a minute of pauses up to 4 s");
        assert!(bench.ends().is_empty(), "{fault:?}: nothing is given up");
        assert_eq!(bench.pool.circuit().0, CircuitState::Closed, "the circuit on the environment is another");

        all_fail(&bench, None);
        bench.until(200).await;
        assert_eq!(bench.pool.failing_circuit(), (CircuitState::Closed, None));
        let ends = bench.ends();
        assert!(ends.iter().all(|end| end.gave_up.is_none()));
        let counted: u32 = ends.iter().map(|end| end.tag.attempts).sum();
        assert!(counted as usize <= ATTEMPTS, "{fault:?}: {counted} attempts counted");
        for key in 0..50 {
            let of_key: Vec<u64> = ends.iter().filter(|end| end.key == key).map(|end| end.number).collect();
            assert!(of_key.is_sorted(), "{of_key:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_rejects_everything_writes_few_letters() {
    let bench = with_circuit(2, 8, 1);
    all_fail(&bench, Some(Fault::Reject));
    bench.give((0..500).map(|n| job(n, n)));
    until_open(&bench).await;
    assert_eq!(bench.pool.failing_circuit().1.as_deref(), Some("told to reject"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let letters = bench.ends().len();
    assert!(letters <= ATTEMPTS, "{letters} letters");
    all_fail(&bench, None);
    bench.until(500).await;
    assert_eq!(bench.ends().iter().filter(|end| end.gave_up.is_some()).count(), letters);
}

#[tokio::test(start_paused = true)]
async fn records_that_can_never_work_do_not_open_it_while_others_are_done() {
    let bench = with_circuit(2, 8, 1);
    for number in 0..1_000 {
        let is_bad = number < 300 && number % 3 == 0;
        bench.give([if is_bad { job(number, number).fault(Fault::Retry, 9) } else { job(number, number) }]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.until(1_000).await;
    assert_eq!(bench.ends().iter().filter(|end| end.gave_up.is_some()).count(), 100);
    assert_eq!(bench.pool.failing_circuit().0, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn each_try_takes_another_job_so_a_good_one_is_found() {
    let bench = with_circuit(1, 4, 1);
    bench.give((0..30).map(|n| job(n, n).fault(Fault::Reject, 99)));
    until_open(&bench).await;
    bench.give([job(100, 100)]);
    let is_done = || bench.ends().iter().any(|end| end.number == 100 && end.gave_up.is_none());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(200);
    while !is_done() {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", bench.numbers());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_could_not_be_stored_is_stored_while_it_is_open() {
    let bench = with_circuit(1, 4, 1);
    bench.log.lock().unwrap().letters_fail = 3;
    all_fail(&bench, Some(Fault::Reject));
    bench.give((0..40).map(|n| job(n, n)));
    until_open(&bench).await;
    bench.until(ATTEMPTS).await;
    assert_eq!(bench.pool.failing_circuit().0, CircuitState::Open);
    assert!(bench.ends().iter().all(|end| end.gave_up.is_some()));
}

#[tokio::test(start_paused = true)]
async fn batches_open_it_and_are_taken_apart_as_ever() {
    let bench = with_circuit(1, 4, 16);
    all_fail(&bench, Some(Fault::Retry));
    bench.give((0..64).map(|n| job(n, n)));
    until_open(&bench).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(bench.ends().is_empty());
    all_fail(&bench, None);
    bench.until(64).await;
    assert!(bench.ends().iter().all(|end| end.gave_up.is_none()));
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_while_it_is_open_is_not_tried_again() {
    let bench = with_circuit(1, 4, 1);
    all_fail(&bench, Some(Fault::Retry));
    bench.give_as(1, 1, (0..20).map(|n| job(n, n)));
    bench.give_as(2, 1, (20..40).map(|n| job(n, n)));
    until_open(&bench).await;
    bench.pool.forget(1, 1);
    all_fail(&bench, None);
    bench.until(20).await;
    let mut numbers = bench.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (20..40).collect::<Vec<_>>());
    bench.pool.close().await;
}

/// Jobs that fail a few times at most: each can be done in the end.
fn jobs() -> impl Strategy<Value = Vec<Item>> {
    let fault = prop_oneof![4 => Just(None), 2 => Just(Some(Fault::Retry)), 1 => Just(Some(Fault::Panic)), 1 => Just(Some(Fault::Reject))];
    let one = (0_u64..12, 0_u64..4, fault, 1_u32..4);
    prop::collection::vec(one, 1..100).prop_map(rig::items)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn through_times_when_everything_fails_keys_keep_their_order_and_every_job_ends_once(
        items in jobs(),
        lanes in 1_usize..4,
        workers in 1_usize..12,
        max_batch in 1_usize..10,
        adaptive_max in prop::option::of(1_usize..6),
        fails_at_ms in 0_u64..30,
        fails_for_ms in 0_u64..20_000,
    ) {
        rig::hide_planned_panics();
        let count = items.len();
        let (log, attempts_that_counted) = within(Duration::from_secs(30), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let mut options = options(lanes, workers, max_batch);
                let mut circuit = FailingCircuit::default();
                (circuit.attempts, circuit.keys) = (6, 2);
                circuit.pause = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(1) };
                options.failing_circuit = Some(circuit);
                options.adaptive = adaptive_max.map(|max| AdaptiveConcurrency::between(1, max));
                let bench = start(options);
                bench.give(items);
                tokio::time::sleep(Duration::from_millis(fails_at_ms)).await;
                all_fail(&bench, Some(Fault::Retry));
                tokio::time::sleep(Duration::from_millis(fails_for_ms)).await;
                all_fail(&bench, None);
                bench.until_within(count, Duration::from_secs(3_600)).await;
                let log = Arc::clone(&bench.log);
                let counted: u32 = bench.ends().iter().map(|end| end.tag.attempts).sum();
                bench.pool.close().await;
                (log, counted)
            })
        });
        let log = log.lock().unwrap();
        prop_assert!(log.overlaps.is_empty(), "keys {:?} ran twice at once", log.overlaps);
        for key in 0..12 {
            let of_key: Vec<u64> = log.ends.iter().filter(|end| end.key == key).map(|end| end.number).collect();
            prop_assert!(of_key.is_sorted(), "key {key} ended as {of_key:?}");
        }
        let mut ended: Vec<u64> = log.ends.iter().map(|end| end.number).collect();
        ended.sort_unstable();
        prop_assert_eq!(ended, (0..count as u64).collect::<Vec<_>>());
        prop_assert!(attempts_that_counted as usize <= 3 * count, "no job was tried more often than it may");
    }
}
