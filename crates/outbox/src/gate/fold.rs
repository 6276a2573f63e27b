//! One transaction of the gate: lock the streams, fold the records into them in order, write the result in a few statements. It must not
//! know the pool, nor open or end the transaction.

use std::{collections::BTreeSet, panic::AssertUnwindSafe, time::Instant};

use contracts::{
    control::{Decision as Verdict, OutcomeKind},
    inbound::Inbound,
};

use futures_util::FutureExt as _;

use super::{
    decision::{Decision, Kind, Repeated, repeated},
    effects::{EffectError, Effects, InboundEvent},
    incoming::{Incoming, Number, StreamKey, What, quarantine_letter_id},
    known::{Known, business_key},
    letters::{self, Burial, Ground},
    options::GateOptions,
    pace::Bounds,
    parked,
    streams::Streams,
};
use crate::db::{self, DbErr, Tx};

/// Why a transaction was rolled back.
#[derive(Debug)]
pub(super) enum GateError {
    /// The database's.
    Database(DbErr),
    /// The record at this place of the batch cannot be applied.
    Effect { index: usize, culprit: Box<Incoming>, error: EffectError },
    /// No room to park.
    Full(String),
}

impl From<DbErr> for GateError {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

impl GateError {
    /// Whether it says nothing about the records.
    pub(super) fn is_environment(&self) -> bool {
        match self {
            Self::Database(error) | Self::Effect { error: EffectError::Database(error), .. } => {
                db::is_environment(error)
            }
            Self::Effect { .. } | Self::Full(_) => false,
        }
    }
}

/// What a transaction did, told after its commit.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) applied: u64,
    pub(super) duplicates: u64,
    pub(super) parked: u64,
    pub(super) stale: u64,
    pub(super) ignored: u64,
    pub(super) quarantined: Vec<String>,
    pub(super) closed: u64,
    /// What the numbers given up were.
    pub(super) given_up: Vec<String>,
    /// How many records it took: the first ones.
    pub(super) taken: usize,
    /// Streams with parked records whose turn has come.
    pub(super) drainable: BTreeSet<String>,
}

/// The end of a letter.
struct Closing {
    verdict: Verdict,
    kind: OutcomeKind,
    topic: String,
    names_a_number: bool,
}

/// The fold over the records of one transaction.
pub(super) struct Fold<'a, E> {
    tx: &'a Tx,
    options: &'a GateOptions,
    effects: &'a E,
    bounds: Bounds,
    pub(super) streams: Streams,
    known: Known,
    closings: Vec<Closing>,
    quarantines: Vec<(Incoming, Number, String)>,
    /// Numbers given up whose events exist nowhere any more.
    given_up: Vec<Incoming>,
    /// Events to be applied, in order, each with its record's place among those that are folded in.
    pending: Vec<(usize, InboundEvent)>,
    done: Done,
}

/// Applies a batch, or as much of it as its bounds allow, one record at least: a transaction that ran out of time would be begun again and
/// run out of it again.
pub(super) async fn batch<E: Effects>(
    tx: &Tx,
    options: &GateOptions,
    effects: &E,
    items: &[Incoming],
    bounds: Bounds,
) -> Result<Done, GateError> {
    let started = Instant::now();
    let stream_ids = items.iter().filter_map(Incoming::inbound).map(|inbound| inbound.stream_id.as_str()).collect();
    let mut fold = Fold::begin(tx, options, effects, bounds, &stream_ids).await?;
    fold.know(items).await?;
    let mut early: Vec<&Incoming> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 && started.elapsed() >= bounds.budget {
            break;
        }
        fold.done.taken += 1;
        if fold.take(index, item)? == Decision::Park {
            fold.park(item, &mut early).await?;
        }
        fold.apply_some(items).await?;
    }
    fold.apply_rest(items).await?;
    parked::check_room(tx, options, &fold.streams, &early).await?;
    parked::insert(tx, &early).await?;
    fold.finish().await
}

impl<'a, E: Effects> Fold<'a, E> {
    pub(super) async fn begin(
        tx: &'a Tx,
        options: &'a GateOptions,
        effects: &'a E,
        bounds: Bounds,
        stream_ids: &BTreeSet<&str>,
    ) -> Result<Self, DbErr> {
        let streams = Streams::lock(tx, stream_ids).await?;
        Ok(Self {
            tx,
            options,
            effects,
            bounds,
            streams,
            known: Known::default(),
            closings: Vec::new(),
            quarantines: Vec::new(),
            given_up: Vec::new(),
            pending: Vec::new(),
            done: Done::default(),
        })
    }

    /// Reads what the database knows of records before they are taken.
    pub(super) async fn know(&mut self, items: &[Incoming]) -> Result<(), DbErr> {
        self.known.read(self.tx, self.options, &self.streams, items).await
    }

