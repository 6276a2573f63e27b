//! The rows that wait, and what becomes of them. It must not know Kafka.

use std::time::Duration;

use super::{lease::Lease, within};
use crate::{
    db::{self, Database, DbErr, QueryResult, Value},
    event::{HeaderList, headers_from_json},
};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A row to send.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) id: i64,
    pub(super) event_id: String,
    pub(super) stream_id: String,
    pub(super) topic: String,
    pub(super) key: Vec<u8>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) headers: HeaderList,
}

/// The first rows that wait, in order: at most this many, and no more once their payloads have so many bytes. Never "beyond the last one
/// sent": rows commit out of the order of their ids. A stream with a failed row waits behind it.
pub(super) async fn pending(db: &Database, limit: u32, bytes: u64) -> Result<Vec<Pending>, DbErr> {
    let sql = "SELECT id, event_id, stream_id, topic, record_key, payload, headers FROM outbox WHERE id IN
                 (SELECT id FROM
                   (SELECT id, sum(size) OVER (ORDER BY id) - size AS before FROM
                     (SELECT id, coalesce(length(payload), 0) AS size FROM outbox o
                      WHERE published_at IS NULL AND failed_cause IS NULL AND NOT EXISTS
                        (SELECT 1 FROM outbox f WHERE f.stream_id = o.stream_id AND f.id < o.id AND f.failed_cause IS NOT NULL AND f.published_at IS NULL)
                      ORDER BY id LIMIT $1) waiting) summed
                  WHERE before < $2)
               ORDER BY id";
    let values = [i64::from(limit).into(), i64::try_from(bytes).unwrap_or(i64::MAX).into()];
    let rows = within(ANSWER_WITHIN, db::query_all(db.reader(), sql, values)).await?;
    rows.iter().map(row).collect()
}

fn row(row: &QueryResult) -> Result<Pending, DbErr> {
    Ok(Pending {
        id: row.try_get("", "id")?,
        event_id: row.try_get("", "event_id")?,
        stream_id: row.try_get("", "stream_id")?,
        topic: row.try_get("", "topic")?,
        key: row.try_get("", "record_key")?,
        payload: row.try_get("", "payload")?,
        headers: headers_from_json(&row.try_get("", "headers")?)?,
    })
}

/// Marks acknowledged rows, all in one statement that counts only while we hold the lease. False: we do not.
pub(super) async fn mark_published(db: &Database, lease: &Lease, ids: &[i64]) -> Result<bool, DbErr> {
    if ids.is_empty() {
        return Ok(true);
    }
    let (guard, guarded) = lease.guard(2);
    let (found, ids) = db::among(db.kind(), 5, "bigint", ids.iter().copied().map(Value::from).collect())?;
    let sql = format!("UPDATE outbox SET published_at = $1 WHERE {guard} AND id {found}");
    let values = std::iter::once(Value::from(db::now())).chain(guarded).chain(ids);
    Ok(within(ANSWER_WITHIN, db::exec(db.writer(), &sql, values)).await? > 0)
}

/// Marks a row that the broker refuses for good; its stream waits behind it until an operator sets it free.
pub(super) async fn mark_failed(db: &Database, lease: &Lease, id: i64, cause: &str) -> Result<bool, DbErr> {
    let (guard, guarded) = lease.guard(3);
    let sql = format!("UPDATE outbox SET failed_cause = $1 WHERE id = $2 AND {guard}");
    let values = [Value::from(cause), id.into()].into_iter().chain(guarded);
    Ok(within(ANSWER_WITHIN, db::exec(db.writer(), &sql, values)).await? > 0)
}
