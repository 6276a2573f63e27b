//! The positions of streams in the database: locked in key order, read, and written back in one statement. It must not decide anything.

use std::collections::{BTreeMap, BTreeSet};

use super::{decision::Stream, incoming::StreamKey};
use crate::db::{self, DbErr, Kind, Tx, Value};

/// The source of the row that stands for the stream itself, whoever produces: every record of the stream locks it first, so that a plain
/// start and a numbered one, or two epochs, never pass each other.
const ANCHOR: &str = "";

/// The streams of one transaction, under their locks.
#[derive(Debug, Default)]
pub(super) struct Streams {
    by_key: BTreeMap<StreamKey, Stream>,
    /// The event ids of open letters.
    letters: BTreeMap<(StreamKey, i64, i64), String>,
    changed: BTreeSet<(StreamKey, i64)>,
}

impl Streams {
    /// Locks the streams and reads where they stand. What else the transaction reads of them, it must read after this.
    pub(super) async fn lock(tx: &Tx, stream_ids: &BTreeSet<&str>) -> Result<Self, DbErr> {
        let mut streams = Self::default();
        if stream_ids.is_empty() {
            return Ok(streams);
        }
        if db::kind_of(tx) == Kind::Postgres {
            lock_anchors(tx, stream_ids).await?;
        }
        streams.read_positions(tx, stream_ids).await?;
        let any_letter =
            streams.by_key.values().any(|stream| stream.epochs.values().any(|epoch| !epoch.letters.is_empty()));
        if any_letter {
            streams.read_letters(tx, stream_ids).await?;
        }
        Ok(streams)
    }

    async fn read_positions(&mut self, tx: &Tx, stream_ids: &BTreeSet<&str>) -> Result<(), DbErr> {
        let (found, ids) = db::among(db::kind_of(tx), 1, "text", values(stream_ids))?;
        let sql = format!(
            "SELECT p.source, p.stream_id, p.stream_epoch, p.applied_seq, p.blocked_seq, q.parked, q.lowest
             FROM stream_pos p LEFT JOIN
               (SELECT source, stream_id, stream_epoch, count(*) AS parked, min(stream_seq) AS lowest FROM parked
                WHERE stream_id {found} GROUP BY source, stream_id, stream_epoch) q
               ON q.source = p.source AND q.stream_id = p.stream_id AND q.stream_epoch = p.stream_epoch
             WHERE p.stream_id {found} AND p.source <> '{ANCHOR}'"
        );
        for row in db::query_all(tx, &sql, ids).await? {
            let key = StreamKey { stream_id: row.try_get("", "stream_id")?, source: row.try_get("", "source")? };
            let epoch = self.by_key.entry(key).or_default().epochs.entry(row.try_get("", "stream_epoch")?).or_default();
            epoch.applied = row.try_get("", "applied_seq")?;
            epoch.letters.extend(row.try_get::<Option<i64>>("", "blocked_seq")?);
            epoch.parked = row.try_get::<Option<i64>>("", "parked")?.unwrap_or(0).unsigned_abs();
            epoch.lowest_parked = row.try_get("", "lowest")?;
        }
        Ok(())
    }

    async fn read_letters(&mut self, tx: &Tx, stream_ids: &BTreeSet<&str>) -> Result<(), DbErr> {
        let (found, ids) = db::among(db::kind_of(tx), 1, "text", values(stream_ids))?;
        let sql = format!(
            "SELECT source, stream_id, stream_epoch, stream_seq, event_id FROM dead_letter
             WHERE stream_id {found} AND state = 'open' AND stream_seq IS NOT NULL"
        );
        for row in db::query_all(tx, &sql, ids).await? {
            let key = StreamKey { stream_id: row.try_get("", "stream_id")?, source: row.try_get("", "source")? };
            let (epoch, seq): (i64, i64) = (row.try_get("", "stream_epoch")?, row.try_get("", "stream_seq")?);
            self.by_key.entry(key.clone()).or_default().epochs.entry(epoch).or_default().letters.insert(seq);
            self.letters.insert((key, epoch, seq), row.try_get("", "event_id")?);
        }
        Ok(())
    }