    /// Folds one record in and says what it was. What is to be parked is left to the caller; what is to be applied waits for
    /// [`Fold::apply_some`] and [`Fold::apply_rest`].
    pub(super) fn take(&mut self, index: usize, item: &Incoming) -> Result<Decision, GateError> {
        let (number, key) = match &item.what {
            What::Sequenced(number) => (number, StreamKey::of(&number.inbound)),
            What::Foreign(inbound) => return self.take_foreign(index, item, inbound),
            What::Closing(verdict) => {
                self.close(verdict, OutcomeKind::Discarded, item);
                return Ok(Decision::Skip);
            }
        };
        let epoch = number.inbound.stream_epoch;
        let kind = item.kind(&self.options.group, number);
        let decision = kind.map_or(Decision::Void, |kind| self.streams.get(&key).decide(kind, epoch, number.seq));
        if number.kind == Kind::SkipMissing {
            self.give_up(item, number, &key, decision);
            return Ok(decision);
        }
        match decision {
            Decision::Apply => {
                self.effect(index, item, &number.inbound)?;
                self.streams.advance(&key, epoch, number.seq);
                self.known.applied(key, epoch, number.seq, &number.inbound.id);
                self.replayed(item);
            }
            Decision::Skip => {
                self.streams.advance(&key, epoch, number.seq);
                self.discarded(item);
            }
            Decision::Repeat => self.repeat(item, number, &key),
            Decision::Blocked => {
                if repeated(self.streams.letter_event_id(&key, epoch, number.seq), &number.inbound.id)
                    == Repeated::Conflict
                {
                    self.quarantine(item, number, "the number belongs to an event that waits as a dead letter");
                } else {
                    self.done.duplicates += 1;
                }
            }
            Decision::Void => self.discarded(item),
            Decision::Stale => {
                self.done.stale += 1;
                self.discarded(item);
            }
            Decision::Park => {}
        }
        Ok(decision)
    }

    /// Where the number turns out not to be missing, nothing happens: a letter of that number is for `ctms dlq` to end.
    fn give_up(&mut self, item: &Incoming, number: &Number, key: &StreamKey, decision: Decision) {
        if decision == Decision::Skip {
            self.streams.advance(key, number.inbound.stream_epoch, number.seq);
            self.given_up.push(item.clone());
        } else {
            self.done.ignored += 1;
        }
    }

    fn take_foreign(&mut self, index: usize, item: &Incoming, inbound: &Inbound) -> Result<Decision, GateError> {
        // A record without a number is known by its place: with a letter there it waits for a decision, or has had one.
        if inbound.replay.is_none() && self.known.has_letter(&item.letter_id(&self.options.group)) {
            self.done.duplicates += 1;
            return Ok(Decision::Blocked);
        }
        let key = business_key(inbound);
        if self.known.had_its_effect(&key) {
            self.done.duplicates += 1;
            self.replayed(item);
            return Ok(Decision::Repeat);
        }
        self.effect(index, item, inbound)?;
        self.known.has_its_effect(key, &inbound.id);
        self.replayed(item);
        Ok(Decision::Apply)
    }

    /// The effect of an event is to be had, unless its business key shows that the other form of it had it already.
    fn effect(&mut self, index: usize, item: &Incoming, inbound: &Inbound) -> Result<(), GateError> {
        let culprit = |error| GateError::Effect { index, culprit: Box::new(item.clone()), error };
        let event = item.event(inbound).map_err(|malformed| culprit(EffectError::Reject(malformed.to_string())))?;
        let key = business_key(inbound);
        let is_once = inbound.sequence.is_some() && self.options.once_types.contains(&inbound.event_type);
        if is_once && self.known.had_its_effect(&key) {
            return Ok(());
        }
        self.pending.push((index, event));
        if is_once {
            self.known.has_its_effect(key, &inbound.id);
        }
        Ok(())
    }

    /// Applies what is pending once it is as much as the effects get at once.
    pub(super) async fn apply_some(&mut self, items: &[Incoming]) -> Result<(), GateError> {
        if self.pending.len() >= self.bounds.at_once { self.apply_rest(items).await } else { Ok(()) }
    }

    /// Applies what is pending. `items` are the records that were folded in.
    pub(super) async fn apply_rest(&mut self, items: &[Incoming]) -> Result<(), GateError> {
        let (places, events): (Vec<usize>, Vec<InboundEvent>) = std::mem::take(&mut self.pending).into_iter().unzip();
        if events.is_empty() {
            return Ok(());
        }
        // Also of a parked record, which the pool does not know: a panic must be charged to the record that caused it.
        let applied = AssertUnwindSafe(self.effects.apply_all(self.tx, &events)).catch_unwind().await;
        applied.unwrap_or_else(|panic| Err(EffectError::of_panic(&*panic))).map_err(|error| {
            // Which of several it was is not known: what stands before the middle one is tried without it.
            let index = places[places.len() / 2];
            GateError::Effect { index, culprit: Box::new(items[index].clone()), error }
        })?;
        self.done.applied += events.len() as u64;
        Ok(())
    }

