//! What the database knows of the events of one transaction: which event did a number, whose business key had its effect, which records
//! without a number have a letter. Read in one statement each, added to by the fold, and written back. It must not decide anything.

use std::collections::{BTreeMap, HashMap, HashSet};

use contracts::inbound::Inbound;

use super::{
    incoming::{Incoming, StreamKey, What, place_letter_id},
    options::GateOptions,
    streams::Streams,
};
use crate::db::{self, DbErr, Tx, Value};

/// A type of event and the stream it happens to once, whatever form it comes in.
pub(super) type BusinessKey = (String, String);

pub(super) fn business_key(inbound: &Inbound) -> BusinessKey {
    (inbound.event_type.clone(), inbound.stream_id.as_str().to_owned())
}

/// A number of a stream.
type At = (StreamKey, i64, i64);

#[derive(Debug, Default)]
pub(super) struct Known {
    applied: HashMap<At, String>,
    once: HashSet<BusinessKey>,
    letters: HashSet<String>,
    new_applied: Vec<(At, String)>,
    new_once: Vec<(BusinessKey, String)>,
}

impl Known {
    /// Reads what there is about these records. The streams must be locked.
    pub(super) async fn read(
        &mut self,
        tx: &Tx,
        options: &GateOptions,
        streams: &Streams,
        items: &[Incoming],
    ) -> Result<(), DbErr> {
        let mut done = Vec::new();
        let mut once = HashSet::new();
        let mut foreign = Vec::new();
        for item in items {
            match &item.what {
                What::Sequenced(number) => {
                    let at = (StreamKey::of(&number.inbound), number.inbound.stream_epoch, number.seq);
                    if streams.is_done(&at.0, at.1, at.2) {
                        done.push(at);
                    } else if options.once_types.contains(&number.inbound.event_type) {
                        once.insert(business_key(&number.inbound));
                    }
                }
                What::Foreign(inbound) => {
                    once.insert(business_key(inbound));
                    foreign.push(place_letter_id(&options.group, &item.record));
                }
                What::Closing(_) => {}
            }
        }
        self.read_applied(tx, done).await?;
        self.read_once(tx, once).await?;
        self.read_letters(tx, foreign).await
    }

    async fn read_applied(&mut self, tx: &Tx, numbers: Vec<At>) -> Result<(), DbErr> {
        if numbers.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "SELECT source, stream_id, stream_epoch, stream_seq, event_id FROM applied
             WHERE (source, stream_id, stream_epoch, stream_seq) IN (VALUES {})",
            db::rows(4, numbers.len())
        );
        let values = numbers.into_iter().flat_map(|(key, epoch, seq)| -> [Value; 4] {
            [key.source.into(), key.stream_id.into(), epoch.into(), seq.into()]
        });
        for row in db::query_all(tx, &sql, values).await? {
            let key = StreamKey { stream_id: row.try_get("", "stream_id")?, source: row.try_get("", "source")? };
            let at = (key, row.try_get("", "stream_epoch")?, row.try_get("", "stream_seq")?);
            self.applied.insert(at, row.try_get("", "event_id")?);
        }
        Ok(())
    }

    async fn read_once(&mut self, tx: &Tx, keys: HashSet<BusinessKey>) -> Result<(), DbErr> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut by_type: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (event_type, stream_id) in keys {
            by_type.entry(event_type).or_default().push(stream_id.into());
        }
        for (event_type, stream_ids) in by_type {
            let (sql, values) = db::present(db::kind_of(tx), "applied_once", &["event_type"], "stream_id", stream_ids)?;
            let values = std::iter::once(Value::from(event_type.as_str())).chain(values);
            for row in db::query_all(tx, &sql, values).await? {
                self.once.insert((event_type.clone(), row.try_get("", "stream_id")?));
            }
        }
        Ok(())
    }

    async fn read_letters(&mut self, tx: &Tx, ids: Vec<String>) -> Result<(), DbErr> {
        if ids.is_empty() {
            return Ok(());
        }
        let sql = format!("SELECT letter_id FROM dead_letter WHERE letter_id IN ({})", db::list(1, ids.len()));
        for row in db::query_all(tx, &sql, ids.into_iter().map(Value::from)).await? {
            self.letters.insert(row.try_get("", "letter_id")?);
        }
        Ok(())
    }

    /// The event that did this number; None for one that was skipped.
    pub(super) fn applied_event_id(&self, key: &StreamKey, epoch: i64, seq: i64) -> Option<&str> {
        self.applied.get(&(key.clone(), epoch, seq)).map(String::as_str)
    }

    pub(super) fn applied(&mut self, key: StreamKey, epoch: i64, seq: i64, event_id: &str) {
        self.applied.insert((key.clone(), epoch, seq), event_id.to_owned());
        self.new_applied.push(((key, epoch, seq), event_id.to_owned()));
    }

    pub(super) fn had_its_effect(&self, key: &BusinessKey) -> bool {
        self.once.contains(key)
    }

    pub(super) fn has_its_effect(&mut self, key: BusinessKey, event_id: &str) {
        self.once.insert(key.clone());
        self.new_once.push((key, event_id.to_owned()));
    }

    /// Whether a record without a number waits for a decision about its letter, or has had one.
    pub(super) fn has_letter(&self, letter_id: &str) -> bool {
        self.letters.contains(letter_id)
    }

    /// Writes what was added.
    pub(super) async fn save(&mut self, tx: &Tx) -> Result<(), DbErr> {
        let now = db::now();
        let applied = self.new_applied.drain(..).map(|((key, epoch, seq), event_id)| -> [Value; 6] {
            [key.source.into(), key.stream_id.into(), epoch.into(), seq.into(), event_id.into(), now.into()]
        });
        let columns = [
            ("source", "text"),
            ("stream_id", "text"),
            ("stream_epoch", "bigint"),
            ("stream_seq", "bigint"),
            ("event_id", "text"),
            ("applied_at", "timestamptz"),
        ];
        db::insert(tx, "applied", &columns, applied.collect(), "").await?;
        let once = self.new_once.drain(..).map(|((event_type, stream_id), event_id)| -> [Value; 4] {
            [event_type.into(), stream_id.into(), event_id.into(), now.into()]
        });
        let columns =
            [("event_type", "text"), ("stream_id", "text"), ("event_id", "text"), ("applied_at", "timestamptz")];
        db::insert(tx, "applied_once", &columns, once.collect(), "").await?;
        Ok(())
    }
}