    /// Where a stream stands; at the beginning, when it was never seen.
    pub(super) fn get(&self, key: &StreamKey) -> &Stream {
        static UNSEEN: Stream = Stream { epochs: BTreeMap::new() };
        self.by_key.get(key).unwrap_or(&UNSEEN)
    }

    /// Whether a number is applied or skipped.
    pub(super) fn is_done(&self, key: &StreamKey, epoch: i64, seq: i64) -> bool {
        self.get(key).epochs.get(&epoch).is_some_and(|here| seq <= here.applied)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &StreamKey> {
        self.by_key.keys()
    }

    /// The event whose letter holds this number.
    pub(super) fn letter_event_id(&self, key: &StreamKey, epoch: i64, seq: i64) -> Option<&str> {
        self.letters.get(&(key.clone(), epoch, seq)).map(String::as_str)
    }

    pub(super) fn advance(&mut self, key: &StreamKey, epoch: i64, seq: i64) {
        self.by_key.entry(key.clone()).or_default().advance(epoch, seq);
        self.changed.insert((key.clone(), epoch));
    }

    pub(super) fn park(&mut self, key: &StreamKey, epoch: i64, seq: i64) {
        self.by_key.entry(key.clone()).or_default().park(epoch, seq);
        self.changed.insert((key.clone(), epoch));
    }

    /// Parked records were let go; `lowest` is the first that stays.
    pub(super) fn unpark(&mut self, key: &StreamKey, epoch: i64, removed: u64, lowest: Option<i64>) {
        let here = self.by_key.entry(key.clone()).or_default().epochs.entry(epoch).or_default();
        here.parked = here.parked.saturating_sub(removed);
        here.lowest_parked = lowest;
    }

    pub(super) fn block(&mut self, key: &StreamKey, epoch: i64, seq: i64) {
        self.by_key.entry(key.clone()).or_default().epochs.entry(epoch).or_default().letters.insert(seq);
        self.changed.insert((key.clone(), epoch));
    }

    /// How many records of this stream are parked, over all epochs.
    pub(super) fn parked(&self, key: &StreamKey) -> u64 {
        self.get(key).epochs.values().map(|epoch| epoch.parked).sum()
    }

    /// The ids of the streams that have parked records whose turn has come.
    pub(super) fn drainable(&self) -> BTreeSet<String> {
        let drainable = self.by_key.iter().filter(|(_, stream)| stream.drainable().is_some());
        drainable.map(|(key, _)| key.stream_id.clone()).collect()
    }

    /// Writes back what changed.
    pub(super) async fn save(&self, tx: &Tx) -> Result<(), DbErr> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let row = |(key, number): &(StreamKey, i64)| -> [Value; 5] {
            let epoch = self.get(key).epochs.get(number);
            let (applied, blocked) = epoch.map_or((0, None), |epoch| (epoch.applied, epoch.blocked()));
            [key.source.clone().into(), key.stream_id.clone().into(), (*number).into(), applied.into(), blocked.into()]
        };
        let columns = [
            ("source", "text"),
            ("stream_id", "text"),
            ("stream_epoch", "bigint"),
            ("applied_seq", "bigint"),
            ("blocked_seq", "bigint"),
        ];
        let update = "ON CONFLICT (source, stream_id, stream_epoch)
                      DO UPDATE SET applied_seq = excluded.applied_seq, blocked_seq = excluded.blocked_seq";
        db::insert(tx, "stream_pos", &columns, self.changed.iter().map(row).collect(), update).await?;
        Ok(())
    }
}

/// One statement inserts what is absent and locks every row, in key order: two statements could deadlock with each other.
async fn lock_anchors(tx: &Tx, stream_ids: &BTreeSet<&str>) -> Result<(), DbErr> {
    let rows = stream_ids.iter().map(|id| [ANCHOR.into(), (*id).into(), 0_i64.into(), 0_i64.into()]).collect();
    let columns = [("source", "text"), ("stream_id", "text"), ("stream_epoch", "bigint"), ("applied_seq", "bigint")];
    let lock = "ON CONFLICT (source, stream_id, stream_epoch) DO UPDATE SET applied_seq = excluded.applied_seq";
    db::insert(tx, "stream_pos", &columns, rows, lock).await?;
    Ok(())
}

fn values(stream_ids: &BTreeSet<&str>) -> Vec<Value> {
    stream_ids.iter().map(|id| (*id).into()).collect()
}
