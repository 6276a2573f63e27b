//! The table of the pool's semantics, a row or two per test, on a paused clock.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod rig;

use std::sync::Arc;
use std::time::Duration;

use rig::{Bench, Fault, Item, job, options, start};
use tokio::time::Instant;
use worker_pool::{Backoff, CircuitState, GiveUpReason, OnTimeout};

/// The 99th percentile of the time from giving to end of jobs of `keys` that come one a millisecond.
async fn p99_of_fast_keys(bench: &Bench, before: usize) -> Duration {
    let mut given = vec![];
    for number in 0..1_000 {
        given.push(Instant::now());
        bench.give([job(number, 1_000 + number % 100).work_ms(2)]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.until(before + 1_000).await;
    let ends = bench.ends().into_iter().filter(|end| end.key >= 1_000);
    let mut took: Vec<_> = ends.map(|end| end.at - given[usize::try_from(end.number).unwrap()]).collect();
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

#[tokio::test(start_paused = true)]
async fn fairness_slow_and_failing_keys_hold_a_slot_each_and_never_a_lane() {
    let alone = p99_of_fast_keys(&start(options(2, 32, 1)), 0).await;
    let bench = start(options(2, 32, 1));
    bench.give((0..8).map(|n| job(10_000 + n, n).work_ms(900)));
    bench.give((8..16).flat_map(|n| (0..200).map(move |m| job(20_000 + n * 1_000 + m, n).fault(Fault::Retry, 9))));
    let beside = p99_of_fast_keys(&bench, 0).await;
    assert!(beside <= alone.mul_f64(1.2), "{beside:?} beside slow keys, {alone:?} alone");
}

#[tokio::test(start_paused = true)]
async fn bounds_never_more_calls_than_workers() {
    let bench = start(options(2, 6, 1));
    bench.give((0..200).map(|n| job(n, n).work_ms(5)));
    bench.until(200).await;
    let most = bench.log.lock().unwrap().most_running;
    assert!((4..=6).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn failure_a_key_waits_for_its_retry_and_others_go_on() {
    let bench = start(options(1, 4, 1));
    bench.give([job(0, 1).fault(Fault::Retry, 2), job(1, 1), job(2, 2), job(3, 3)]);
    bench.until(4).await;
    assert_eq!(bench.numbers(), [2, 3, 0, 1]);
    assert_eq!(bench.ends()[2].tag.attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn failure_a_dead_letter_is_tried_until_it_is_durable_and_only_then_is_the_job_over() {
    let bench = start(options(1, 4, 1));
    bench.log.lock().unwrap().letters_fail = 20;
    bench.give([job(0, 1).fault(Fault::Reject, 1), job(1, 1), job(2, 2)]);
    bench.until(1).await;
    assert_eq!(bench.numbers(), [2], "its key waits, others go on");
    bench.until(3).await;
    assert_eq!(bench.numbers(), [2, 0, 1]);
    let gave_up = bench.ends()[1].gave_up.clone().unwrap();
    assert_eq!((gave_up.reason, gave_up.attempts), (GiveUpReason::Rejected, 1));
    assert_eq!(bench.pool.circuit().0, CircuitState::Closed, "letters do not stop the pool");
}

#[tokio::test(start_paused = true)]
async fn failure_a_hold_waits_for_its_group_and_keeps_its_key() {
    let bench = start(options(2, 4, 4));
    bench.give_as(7, 1, [job(0, 1).fault(Fault::Hold, 1), job(1, 1), job(2, 2)]);
    bench.give_as(8, 1, [job(3, 1), job(4, 4)]);
    bench.until(2).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut numbers = bench.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 4], "0 is held; 1 and 3 are behind it");
    assert_eq!(bench.log.lock().unwrap().held.len(), 1);
    bench.pool.release(8);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.ends().len(), 2, "another group's release is not its own");
    bench.pool.release(7);
    bench.until(5).await;
    let of_key: Vec<u64> = bench.ends().iter().filter(|end| end.key == 1).map(|end| end.number).collect();
    assert_eq!(of_key, [0, 1, 3]);
}

#[tokio::test(start_paused = true)]
async fn failure_an_environment_that_is_away_pauses_the_pool_and_counts_no_attempt() {
    let bench = start(options(2, 8, 1));
    bench.give([job(0, 0).fault(Fault::Unavailable, 50)]);
    while bench.pool.circuit().0 == CircuitState::Closed {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bench.pool.circuit().1.as_deref(), Some("told to be away"));
    let before = bench.calls().len();
    bench.give((1..100).map(|n| job(n, n)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let probes = bench.calls()[before..].len();
    assert!((5..40).contains(&probes), "{probes} calls in 2 s of pauses up to 200 ms");
    assert!(bench.ends().is_empty(), "nobody works beside the probe");
    bench.until(100).await;
    assert_eq!(bench.pool.circuit().0, CircuitState::Closed);
    assert!(bench.ends().iter().all(|end| end.tag.attempts == 0 && end.gave_up.is_none()));
}

#[tokio::test(start_paused = true)]
async fn timeout_and_panic_are_failed_attempts_and_nothing_else_notices() {
    let bench = start(options(1, 4, 1));
    bench.give([
        job(0, 0).fault(Fault::Hang, 1),
        job(1, 1).fault(Fault::Panic, 1),
        job(2, 2),
        job(3, 3).fault(Fault::Hang, 9),
    ]);
    bench.until(4).await;
    let ends = bench.ends();
    assert_eq!(ends.iter().map(|end| end.number).collect::<Vec<_>>(), [2, 1, 0, 3]);
    assert_eq!(ends.iter().map(|end| end.tag.attempts).collect::<Vec<_>>(), [0, 1, 1, 3]);
    assert!(ends[3].gave_up.as_ref().unwrap().cause.contains("timed out after 1s"));
}

#[tokio::test(start_paused = true)]
async fn timeout_an_attempt_that_is_awaited_is_over_only_with_its_outcome() {
    let mut options = options(1, 4, 1);
    options.on_timeout = OnTimeout::Await;
    let bench = start(options);
    let began = Instant::now();
    bench.give([job(0, 0).work_ms(5_000), job(1, 1).work_ms(5_000).fault(Fault::Retry, 1)]);
    bench.until(2).await;
    assert_eq!(bench.calls(), [[0], [1], [1]], "no retry beside an attempt without an outcome");
    assert_eq!(bench.ends()[0].tag.attempts, 0, "a late success is a success");
    assert!(began.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn batches_split_until_the_culprit_stands_alone() {
    let bench = start(options(1, 1, 16));
    bench.give((0..16).map(|n| if n == 11 { job(n, n).fault(Fault::Retry, 9) } else { job(n, n) }));
    bench.until(16).await;
    let sizes: Vec<usize> = bench.calls().iter().map(Vec::len).collect();
    assert_eq!(sizes[0], 16);
    assert!(sizes.len() <= 1 + 2 * 4 + 2, "halving takes logarithmic calls: {sizes:?}");
    assert_eq!(bench.ends().iter().filter(|end| end.gave_up.is_some()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn batches_of_one_key_split_in_order() {
    let bench = start(options(1, 4, 8));
    bench.give((0..8).map(|n| if n == 5 { job(n, 1).fault(Fault::Retry, 1) } else { job(n, 1) }));
    bench.until(8).await;
    assert_eq!(bench.numbers(), (0..8).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn rebalance_what_is_forgotten_is_not_run_and_not_retried() {
    let bench = start(options(1, 2, 1));
    bench.give_as(1, 1, (0..10).map(|n| job(n, n).work_ms(50).fault(Fault::Retry, 1)));
    bench.give_as(2, 1, (10..12).map(|n| job(n, n)));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.calls().len(), 2);
    bench.pool.forget(1, 1);
    bench.until(2).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.numbers(), [10, 11]);
    assert_eq!(bench.calls().len(), 4, "the two that ran, and the other group's two");
    bench.give_as(1, 2, [job(20, 0)]);
    bench.until(3).await;
    bench.pool.close().await;
}

#[tokio::test(start_paused = true)]
async fn rebalance_who_is_left_of_a_failing_batch_is_not_blamed_for_what_was_forgotten() {
    for fault in [Fault::Reject, Fault::Retry, Fault::Hold] {
        let bench = start(options(1, 1, 16));
        bench.give_as(1, 1, [job(0, 0).work_ms(50).fault(fault, 9)]);
        bench.give_as(2, 1, [job(1, 1)]);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(bench.calls(), [[0, 1]]);
        bench.pool.forget(1, 1);
        bench.until(1).await;
        let ends = bench.ends();
        assert_eq!((ends[0].number, ends[0].tag.attempts, &ends[0].gave_up), (1, 0, &None), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rebalance_what_waited_behind_a_held_job_of_another_group_goes_on_when_that_is_forgotten() {
    let bench = start(options(1, 1, 16));
    bench.give_as(1, 1, [job(0, 5).fault(Fault::Hold, 9)]);
    bench.give_as(2, 1, [job(1, 5), job(2, 5)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.log.lock().unwrap().held.len(), 1);
    assert!(bench.ends().is_empty());
    bench.pool.forget(1, 1);
    bench.until(2).await;
    assert_eq!(bench.numbers(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn options_that_are_huge_only_mean_for_ever() {
    let mut options = options(1, 4, 1);
    options.handler_timeout = Duration::MAX;
    options.queue_capacity = usize::MAX;
    options.backoff = Backoff { first: Duration::MAX, max: Duration::MAX };
    options.circuit = Backoff { first: Duration::MAX, max: Duration::MAX };
    let bench = start(options);
    bench.give([job(0, 0).fault(Fault::Retry, 1), job(1, 1).work_ms(5)]);
    bench.until(1).await;
    bench.give([job(2, 2).fault(Fault::Unavailable, 1)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.pool.circuit().0, bench.pool.is_whole()), (CircuitState::Open, true));
}

#[tokio::test(start_paused = true)]
async fn shutdown_close_waits_for_everything_in_hand() {
    let bench = start(options(2, 4, 2));
    let log = Arc::clone(&bench.log);
    bench.give((0..50).map(|n| job(n, n % 7).work_ms(3)));
    bench.give([job(50, 99).fault(Fault::Retry, 2)]);
    bench.pool.close().await;
    assert_eq!(log.lock().unwrap().ends.len(), 51);
}

#[tokio::test(start_paused = true)]
async fn shutdown_abort_drops_what_is_in_hand() {
    let bench = start(options(1, 1, 1));
    let log = Arc::clone(&bench.log);
    bench.give((0..3).map(|n| job(n, n).fault(Fault::Hang, 9)));
    tokio::time::sleep(Duration::from_millis(10)).await;
    bench.pool.abort().await;
    assert_eq!(log.lock().unwrap().calls, [[0]]);
    assert!(log.lock().unwrap().ends.is_empty());
}

#[tokio::test]
async fn a_handler_that_takes_every_turn_lets_others_have_theirs() {
    let bench = start(options(1, 4, 1));
    bench.give((0..20_000).map(|n| Item { ..job(n, n % 50) }));
    // On one thread this only ends if the lane yields.
    bench.until(20_000).await;
}

#[tokio::test(start_paused = true)]
async fn fairness_a_key_with_a_long_queue_gets_its_turn_and_no_more() {
    let bench = start(options(1, 1, 1));
    bench.give((0..500).map(|n| job(n, 1).work_ms(1)));
    bench.give((500..510).map(|n| job(n, n).work_ms(1)));
    bench.until(510).await;
    let last_of_others = bench.numbers().iter().rposition(|number| *number >= 500).unwrap();
    assert!(last_of_others < 25, "the others waited behind {last_of_others} of 500");
}
