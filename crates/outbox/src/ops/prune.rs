//! Forgetting events: whole streams only, long after they ended, so that what is left can always refill a topic without a gap.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use crate::{
    db::{self, Database, DbErr, Tx, Value},
    facts,
};

/// Streams forgotten in one transaction.
const STREAMS_AT_ONCE: i64 = 100;
/// Copies forgotten in one transaction.
const COPIES_AT_ONCE: i64 = 1_000;

/// Forgets all events of the streams that ended before `ended_before`, and copies that were made to refill a topic before then. `table` holds
/// the streams' `id` and `ended_at`. A stream with an event that still waits to be published is kept whole, and so is every stream while the
/// broker is one that forgets: no other place has what a consumer lacks. Returns how many rows; it goes on in short transactions until nothing
/// is left to forget.
///
/// # Errors
/// The database's. What was forgotten before it stays forgotten.
pub async fn prune_ended(db: &Database, table: &'static str, ended_before: OffsetDateTime) -> Result<u64, DbErr> {
    let mut pruned = 0;
    loop {
        let streams = db.transaction(move |tx| Box::pin(streams(tx, table, ended_before))).await?;
        let copies = db.transaction(move |tx| Box::pin(copies(tx, ended_before))).await?;
        if streams + copies == 0 {
            return Ok(pruned);
        }
        pruned += streams + copies;
    }
}

async fn streams(tx: &Tx, table: &str, ended_before: OffsetDateTime) -> Result<u64, DbErr> {
    if facts::get(tx, facts::BROKER_FORGETS).await?.is_some() {
        return Ok(0);
    }
    let sql = format!(
        "SELECT s.id AS stream FROM {table} s WHERE s.ended_at < $1
           AND EXISTS (SELECT 1 FROM outbox o WHERE o.stream_id = s.id)
           AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.stream_id = s.id AND o.published_at IS NULL)
         ORDER BY s.ended_at, s.id LIMIT $2"
    );
    let rows = db::query_all(tx, &sql, [ended_before.into(), STREAMS_AT_ONCE.into()]).await?;
    let ids = rows.iter().map(|row| row.try_get::<String>("", "stream")).collect::<Result<BTreeSet<_>, _>>()?;
    let whole = published_whole(tx, ids).await?;
    if whole.is_empty() {
        return Ok(0);
    }
    let sql = format!("DELETE FROM outbox WHERE stream_id IN ({})", db::list(1, whole.len()));
    db::exec(tx, &sql, whole.into_iter().map(Value::from)).await
}

/// Those of the streams of which nothing was set free again meanwhile; their rows stay locked.
async fn published_whole(tx: &Tx, mut streams: BTreeSet<String>) -> Result<BTreeSet<String>, DbErr> {
    if streams.is_empty() {
        return Ok(streams);
    }
    let sql = format!(
        "SELECT stream_id, published_at FROM outbox WHERE stream_id IN ({}) ORDER BY id{}",
        db::list(1, streams.len()),
        db::lock_suffix(db::kind_of(tx))
    );
    let ids: Vec<Value> = streams.iter().map(|stream| stream.as_str().into()).collect();
    for row in db::query_all(tx, &sql, ids).await? {
        if row.try_get::<Option<OffsetDateTime>>("", "published_at")?.is_none() {
            streams.remove(&row.try_get::<String>("", "stream_id")?);
        }
    }
    Ok(streams)
}

/// Copies of events on their way to one group's retry topic: the events themselves are elsewhere in the outbox.
async fn copies(tx: &Tx, made_before: OffsetDateTime) -> Result<u64, DbErr> {
    let sql = "DELETE FROM outbox WHERE id IN
                 (SELECT id FROM outbox WHERE stream_id LIKE 'refill/%' AND published_at IS NOT NULL AND created_at < $1 ORDER BY id LIMIT $2)";
    db::exec(tx, sql, [made_before.into(), COPIES_AT_ONCE.into()]).await
}
