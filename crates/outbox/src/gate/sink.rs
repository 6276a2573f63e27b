//! The gate as the pool's place for dead letters: the letter, the block of its stream and the mail to the dead-letter topic in one
//! transaction. Records that turn out to be applied leave no letter.

use std::sync::Arc;

use contracts::inbound::Inbound;
use kafka_worker_pool::{BoxError, DeadLetter, DeadLetterSink, Record};

use super::{
    Gate, Inner,
    decision::{Decision, Kind},
    effects::Effects,
    incoming::{Incoming, StreamKey, What, place_letter_id, replayed_letter_id},
    known::{Known, business_key},
    letters::{self, Burial, Buried, Ground},
    options::GateOptions,
    parked,
    streams::Streams,
};
use crate::db::{DbErr, Tx};

impl<E: Effects> DeadLetterSink for Gate<E> {
    async fn dead_letter(&self, letter: DeadLetter<'_>) -> Result<(), BoxError> {
        Ok(give_up(&self.inner, letter.record, letter.cause, letter.attempts).await?)
    }
}

/// Makes a dead letter of a record. Idempotent.
pub(super) async fn give_up<E: Effects>(
    gate: &Arc<Inner<E>>,
    record: &Record,
    cause: &str,
    attempts: u32,
) -> Result<(), DbErr> {
    let outcome = gate.db.transaction({
        let (gate, record, cause) = (gate.clone(), record.clone(), cause.to_owned());
        move |tx| Box::pin(async move { write(tx, &gate.options, &record, &cause, attempts).await })
    });
    let group = gate.options.group.clone();
    match outcome.await? {
        Buried::New => {
            metrics::counter!("gate_dead_letters_total", "group" => group.clone()).increment(1);
            tracing::error!(group, topic = %record.topic, partition = record.partition, offset = record.offset, cause, attempts, "a record became a dead letter");
        }
        Buried::Again => {
            tracing::error!(group, topic = %record.topic, partition = record.partition, offset = record.offset, cause, "the replay of a dead letter failed; it stays open");
        }
        Buried::Known => {}
    }
    Ok(())
}

async fn write(tx: &Tx, options: &GateOptions, record: &Record, cause: &str, attempts: u32) -> Result<Buried, DbErr> {
    let group = options.group.as_str();
    let Ok(item) = Incoming::of(record) else {
        let replay_of = replayed_letter_id(record);
        let ground = if replay_of.is_some() { Ground::ReplayFailed } else { Ground::Failed };
        let letter_id = replay_of.unwrap_or_else(|| place_letter_id(group, record));
        let burial = Burial { letter_id: &letter_id, record, inbound: None, cause, attempts, ground };
        return letters::bury(tx, group, &burial).await;
    };
    let inbound = item.inbound();
    let ground =
        if inbound.is_some_and(|inbound| inbound.replay.is_some()) { Ground::ReplayFailed } else { Ground::Failed };
    let number = match &item.what {
        What::Sequenced(number) if !matches!(number.kind, Kind::Skip | Kind::SkipMissing) => number,
        What::Foreign(inbound) if inbound.replay.is_none() && had_its_effect(tx, options, &item, inbound).await? => {
            return Ok(Buried::Known);
        }
        What::Sequenced(_) | What::Foreign(_) | What::Closing(_) => {
            // A decision that could not be carried out becomes a letter of its own; the letter it decides about stays as it is.
            let letter_id =
                if ground == Ground::ReplayFailed { item.letter_id(group) } else { place_letter_id(group, record) };
            // Without its envelope: it must not look like a letter of that number.
            let inbound = inbound.filter(|inbound| inbound.sequence.is_none());
            return letters::bury(
                tx,
                group,
                &Burial { letter_id: &letter_id, record, inbound, cause, attempts, ground },
            )
            .await;
        }
    };
    let (key, epoch) = (StreamKey::of(&number.inbound), number.inbound.stream_epoch);
    let mut streams = Streams::lock(tx, &[key.stream_id.as_str()].into()).await?;
    match streams.get(&key).decide(number.kind, epoch, number.seq) {
        // An attempt that was thought lost did commit, or the stream went on without the number.
        Decision::Repeat | Decision::Stale => return Ok(Buried::Known),
        Decision::Apply | Decision::Park | Decision::Blocked | Decision::Skip | Decision::Void => {}
    }
    let letter_id = item.letter_id(group);
    let burial = Burial { letter_id: &letter_id, record, inbound: item.inbound(), cause, attempts, ground };
    let buried = letters::bury(tx, group, &burial).await?;
    if item.decision().is_none() || item.decides_its_number(group, number) {
        streams.block(&key, epoch, number.seq);
    }
    // The letter holds the record now; a copy of it that is parked would only stand in the way.
    parked::remove(tx, &key, epoch, number.seq, number.seq).await?;
    streams.save(tx).await?;
    Ok(buried)
}

/// Whether a plain start had its effect after all: by an attempt that was thought lost, or in its other form.
async fn had_its_effect(tx: &Tx, options: &GateOptions, item: &Incoming, inbound: &Inbound) -> Result<bool, DbErr> {
    let streams = Streams::lock(tx, &[inbound.stream_id.as_str()].into()).await?;
    let mut known = Known::default();
    known.read(tx, options, &streams, std::slice::from_ref(item)).await?;
    Ok(known.had_its_effect(&business_key(inbound)))
}
