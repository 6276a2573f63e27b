//! A record as the gate sees it: an event with a number, a plain start, a decision about a letter, or malformed. It must not know positions.

use bytes::Bytes;
use contracts::{
    Malformed,
    control::{BY, Decision, GAP, REPLAY_OF, SKIP, WHY, record_letter_id, stream_letter_id},
    envelope::CE_SEQUENCE,
    inbound::{Inbound, Origin, RecordView, classify},
    topics::is_retry_topic,
};
use kafka_worker_pool::Record;

use super::{
    decision::Kind,
    effects::{InboundEvent, Place},
};

/// A record that has a place in a stream, or is a decision.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    pub(super) record: Record,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// An event, replay or skip marker with a number.
    Sequenced(Number),
    /// A plain start without a number.
    Foreign(Inbound),
    /// The discard of a letter that has no stream.
    Closing(Decision),
}

/// An [`Inbound`] with its number.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) inbound: Inbound,
    pub(super) kind: Kind,
    pub(super) seq: i64,
}

/// One source's stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct StreamKey {
    pub(super) stream_id: String,
    pub(super) source: String,
}

impl StreamKey {
    pub(super) fn of(inbound: &Inbound) -> Self {
        Self { stream_id: inbound.stream_id.as_str().to_owned(), source: inbound.source.clone() }
    }
}

impl Incoming {
    pub(super) fn of(record: &Record) -> Result<Self, Malformed> {
        if let Some(decision) = closing(record) {
            return Ok(Self { record: record.clone(), what: What::Closing(decision) });
        }
        let inbound = with_view(record, classify)?;
        let what = match inbound.sequence {
            None => What::Foreign(inbound),
            Some(seq) => {
                let kind = match (&inbound.origin, &inbound.replay) {
                    (Origin::Skip(_), _) if record.headers.get(GAP).is_some() => Kind::SkipMissing,
                    (Origin::Skip(_), _) => Kind::Skip,
                    (_, Some(_)) => Kind::Replay,
                    (_, None) => Kind::Event,
                };
                What::Sequenced(Number { inbound, kind, seq })
            }
        };
        Ok(Self { record: record.clone(), what })
    }

    pub(super) fn inbound(&self) -> Option<&Inbound> {
        match &self.what {
            What::Sequenced(number) => Some(&number.inbound),
            What::Foreign(inbound) => Some(inbound),
            What::Closing(_) => None,
        }
    }

    /// The operator's decision that this record carries.
    pub(super) fn decision(&self) -> Option<&Decision> {
        match &self.what {
            What::Closing(decision) => Some(decision),
            What::Sequenced(Number { inbound, .. }) | What::Foreign(inbound) => match &inbound.origin {
                Origin::Skip(decision) => Some(decision),
                Origin::CloudEvent | Origin::Foreign => inbound.replay.as_ref(),
            },
        }
    }

    /// Whether the decision that this record carries is about the letter of its own number. Another letter's (a quarantined event's, a
    /// malformed record's) decides nothing about the number.
    pub(super) fn decides_its_number(&self, group: &str, number: &Number) -> bool {
        let Inbound { source, stream_id, stream_epoch, .. } = &number.inbound;
        let own = stream_letter_id(group, source, stream_id.as_str(), *stream_epoch, number.seq);
        self.decision().is_some_and(|decision| decision.letter_id == own)
    }

    /// How it asks to pass its number; None for the discard of another letter, which asks for nothing. The replay of another letter is an
    /// event like any other.
    pub(super) fn kind(&self, group: &str, number: &Number) -> Option<Kind> {
        match number.kind {
            kind @ (Kind::Replay | Kind::Skip | Kind::SkipMissing) if self.decides_its_number(group, number) => {
                Some(kind)
            }
            Kind::Event | Kind::Replay => Some(Kind::Event),
            Kind::Skip | Kind::SkipMissing => None,
        }
    }

    /// What a batch is sorted by: effects lock the rows of their streams, and two transactions must do it in one order. Decisions that
    /// belong to no stream come last.
    pub(super) fn place_in_batch(&self) -> (bool, &str) {
        self.inbound().map_or((true, ""), |inbound| (false, inbound.stream_id.as_str()))
    }

    /// The event with its payload read.
    pub(super) fn event(&self, inbound: &Inbound) -> Result<InboundEvent, Malformed> {
        let data = self.record.value.clone().unwrap_or_default();
        let event = inbound.decode(&data)?;
        Ok(InboundEvent { inbound: inbound.clone(), event, data, place: place(&self.record) })
    }

    /// The id of the letter that this record is or would be.
    pub(super) fn letter_id(&self, group: &str) -> String {
        match (self.decision(), &self.what) {
            (Some(decision), _) => decision.letter_id.clone(),
            (None, What::Sequenced(number)) => {
                let Inbound { source, stream_id, stream_epoch, .. } = &number.inbound;
                stream_letter_id(group, source, stream_id.as_str(), *stream_epoch, number.seq)
            }
            (None, What::Foreign(_) | What::Closing(_)) => place_letter_id(group, &self.record),
        }
    }
}

/// The id of the letter of a record without a number.
pub(super) fn place_letter_id(group: &str, record: &Record) -> String {
    record_letter_id(group, &record.topic, record.partition, record.offset, record.value.as_deref())
}

/// The id of the letter of another event under a number that is taken: apart from that number's own letter.
pub(super) fn quarantine_letter_id(group: &str, inbound: &Inbound, seq: i64) -> String {
    let source = format!("{}\n{}", inbound.source, inbound.id);
    stream_letter_id(group, &source, inbound.stream_id.as_str(), inbound.stream_epoch, seq)
}

/// The letter that a malformed record is a replay of.
pub(super) fn replayed_letter_id(record: &Record) -> Option<String> {
    if is_retry_topic(&record.topic) { record.headers.get(REPLAY_OF).map(text) } else { None }
}

pub(super) fn place(record: &Record) -> Place {
    Place { topic: record.topic.clone(), partition: record.partition, offset: record.offset }
}

/// The key whose records keep their order, for the pool.
pub(crate) fn pool_key(record: &Record) -> Bytes {
    with_view(record, |view| Bytes::from(contracts::inbound::pool_key(view).into_owned()))
}

fn with_view<T>(record: &Record, read: impl FnOnce(&RecordView<'_>) -> T) -> T {
    // Read once: what a record is takes a dozen looks at them.
    let known: Vec<(&str, Option<&[u8]>)> = record.headers.entries().collect();
    let headers = |name: &str| known.iter().rev().find(|(found, _)| *found == name).and_then(|(_, value)| *value);
    read(&RecordView {
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
    })
}

/// A skip marker that names a letter and no number.
fn closing(record: &Record) -> Option<Decision> {
    let marked = is_retry_topic(&record.topic) && record.headers.get(CE_SEQUENCE).is_none();
    let letter_id = record.headers.get(SKIP).filter(|_| marked).map(text)?;
    let field = |name: &str| record.headers.get(name).map(text).unwrap_or_default();
    Some(Decision { letter_id, by: field(BY), why: field(WHY) })
}

/// PostgreSQL's text cannot hold U+0000.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}
