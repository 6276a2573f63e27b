//! Effects that get several events in one call: what one of them does is charged to it alone, and what is too much at once gets less.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use std::time::Duration;

use contracts::control::stream_letter_id;
use kafka_worker_pool::{Handler as _, Record};
use outbox::{
    EffectError, Effects, Gate, GateOptions, InboundEvent,
    db::{Database, Tx},
    ops,
};
use support::*;

on_both! {
    of_parked_events_the_one_that_fails_becomes_a_letter_and_those_before_it_are_applied_once
    a_panic_among_parked_events_is_charged_to_the_event_that_panics
    the_same_event_twice_in_one_batch_has_one_effect
    a_plain_start_and_a_numbered_one_in_one_batch_have_one_effect
    what_is_too_much_at_once_is_applied_in_several_calls
    what_is_too_much_of_what_was_parked_is_applied_in_several_calls
}

/// [`Recorder`] in calls of several events, of which some are too many: they never end.
#[derive(Clone)]
struct Together {
    recorder: Recorder,
    most: usize,
}

impl Effects for Together {
    const AT_ONCE: usize = 5;

    async fn apply(&self, tx: &Tx, event: &InboundEvent) -> Result<(), EffectError> {
        self.recorder.apply(tx, event).await
    }

    async fn apply_all(&self, tx: &Tx, events: &[InboundEvent]) -> Result<(), EffectError> {
        if events.len() > self.most {
            return std::future::pending().await;
        }
        for event in events {
            self.apply(tx, event).await?;
        }
        Ok(())
    }
}

fn together(db: &Database) -> (Gate<Together>, Recorder) {
    at_most(db, Together::AT_ONCE)
}

fn at_most(db: &Database, most: usize) -> (Gate<Together>, Recorder) {
    let recorder = Recorder::default();
    let mut options = GateOptions::new(GROUP);
    options.backoff = Duration::from_millis(1);
    (Gate::new(db.clone(), options, Together { recorder: recorder.clone(), most }), recorder)
}

fn records(stream: &str, numbers: std::ops::RangeInclusive<i64>) -> Vec<Record> {
    numbers.map(|seq| event(stream, seq).record()).collect()
}

fn ids(stream: &str, numbers: impl IntoIterator<Item = i64>) -> Vec<String> {
    numbers.into_iter().map(|seq| format!("{stream}-{seq}")).collect()
}

async fn of_parked_events_the_one_that_fails_becomes_a_letter_and_those_before_it_are_applied_once(db: Database) {
    let (gate, recorder) = together(&db);
    recorder.fail("P-9", Mood::Reject, u32::MAX);
    gate.handle(&records("P", 2..=14)).await.unwrap();
    deliver(&gate, &event("P", 1).record()).await.unwrap();
    assert_eq!(effects(&db).await, ids("P", 1..=8));
    let letter = ops::open_letters(&db).await.unwrap().remove(0);
    assert_eq!((letter.stream_seq, letter.attempts, letter.cause.as_str()), (Some(9), 1, "the rule says no"));
    let discard = event("P", 9).skip(&stream_letter_id(GROUP, "ctms/project-srv", "P", 0, 9));
    deliver(&gate, &discard.record()).await.unwrap();
    assert_eq!(effects(&db).await, ids("P", (1..=8).chain(10..=14)));
}

async fn a_panic_among_parked_events_is_charged_to_the_event_that_panics(db: Database) {
    let (gate, recorder) = together(&db);
    recorder.fail("P-4", Mood::Panic, u32::MAX);
    gate.handle(&records("P", 2..=6)).await.unwrap();
    deliver(&gate, &event("P", 1).record()).await.unwrap();
    assert_eq!(effects(&db).await, ids("P", 1..=3));
    let letter = ops::open_letters(&db).await.unwrap().remove(0);
    assert_eq!((letter.stream_seq, letter.attempts), (Some(4), 5));
    assert!(letter.cause.contains("panics"), "{}", letter.cause);
}

async fn the_same_event_twice_in_one_batch_has_one_effect(db: Database) {
    let (gate, _) = together(&db);
    let twice: Vec<Record> = records("P", 1..=3).into_iter().chain(records("P", 2..=4)).collect();
    gate.handle(&twice).await.unwrap();
    assert_eq!(effects(&db).await, ids("P", 1..=4));
    assert_eq!(ops::open_letters(&db).await.unwrap(), []);
}

async fn a_plain_start_and_a_numbered_one_in_one_batch_have_one_effect(db: Database) {
    let (gate, _) = together(&db);
    gate.handle(&[event("P", 1).started().record(), foreign_start("P", 7), event("P", 2).record()]).await.unwrap();
    gate.handle(&[foreign_start("Q", 8), event("Q", 1).started().record(), event("Q", 2).record()]).await.unwrap();
    assert_eq!(count(&db, "effect WHERE stream_id = 'P'").await, 2);
    assert_eq!(count(&db, "effect WHERE stream_id = 'Q'").await, 2);
    assert_eq!(count(&db, "stream_pos WHERE applied_seq = 2").await, 2);
}

async fn what_is_too_much_at_once_is_applied_in_several_calls(db: Database) {
    let hasty = hasty(&db, Duration::from_secs(3)).await;
    let (gate, _) = at_most(&hasty, 4);
    let batch: Vec<Record> = (1..=5).map(|at| event(&format!("P{at}"), 1).record()).collect();
    until_taken(&gate, &batch).await;
    assert_eq!(effects(&db).await.len(), 5);
    hasty.close().await;
}

async fn what_is_too_much_of_what_was_parked_is_applied_in_several_calls(db: Database) {
    let hasty = hasty(&db, Duration::from_secs(3)).await;
    let (gate, _) = at_most(&hasty, 4);
    until_taken(&gate, &records("P", 2..=6)).await;
    until_taken(&gate, &records("P", 1..=1)).await;
    assert_eq!(effects(&db).await, ids("P", 1..=6));
    hasty.close().await;
}
