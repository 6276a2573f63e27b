//! The law of order for a source that calls short handlers itself: whatever its calls do, keys keep their order, no two jobs of one run at
//! once, and every job ends once, in lanes or where it was called.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod rig;

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use rig::{Bench, End, Fault, Item, job, options, start, within};
use tokio::time::Instant;
use worker_pool::{Called, Direct, GiveUpReason, Job, Tag, lane_of, mix};

/// Short calls in a row before a source may make them.
const STREAK: u64 = 4_096;
const FIRST: u64 = 1_000_000;

/// A source with the books the rules ask for.
struct Source {
    bench: Bench,
    direct: Direct<Item, u64>,
    undone: HashMap<u64, u64>,
    seen: usize,
    called: usize,
}

impl Source {
    /// A pool that has seen only short calls.
    async fn of_short_calls(bench: Bench) -> Self {
        bench.give((0..STREAK).map(|n| job(FIRST + n, FIRST + n)));
        bench.until(usize::try_from(STREAK).unwrap()).await;
        let direct = bench.pool.direct().expect("a handler of single jobs that does not block");
        assert!(direct.is_on(), "{direct:?}");
        bench.log.lock().unwrap().ends.clear();
        bench.log.lock().unwrap().calls.clear();
        Self { bench, direct, undone: HashMap::new(), seen: 0, called: 0 }
    }

    fn take_news(&mut self) {
        let log = self.bench.log.lock().unwrap();
        for end in &log.ends[self.seen..] {
            if let Some(undone) = self.undone.get_mut(&end.key) {
                *undone = undone.saturating_sub(1);
            }
        }
        self.seen = log.ends.len();
    }

    fn give(&mut self, item: Item) {
        self.take_news();
        let (number, key) = (item.number, item.key);
        let in_flight: u64 = self.undone.values().sum();
        let is_idle = self.undone.get(&key).is_none_or(|undone| *undone == 0);
        let has_room = in_flight < self.bench.pool.slots_per_lane() as u64;
        *self.undone.entry(key).or_default() += 1;
        if !(self.direct.begin() && is_idle && has_room) {
            self.bench.give([item]);
            return;
        }
        self.called += 1;
        let tag = Tag { key: mix(key), group: 0, generation: 1, ticket: number, attempts: 0 };
        match self.direct.call(Job { tag, item }) {
            Called::Done(output) => {
                assert_eq!(output, number);
                let end = End { number, key, tag, gave_up: None, at: Instant::now() };
                self.bench.log.lock().unwrap().ends.push(end);
            }
            Called::GoesOn(begun) => {
                assert!(!self.direct.is_on(), "the next jobs go to the lanes");
                assert!(self.bench.pool.go_on(lane_of(tag.key, self.bench.pool.lanes()), begun));
            }
        }
        self.direct.end();
    }
}

fn jobs() -> impl Strategy<Value = Vec<Item>> {
    let fault = prop_oneof![
        20 => Just(None),
        2 => Just(Some(Fault::Retry)),
        1 => Just(Some(Fault::Panic)),
        1 => Just(Some(Fault::Hang)),
        1 => Just(Some(Fault::Reject)),
        1 => Just(Some(Fault::Unavailable)),
    ];
    let work_ms = prop_oneof![20 => Just(0_u64), 1 => 1..4_u64];
    let one = (0_u64..8, work_ms, fault, 1_u32..5);
    prop::collection::vec(one, 1..60).prop_map(rig::items)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn a_job_ends_once_and_in_order_wherever_it_is_called(items in jobs(), lanes in 1_usize..3, workers in 1_usize..12) {
        rig::hide_planned_panics();
        let (ends, overlaps, called, items) = within(Duration::from_secs(30), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let mut source = Source::of_short_calls(start(options(lanes, workers, 1))).await;
                for (at, item) in items.iter().enumerate() {
                    source.give(item.clone());
                    if at % 5 == 4 {
                        tokio::task::yield_now().await;
                    }
                }
                source.bench.until_within(items.len(), Duration::from_secs(600)).await;
                let log = std::sync::Arc::clone(&source.bench.log);
                source.bench.pool.close().await;
                let log = log.lock().unwrap();
                (log.ends.clone(), log.overlaps.clone(), source.called, items)
            })
        });
        prop_assert!(called > 0, "the first job finds everything idle");
        prop_assert!(overlaps.is_empty(), "keys {:?} ran twice at once", overlaps);
        for key in 0..8 {
            let of_key: Vec<u64> = ends.iter().filter(|end| end.key == key).map(|end| end.number).collect();
            prop_assert!(of_key.is_sorted(), "key {key} ended as {of_key:?}");
        }
        let mut numbers: Vec<u64> = ends.iter().map(|end| end.number).collect();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..items.len() as u64).collect::<Vec<_>>());
        for end in &ends {
            let item = &items[usize::try_from(end.number).unwrap()];
            let is_rejected = item.fault == Some(Fault::Reject);
            let reason = end.gave_up.as_ref().map(|gave_up| gave_up.reason);
            prop_assert_eq!(reason == Some(GiveUpReason::Rejected), is_rejected, "{:?}", item);
            if item.fault.is_none() {
                prop_assert_eq!((reason, end.tag.attempts), (None, 0), "{:?}", item);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_goes_on_ends_it_until_the_lanes_see_short_calls_again() {
    let mut source = Source::of_short_calls(start(options(2, 8, 1))).await;
    source.give(job(1, 1));
    assert!(source.direct.is_on());
    source.give(job(2, 2).work_ms(5));
    assert!(!source.direct.is_on());
    source.bench.until(2).await;
    source.bench.give((0..2 * STREAK).map(|n| job(FIRST + n, FIRST + n)));
    source.bench.until(2 + 2 * usize::try_from(STREAK).unwrap()).await;
    assert!(source.direct.is_on());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_goes_on_keeps_to_its_timeout() {
    let mut source = Source::of_short_calls(start(options(1, 4, 1))).await;
    let began = Instant::now();
    source.give(job(1, 1).fault(Fault::Hang, 1));
    source.bench.until(1).await;
    assert_eq!(source.bench.ends()[0].tag.attempts, 1);
    assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn handlers_of_batches_are_called_in_lanes_alone() {
    let bench = start(options(1, 4, 8));
    assert!(bench.pool.direct().is_none());
}
