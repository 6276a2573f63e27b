//! The gate on both databases under random batches: shuffled, repeated, rejected, panicking, rolled back by the environment. The pool is
//! played by its rules: a failing batch is split until the culprit stands alone, failures are counted, dead letters are replayed.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use contracts::control::stream_letter_id;
use kafka_worker_pool::{DeadLetter, DeadLetterSink as _, Handler as _, HandlerError, Record};
use outbox::{Gate, db::Database, ops};
use support::*;

on_both! {
    random_batches_are_applied_once_and_in_order
}

const SEEDS: u64 = 25;
const STREAMS: u64 = 3;
const EVENTS: i64 = 8;

/// xorshift64*: repeatable, and good enough to shuffle.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, usize::try_from(self.below(at as u64 + 1)).unwrap());
        }
    }
}

async fn random_batches_are_applied_once_and_in_order(db: Database) {
    for seed in 1..=SEEDS {
        one_world(&db, seed).await;
    }
}

async fn one_world(db: &Database, seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let (gate, recorder) = gate(db);
    let streams: Vec<String> = (0..STREAMS).map(|at| format!("S{seed}.{at}")).collect();
    let all: Vec<_> = streams.iter().flat_map(|stream| (1..=EVENTS).map(|seq| event(stream, seq))).collect();
    for one in &all {
        let mood = match dice.below(12) {
            0 => Mood::Reject,
            1 => Mood::Retry,
            2 => Mood::Environment,
            3 => Mood::Panic,
            _ => continue,
        };
        recorder.fail(&one.event.id, mood, 1 + u32::try_from(dice.below(3)).unwrap());
    }
    let mut deliveries: Vec<Record> = all.iter().map(support::Letterhead::record).collect();
    deliveries.extend((0..20).map(|_| all[usize::try_from(dice.below(all.len() as u64)).unwrap()].record()));
    dice.shuffle(&mut deliveries);
    let mut rest = deliveries.as_slice();
    while !rest.is_empty() {
        let size = usize::try_from(1 + dice.below(7)).unwrap().min(rest.len());
        let (batch, later) = rest.split_at(size);
        pool(&gate, batch).await;
        rest = later;
    }
    settle(db, &gate, &all, seed).await;

    let effects = effects(db).await;
    for stream in &streams {
        let of_stream: Vec<_> = effects.iter().filter(|id| id.starts_with(&format!("{stream}-"))).cloned().collect();
        let expected: Vec<_> = (1..=EVENTS).map(|seq| format!("{stream}-{seq}")).collect();
        assert_eq!(of_stream, expected, "seed {seed}");
    }
}

/// An operator replays what is open until nothing is.
async fn settle(db: &Database, gate: &Gate<Recorder>, all: &[Letterhead], seed: u64) {
    for round in 1_i64.. {
        let open = ops::open_letters(db).await.unwrap();
        if open.is_empty() {
            return;
        }
        assert!(round < 100, "seed {seed}: these letters never close: {open:?}");
        for letter in open {
            let original = all.iter().find(|one| letter_id(one) == letter.letter_id).unwrap();
            let replay = original.clone().replay_of(&letter.letter_id).at(RETRY, round).record();
            pool(gate, &[replay]).await;
        }
    }
}

fn letter_id(one: &Letterhead) -> String {
    let event = &one.event;
    stream_letter_id(GROUP, &event.source, &event.subject, event.stream_epoch, event.sequence.unwrap())
}

/// What the pool does with a batch until every record of it is done.
async fn pool(gate: &Gate<Recorder>, batch: &[Record]) {
    let mut waiting = vec![batch.to_vec()];
    let mut attempts = 0;
    while let Some(batch) = waiting.pop() {
        let call = tokio::spawn({
            let (gate, batch) = (gate.clone(), batch.clone());
            async move { gate.handle(&batch).await }
        });
        let failure = match call.await {
            Ok(Ok(())) => {
                attempts = 0;
                continue;
            }
            Ok(Err(HandlerError::Unavailable { .. })) => {
                waiting.push(batch);
                continue;
            }
            Ok(Err(HandlerError::Reject { cause })) => (cause.to_string(), true),
            Ok(Err(other)) => (format!("{other:?}"), false),
            Err(panic) => (panic.to_string(), false),
        };
        if batch.len() > 1 {
            let (first, second) = batch.split_at(batch.len() / 2);
            waiting.push(second.to_vec());
            waiting.push(first.to_vec());
            continue;
        }
        attempts += 1;
        let (cause, is_final) = failure;
        if is_final || attempts == 5 {
            let letter = DeadLetter { record: &batch[0], group: GROUP, cause: &cause, attempts };
            gate.dead_letter(letter).await.unwrap();
            attempts = 0;
        } else {
            waiting.push(batch);
        }
    }
}
