//! The law of the pool, for random jobs with random faults: two jobs of one key never run at once and never swap, every job ends exactly once,
//! and ends as its faults say.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod rig;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rig::{Fault, Item, options, start, within};
use worker_pool::{AdaptiveConcurrency, GiveUpReason};

const MAX_ATTEMPTS: u32 = 3;

/// Of the paused clock. 120 jobs that all hang, one at a time, each found by seven halvings and tried three times: 20 minutes.
const VIRTUAL_LIMIT: Duration = Duration::from_secs(3_600);
/// Of the wall clock, for one case; the usual one takes some milliseconds.
const REAL_LIMIT: Duration = Duration::from_secs(30);

fn jobs() -> impl Strategy<Value = Vec<Item>> {
    jobs_with(prop_oneof![
        6 => Just(None),
        2 => Just(Some(Fault::Retry)),
        1 => Just(Some(Fault::Panic)),
        1 => Just(Some(Fault::Hang)),
        1 => Just(Some(Fault::Reject)),
        1 => Just(Some(Fault::Unavailable)),
    ])
}

fn jobs_with(fault: impl Strategy<Value = Option<Fault>>) -> impl Strategy<Value = Vec<Item>> {
    let one = (0_u64..8, 0_u64..4, fault, 1_u32..5);
    prop::collection::vec(one, 1..120).prop_map(rig::items)
}

fn reason_of(item: &Item) -> Option<GiveUpReason> {
    match item.fault? {
        Fault::Reject => Some(GiveUpReason::Rejected),
        Fault::Retry | Fault::Panic | Fault::Hang if item.times >= MAX_ATTEMPTS => Some(GiveUpReason::Exhausted),
        _ => None,
    }
}

fn attempts_of(item: &Item) -> u32 {
    match item.fault {
        None | Some(Fault::Unavailable | Fault::Hold) => 0,
        Some(Fault::Reject) => 1,
        Some(Fault::Retry | Fault::Panic | Fault::Hang) => item.times.min(MAX_ATTEMPTS),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        // A case that hangs takes its whole limit, and so does each smaller one tried after it.
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn keys_keep_their_order_and_every_job_ends_once(
        items in jobs(),
        lanes in 1_usize..4,
        workers in 1_usize..12,
        max_batch in 1_usize..20,
        letters_fail in 0_u32..4,
        adaptive_max in prop::option::of(1_usize..6),
    ) {
        rig::hide_planned_panics();
        let (log, items) = within(REAL_LIMIT, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let mut options = options(lanes, workers, max_batch);
                options.adaptive = adaptive_max.map(|max| AdaptiveConcurrency::between(1, max));
                let bench = start(options);
                bench.log.lock().unwrap().letters_fail = letters_fail;
                for some in items.chunks(7) {
                    bench.give(some.iter().cloned());
                    tokio::task::yield_now().await;
                }
                bench.until_within(items.len(), VIRTUAL_LIMIT).await;
                let log = Arc::clone(&bench.log);
                bench.pool.close().await;
                (log, items)
            })
        });
        let log = log.lock().unwrap();
        prop_assert!(log.overlaps.is_empty(), "keys {:?} ran twice at once", log.overlaps);
        let mut seen: Vec<u64> = log.ends.iter().map(|end| end.number).collect();
        for key in 0..8 {
            let of_key: Vec<u64> = log.ends.iter().filter(|end| end.key == key).map(|end| end.number).collect();
            prop_assert!(of_key.is_sorted(), "key {key} ended as {of_key:?}");
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..items.len() as u64).collect::<Vec<_>>());
        for end in &log.ends {
            let item = &items[usize::try_from(end.number).unwrap()];
            prop_assert_eq!(end.gave_up.as_ref().map(|gave_up| gave_up.reason), reason_of(item), "{:?}", item);
            prop_assert_eq!(end.tag.attempts, attempts_of(item), "{:?}", item);
        }
        let most = log.calls.iter().map(Vec::len).max().unwrap_or(0);
        prop_assert!(most <= max_batch, "a call of {most} jobs");
    }

    #[test]
    fn what_is_forgotten_changes_nothing_for_the_others(
        items in jobs_with(prop_oneof![
            6 => Just(None),
            2 => Just(Some(Fault::Retry)),
            1 => Just(Some(Fault::Reject)),
            2 => Just(Some(Fault::Hold)),
        ]),
        lanes in 1_usize..3,
        workers in 1_usize..6,
        max_batch in 1_usize..20,
        forget_at_ms in 0_u64..40,
    ) {
        const FORGOTTEN: u64 = 0;
        let group_of = |number: u64| number % 3;
        let (log, items) = within(REAL_LIMIT, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let bench = start(options(lanes, workers, max_batch));
                for item in &items {
                    bench.give_as(u32::try_from(group_of(item.number)).unwrap(), 1, [item.clone()]);
                }
                tokio::time::sleep(Duration::from_millis(forget_at_ms)).await;
                bench.pool.forget(u32::try_from(FORGOTTEN).unwrap(), 1);
                let others = || {
                    let log = bench.log.lock().unwrap();
                    log.ends.iter().filter(|end| group_of(end.number) != FORGOTTEN).count()
                };
                let expected = items.iter().filter(|item| group_of(item.number) != FORGOTTEN).count();
                let deadline = tokio::time::Instant::now() + VIRTUAL_LIMIT;
                while others() < expected {
                    assert!(tokio::time::Instant::now() < deadline, "only {} of {expected} others ended", others());
                    (0..3).for_each(|group| bench.pool.release(group));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                let log = Arc::clone(&bench.log);
                bench.pool.close().await;
                (log, items)
            })
        });
        let log = log.lock().unwrap();
        prop_assert!(log.overlaps.is_empty(), "keys {:?} ran twice at once", log.overlaps);
        let mut seen: Vec<u64> = log.ends.iter().map(|end| end.number).collect();
        for key in 0..8 {
            let of_key: Vec<u64> = log.ends.iter().filter(|end| end.key == key).map(|end| end.number).collect();
            prop_assert!(of_key.is_sorted(), "key {key} ended as {of_key:?}");
        }
        seen.sort_unstable();
        let ended = seen.len();
        seen.dedup();
        prop_assert_eq!(seen.len(), ended, "a job ended twice");
        for end in &log.ends {
            let item = &items[usize::try_from(end.number).unwrap()];
            prop_assert_eq!(end.gave_up.as_ref().map(|gave_up| gave_up.reason), reason_of(item), "{:?}", item);
            prop_assert_eq!(end.tag.attempts, attempts_of(item), "{:?}", item);
        }
    }
}
