//! Reading only: gaps, open letters, failed rows, the backlog.

use std::time::Duration;

use time::OffsetDateTime;

use crate::db::{self, ConnectionTrait, Database, DbErr, QueryResult};

/// The most rows that a look returns.
const LOOK_LIMIT: i64 = 1_000;

/// A stream whose next number has not come while later ones have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The producer.
    pub source: String,
    /// The stream.
    pub stream_id: String,
    /// Its epoch.
    pub stream_epoch: i64,
    /// The number that is missing.
    pub missing: i64,
    /// How many records wait.
    pub parked: u64,
    /// Since when the first of them waits.
    pub since: OffsetDateTime,
}

/// A dead letter that waits for a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLetter {
    /// Its id.
    pub letter_id: String,
    /// "open", or "quarantined" when its number belongs to another event.
    pub state: String,
    /// The stream it blocks, if it has one.
    pub stream_id: Option<String>,
    /// The number it blocks.
    pub stream_seq: Option<i64>,
    /// Its event's type.
    pub event_type: Option<String>,
    /// Where it was read: topic, partition, offset.
    pub place: (String, i64, i64),
    /// Why it failed.
    pub cause: String,
    /// How often it was tried.
    pub attempts: i64,
    /// Since when it waits.
    pub since: OffsetDateTime,
}

/// An outbox row that the broker refused for good; its stream waits behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRow {
    /// The row.
    pub id: i64,
    /// Its event.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// The stream that waits.
    pub stream_id: String,
    /// Its number there.
    pub stream_seq: i64,
    /// The topic that refused it.
    pub topic: String,
    /// Why.
    pub cause: String,
}

/// The backlog of an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpublished {
    /// Rows not yet acknowledged, failed ones among them.
    pub pending: u64,
    /// Rows refused for good.
    pub failed: u64,
    /// When the oldest of the rows that can still go was accepted.
    pub oldest: Option<OffsetDateTime>,
}

/// Streams whose parked records wait longer than `older_than` for a number that has not come (not: for a decision about a letter), ten at
/// most.
///
/// # Errors
/// The database's.
pub async fn gaps(db: &Database, older_than: Duration) -> Result<Vec<Gap>, DbErr> {
    gaps_where(db, "$1 = ''", "", older_than).await
}

/// The gaps of one stream, however young.
///
/// # Errors
/// The database's.
pub async fn gaps_of(db: &Database, stream_id: &str) -> Result<Vec<Gap>, DbErr> {
    gaps_where(db, "p.stream_id = $1", stream_id, Duration::ZERO).await
}

async fn gaps_where(db: &Database, condition: &str, value: &str, older_than: Duration) -> Result<Vec<Gap>, DbErr> {
    let sql = format!(
        "SELECT p.source, p.stream_id, p.stream_epoch, s.applied_seq + 1 AS missing, count(*) AS parked, min(p.parked_at) AS since
         FROM parked p JOIN stream_pos s ON s.source = p.source AND s.stream_id = p.stream_id AND s.stream_epoch = p.stream_epoch
         WHERE {condition} AND (s.blocked_seq IS NULL OR s.blocked_seq > s.applied_seq + 1)
         GROUP BY p.source, p.stream_id, p.stream_epoch, s.applied_seq
         HAVING min(p.parked_at) <= $2 AND min(p.stream_seq) > s.applied_seq + 1 ORDER BY since LIMIT 10"
    );
    let rows = db::query_all(db.reader(), &sql, [value.into(), (db::now() - older_than).into()]).await?;
    let gap = |row: &QueryResult| {
        Ok(Gap {
            source: row.try_get("", "source")?,
            stream_id: row.try_get("", "stream_id")?,
            stream_epoch: row.try_get("", "stream_epoch")?,
            missing: row.try_get("", "missing")?,
            parked: row.try_get::<i64>("", "parked")?.unsigned_abs(),
            since: row.try_get("", "since")?,
        })
    };
    rows.iter().map(gap).collect()
}

/// Whether an outbox holds the event of this number: then `republish` fills the gap.
///
/// # Errors
/// The database's.
pub async fn holds_event(db: &Database, stream_id: &str, stream_epoch: i64, stream_seq: i64) -> Result<bool, DbErr> {
    let sql = "SELECT 1 AS one FROM outbox WHERE stream_id = $1 AND stream_epoch = $2 AND stream_seq = $3";
    let values = [stream_id.into(), stream_epoch.into(), stream_seq.into()];
    Ok(db::query_one(db.reader(), sql, values).await?.is_some())
}

/// The letters that wait for a decision, the oldest first, 1,000 at most.
///
/// # Errors
/// The database's.
pub async fn open_letters(db: &Database) -> Result<Vec<OpenLetter>, DbErr> {
    let sql = "SELECT letter_id, state, stream_id, stream_seq, event_type, record_topic, record_partition, record_offset, cause, attempts, created_at
               FROM dead_letter WHERE state IN ('open', 'quarantined') ORDER BY created_at, letter_id LIMIT $1";
    let letter = |row: &QueryResult| {
        Ok(OpenLetter {
            letter_id: row.try_get("", "letter_id")?,
            state: row.try_get("", "state")?,
            stream_id: row.try_get("", "stream_id")?,
            stream_seq: row.try_get("", "stream_seq")?,
            event_type: row.try_get("", "event_type")?,
            place: (
                row.try_get("", "record_topic")?,
                row.try_get("", "record_partition")?,
                row.try_get("", "record_offset")?,
            ),
            cause: row.try_get("", "cause")?,
            attempts: row.try_get("", "attempts")?,
            since: row.try_get("", "created_at")?,
        })
    };
    db::query_all(db.reader(), sql, [LOOK_LIMIT.into()]).await?.iter().map(letter).collect()
}

/// The rows that the broker refused for good, 1,000 at most.
///
/// # Errors
/// The database's.
pub async fn failed_rows(db: &Database) -> Result<Vec<FailedRow>, DbErr> {
    let sql = "SELECT id, event_id, event_type, stream_id, stream_seq, topic, failed_cause FROM outbox
               WHERE failed_cause IS NOT NULL AND published_at IS NULL ORDER BY id LIMIT $1";
    let failed = |row: &QueryResult| {
        Ok(FailedRow {
            id: row.try_get("", "id")?,
            event_id: row.try_get("", "event_id")?,
            event_type: row.try_get("", "event_type")?,
            stream_id: row.try_get("", "stream_id")?,
            stream_seq: row.try_get("", "stream_seq")?,
            topic: row.try_get("", "topic")?,
            cause: row.try_get("", "failed_cause")?,
        })
    };
    db::query_all(db.reader(), sql, [LOOK_LIMIT.into()]).await?.iter().map(failed).collect()
}

/// How far the relay is behind.
///
/// # Errors
/// The database's.
pub async fn unpublished(db: &Database) -> Result<Unpublished, DbErr> {
    unpublished_of(db.reader()).await
}

async fn unpublished_of<C: ConnectionTrait>(conn: &C) -> Result<Unpublished, DbErr> {
    let sql = "SELECT count(*) AS pending, count(failed_cause) AS failed,
                 min(CASE WHEN failed_cause IS NULL THEN created_at END) AS oldest FROM outbox WHERE published_at IS NULL";
    let Some(row) = db::query_one(conn, sql, []).await? else { return Ok(Unpublished::default()) };
    Ok(Unpublished {
        pending: row.try_get::<i64>("", "pending")?.unsigned_abs(),
        failed: row.try_get::<i64>("", "failed")?.unsigned_abs(),
        oldest: row.try_get("", "oldest")?,
    })
}
