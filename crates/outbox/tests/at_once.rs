//! Effects that take several events at once: as many as they said, in order; and one that fails among them is found.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use std::sync::{Arc, Mutex};

use kafka_worker_pool::Handler as _;
use outbox::{
    EffectError, Effects, Gate, GateOptions, InboundEvent,
    db::{Database, Tx},
    ops,
};
use support::*;

on_both! {
    effects_get_as_many_as_they_take_in_order
    the_one_that_fails_among_many_is_found
}

/// Takes up to 16 at once, and notes how many it got.
#[derive(Clone, Default)]
struct AtOnce {
    recorder: Recorder,
    sizes: Arc<Mutex<Vec<usize>>>,
}

impl Effects for AtOnce {
    async fn apply(&self, tx: &Tx, event: &InboundEvent) -> Result<(), EffectError> {
        self.apply_all(tx, std::slice::from_ref(event)).await
    }

    const AT_ONCE: usize = 16;

    async fn apply_all(&self, tx: &Tx, events: &[InboundEvent]) -> Result<(), EffectError> {
        self.sizes.lock().unwrap().push(events.len());
        for event in events {
            self.recorder.apply(tx, event).await?;
        }
        Ok(())
    }
}

fn gate_of(db: &Database) -> (Gate<AtOnce>, AtOnce) {
    let effects = AtOnce::default();
    (Gate::new(db.clone(), GateOptions::new(GROUP), effects.clone()), effects)
}

async fn effects_get_as_many_as_they_take_in_order(db: Database) {
    let (gate, at_once) = gate_of(&db);
    let batch: Vec<_> = (1..=10).flat_map(|seq| ["P", "Q", "R"].map(|stream| event(stream, seq).record())).collect();
    gate.handle(&batch).await.unwrap();
    assert_eq!(*at_once.sizes.lock().unwrap(), [16, 14]);
    let effects = effects(&db).await;
    for stream in ["P", "Q", "R"] {
        let of_stream: Vec<_> = effects.iter().filter(|id| id.starts_with(stream)).cloned().collect();
        assert_eq!(of_stream, (1..=10).map(|seq| format!("{stream}-{seq}")).collect::<Vec<_>>());
    }
}

async fn the_one_that_fails_among_many_is_found(db: Database) {
    let (gate, at_once) = gate_of(&db);
    at_once.recorder.fail("P-7", Mood::Reject, u32::MAX);
    let early: Vec<_> = (2..=20).map(|seq| event("P", seq).record()).collect();
    gate.handle(&early).await.unwrap();
    gate.handle(&[event("P", 1).record()]).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1", "P-2", "P-3", "P-4", "P-5", "P-6"]);
    let letters = ops::open_letters(&db).await.unwrap();
    assert_eq!((letters.len(), letters[0].stream_seq), (1, Some(7)));
    assert_eq!(count(&db, "parked").await, 13, "those behind it wait");
}
