//! A gate in memory, driven by nothing but the decisions, under deliveries in any order, repeated, lost, rolled back, rejected, replayed and
//! discarded: each event has its effect once, in order, or was discarded by decision.

use std::collections::{BTreeMap, BTreeSet};

use outbox::decision::{Decision, Epoch, Kind, Repeated, Stream, repeated};
use proptest::prelude::*;

const EPOCH: i64 = 0;

/// What one step of the world does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The record is delivered and its transaction commits.
    Deliver(i64),
    /// The same, but the process dies before COMMIT.
    Crash(i64),
    /// Its effect rejects it: a dead letter, if its turn has come.
    Reject(i64),
    /// Another event under this number.
    Impostor(i64),
    /// An operator's replay and discard.
    Replay(i64),
    Skip(i64),
    /// An operator gives up a number that is missing.
    GiveUp(i64),
}

#[derive(Clone, Debug, Default)]
struct Gate {
    stream: Stream,
    parked: BTreeMap<i64, (Kind, String)>,
    /// What happened to the world, in order.
    effects: Vec<i64>,
    applied_ids: BTreeMap<i64, String>,
    discarded: BTreeSet<i64>,
    quarantined: u32,
}

fn id(seq: i64) -> String {
    format!("e-{seq}")
}

impl Gate {
    fn take(&mut self, kind: Kind, seq: i64, event_id: &str, rejects: bool) {
        match self.stream.decide(kind, EPOCH, seq) {
            Decision::Apply if rejects => self.bury(seq),
            Decision::Apply => {
                self.stream.advance(EPOCH, seq);
                self.effects.push(seq);
                self.applied_ids.insert(seq, event_id.to_owned());
            }
            Decision::Skip => {
                self.stream.advance(EPOCH, seq);
                self.discarded.insert(seq);
            }
            Decision::Repeat => {
                if repeated(self.applied_ids.get(&seq).map(String::as_str), event_id) == Repeated::Conflict {
                    self.quarantined += 1;
                }
            }
            Decision::Park => {
                let known = self.parked.get(&seq);
                if kind == Kind::Event && known.is_some() {
                    return;
                }
                if known.is_none() {
                    self.stream.park(EPOCH, seq);
                }
                self.parked.insert(seq, (kind, event_id.to_owned()));
            }
            Decision::Blocked | Decision::Void | Decision::Stale => {}
        }
        self.drain();
    }

    fn bury(&mut self, seq: i64) {
        self.parked.remove(&seq);
        self.stream.epochs.entry(EPOCH).or_default().letters.insert(seq);
        self.recount();
    }

    fn drain(&mut self) {
        while self.stream.drainable().is_some() {
            let Some((&seq, (kind, event_id))) = self.parked.first_key_value() else {
                panic!("drainable without a parked record")
            };
            let (kind, event_id) = (*kind, event_id.clone());
            if self.stream.decide(kind, EPOCH, seq) == Decision::Park {
                return;
            }
            self.parked.remove(&seq);
            self.recount();
            self.take(kind, seq, &event_id, false);
        }
    }

    fn recount(&mut self) {
        let epoch = self.stream.epochs.entry(EPOCH).or_default();
        epoch.parked = self.parked.len() as u64;
        epoch.lowest_parked = self.parked.keys().next().copied();
    }

    fn applied(&self) -> i64 {
        self.stream.epochs.get(&EPOCH).map_or(0, |epoch| epoch.applied)
    }

    fn check(&self) {
        let expected: Vec<i64> = (1..=self.applied()).filter(|seq| !self.discarded.contains(seq)).collect();
        assert_eq!(self.effects, expected, "each once, in order, without holes but the discarded");
        let letters = self.stream.epochs.get(&EPOCH).map(|epoch| epoch.letters.clone()).unwrap_or_default();
        assert!(letters.iter().all(|letter| *letter > self.applied()), "nothing passes an open letter");
    }
}

fn step(gate: &mut Gate, step: Step) {
    match step {
        Step::Deliver(seq) => gate.take(Kind::Event, seq, &id(seq), false),
        Step::Crash(seq) => gate.clone().take(Kind::Event, seq, &id(seq), false),
        Step::Reject(seq) => gate.take(Kind::Event, seq, &id(seq), true),
        Step::Impostor(seq) => {
            // Of two events that claim one number the first to come has it: an impostor only comes second.
            if seq <= gate.applied() {
                gate.take(Kind::Event, seq, "impostor", false);
            }
        }
        Step::Replay(seq) => gate.take(Kind::Replay, seq, &id(seq), false),
        Step::Skip(seq) => gate.take(Kind::Skip, seq, &id(seq), false),
        Step::GiveUp(seq) => gate.take(Kind::SkipMissing, seq, &id(seq), false),
    }
    gate.check();
}

fn steps(numbers: i64) -> impl Strategy<Value = Vec<Step>> {
    let seq = 1..=numbers;
    let one = (seq, 0..13_u8).prop_map(|(seq, what)| match what {
        0..=5 => Step::Deliver(seq),
        6 => Step::Crash(seq),
        7 | 8 => Step::Reject(seq),
        9 => Step::Impostor(seq),
        10 => Step::Replay(seq),
        11 => Step::GiveUp(seq),
        _ => Step::Skip(seq),
    });
    proptest::collection::vec(one, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_comes_each_event_is_applied_once_and_in_order(steps in steps(12)) {
        let mut gate = Gate::default();
        for one in steps {
            step(&mut gate, one);
        }
        // Everything accepted is delivered at last, and every open letter replayed.
        for seq in 1..=12 {
            step(&mut gate, Step::Deliver(seq));
        }
        while let Some(letter) = gate.stream.epochs.get(&EPOCH).and_then(Epoch::blocked) {
            step(&mut gate, Step::Replay(letter));
        }
        prop_assert_eq!(gate.applied(), 12);
        prop_assert!(gate.parked.is_empty());
    }
}