    fn repeat(&mut self, item: &Incoming, number: &Number, key: &StreamKey) {
        let applied = self.known.applied_event_id(key, number.inbound.stream_epoch, number.seq).map(str::to_owned);
        match repeated(applied.as_deref(), &number.inbound.id) {
            Repeated::Duplicate => {
                self.done.duplicates += 1;
                self.replayed(item);
            }
            Repeated::Conflict => {
                let cause = format!("the number was applied as event {}", applied.unwrap_or_default());
                self.quarantine(item, number, &cause);
            }
        }
    }

    /// Keeps an early record for later, unless it is there already.
    async fn park<'i>(&mut self, item: &'i Incoming, early: &mut Vec<&'i Incoming>) -> Result<(), DbErr> {
        let What::Sequenced(number) = &item.what else { return Ok(()) };
        let (key, epoch) = (StreamKey::of(&number.inbound), number.inbound.stream_epoch);
        let same = |other: &&Incoming| matches!(&other.what, What::Sequenced(n) if n.seq == number.seq && n.inbound.stream_epoch == epoch && StreamKey::of(&n.inbound) == key);
        let here = early.iter().position(same);
        let parked_id = match here.and_then(|at| early[at].inbound()) {
            Some(inbound) => Some(inbound.id.clone()),
            None if self.streams.parked(&key) > 0 => parked::event_id(self.tx, &key, epoch, number.seq).await?,
            None => None,
        };
        let is_event = item.kind(&self.options.group, number) == Some(Kind::Event);
        match parked_id {
            Some(parked) if is_event && parked != number.inbound.id => {
                self.quarantine(item, number, &format!("event {parked} is parked under the number"));
            }
            Some(_) if is_event => self.done.duplicates += 1,
            known => {
                if known.is_none() {
                    self.streams.park(&key, epoch, number.seq);
                }
                if let Some(at) = here {
                    early.remove(at);
                }
                early.push(item);
                self.done.parked += 1;
            }
        }
        Ok(())
    }

    fn replayed(&mut self, item: &Incoming) {
        if let Some(verdict) = item.decision() {
            self.close(verdict, OutcomeKind::Replayed, item);
        }
    }

    fn discarded(&mut self, item: &Incoming) {
        match item.decision() {
            Some(verdict) => self.close(verdict, OutcomeKind::Discarded, item),
            None => self.done.ignored += 1,
        }
    }

    fn close(&mut self, verdict: &Verdict, kind: OutcomeKind, item: &Incoming) {
        let names_a_number = matches!(item.what, What::Sequenced(_));
        let topic = item.record.topic.to_string();
        self.closings.push(Closing { verdict: verdict.clone(), kind, topic, names_a_number });
    }

    fn quarantine(&mut self, item: &Incoming, number: &Number, cause: &str) {
        let cause = format!(
            "event {} came as number {} of stream {}, but {cause}",
            number.inbound.id,
            number.seq,
            number.inbound.stream_id.as_str()
        );
        self.quarantines.push((item.clone(), number.clone(), cause));
    }

    /// Writes everything that the records changed.
    pub(super) async fn finish(mut self) -> Result<Done, GateError> {
        debug_assert!(self.pending.is_empty(), "effects are had before the positions that say so");
        self.streams.save(self.tx).await?;
        self.known.save(self.tx).await?;
        let group = &self.options.group;
        for Closing { verdict, kind, topic, names_a_number } in &self.closings {
            if letters::close(self.tx, group, topic, *kind, verdict, *names_a_number).await? {
                self.done.closed += 1;
            }
        }
        for item in &self.given_up {
            self.record_given_up(item).await?;
            let place =
                item.inbound().map(|inbound| (inbound.sequence.unwrap_or_default(), inbound.stream_id.as_str()));
            self.done.given_up.extend(place.map(|(seq, stream_id)| format!("number {seq} of stream {stream_id}")));
        }
        for (item, number, cause) in &self.quarantines {
            let letter_id = quarantine_letter_id(group, &number.inbound, number.seq);
            let burial = Burial {
                letter_id: &letter_id,
                record: &item.record,
                inbound: Some(&number.inbound),
                cause,
                attempts: 1,
                ground: Ground::Conflict,
            };
            letters::bury(self.tx, group, &burial).await?;
            self.done.quarantined.push(cause.clone());
        }
        self.done.drainable = self.streams.drainable();
        Ok(self.done)
    }

    /// A letter that was discarded at once: who gave the number up and why stays in its row and in the dead-letter topic.
    async fn record_given_up(&self, item: &Incoming) -> Result<(), DbErr> {
        let (Some(verdict), group) = (item.decision(), self.options.group.as_str()) else { return Ok(()) };
        let burial = Burial {
            letter_id: &verdict.letter_id,
            record: &item.record,
            inbound: item.inbound(),
            cause: "the event of this number exists nowhere any more",
            attempts: 0,
            ground: Ground::Failed,
        };
        letters::bury(self.tx, group, &burial).await?;
        letters::close(self.tx, group, &item.record.topic, OutcomeKind::Discarded, verdict, true).await?;
        Ok(())
    }
}
