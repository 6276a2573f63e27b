//! Events that a broker without a memory let go before a consumer had read them. It must not ask the broker: who calls knows that everything
//! it still had was read.

use std::collections::{HashMap, HashSet};

use time::OffsetDateTime;

use crate::db::{self, Database, DbErr, QueryResult, Value};

/// The most streams that are looked into in one go.
const STREAMS_AT_ONCE: usize = 1_000;

/// The most rows that are set free in one go.
const ROWS_AT_ONCE: usize = 1_000;

/// A stream and its epoch.
type Stream = (String, i64);

/// Where one consumer stands in a stream.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    applied: i64,
    /// It has applied numbers of a later epoch, so that it waits for none of this one.
    is_over: bool,
}

impl Position {
    fn lacks(self, seq: i64) -> bool {
        !self.is_over && seq > self.applied
    }
}

/// A published row.
#[derive(Clone, Copy, Debug)]
struct Row {
    id: i64,
    seq: i64,
    bytes: u64,
}

/// Sets events free for publishing again that were published before `published_before` and that a consumer has neither applied, nor parked,
/// nor in a letter: the oldest first, up to `max_bytes` of payload, one at least and 1,000 at most. Returns how many; call again once they were read.
/// The gates drop what they know, so that too much does no harm.
///
/// # Errors
/// The database's.
pub async fn send_forgotten_again(
    producer: &Database,
    consumers: &[Database],
    published_before: OffsetDateTime,
    max_bytes: u64,
) -> Result<u64, DbErr> {
    let mut positions = Vec::with_capacity(consumers.len());
    for consumer in consumers {
        positions.push(positions_of(consumer).await?);
    }
    let position = |of: &HashMap<Stream, Position>, stream: &Stream| of.get(stream).copied().unwrap_or_default();
    let behind = published(producer, published_before).await?.into_iter();
    let behind = behind.filter(|(stream, last)| positions.iter().any(|of| position(of, stream).lacks(*last)));
    let mut missing: Vec<Row> = Vec::new();
    for (stream, _) in behind.take(STREAMS_AT_ONCE) {
        let rows = rows_of(producer, &stream, published_before).await?;
        let mut lacking: HashSet<i64> = HashSet::new();
        for (consumer, of) in consumers.iter().zip(&positions) {
            let (position, kept) = (position(of, &stream), kept(consumer, &stream).await?);
            lacking.extend(rows.iter().map(|row| row.seq).filter(|seq| position.lacks(*seq) && !kept.contains(seq)));
        }
        missing.extend(rows.into_iter().filter(|row| lacking.contains(&row.seq)));
    }
    send_again(producer, first_of(missing, max_bytes)).await
}

/// The oldest, up to a number of bytes and one at least.
fn first_of(mut rows: Vec<Row>, max_bytes: u64) -> Vec<i64> {
    rows.sort_unstable_by_key(|row| row.id);
    let mut bytes = 0;
    let mut ids = Vec::new();
    for row in rows {
        bytes += row.bytes;
        if ids.len() == ROWS_AT_ONCE || (bytes > max_bytes && !ids.is_empty()) {
            break;
        }
        ids.push(row.id);
    }
    ids
}

/// The last number published of each stream.
async fn published(producer: &Database, before: OffsetDateTime) -> Result<Vec<(Stream, i64)>, DbErr> {
    let sql = "SELECT stream_id, stream_epoch, max(stream_seq) AS number FROM outbox
               WHERE published_at <= $1 AND stream_id NOT LIKE '%/%' GROUP BY stream_id, stream_epoch";
    let rows = db::query_all(producer.reader(), sql, [before.into()]).await?;
    rows.iter().map(|row| Ok((stream(row)?, row.try_get("", "number")?))).collect()
}

async fn rows_of(producer: &Database, stream: &Stream, before: OffsetDateTime) -> Result<Vec<Row>, DbErr> {
    let sql = "SELECT id, stream_seq, CAST(coalesce(length(payload), 0) AS bigint) AS bytes FROM outbox
               WHERE stream_id = $1 AND stream_epoch = $2 AND published_at <= $3";
    let rows = db::query_all(producer.reader(), sql, [stream.0.clone().into(), stream.1.into(), before.into()]).await?;
    let read = |row: &QueryResult| {
        let bytes = row.try_get::<i64>("", "bytes")?.unsigned_abs();
        Ok(Row { id: row.try_get("", "id")?, seq: row.try_get("", "stream_seq")?, bytes })
    };
    rows.iter().map(read).collect()
}

/// Of several sources of a stream the lowest counts.
async fn positions_of(consumer: &Database) -> Result<HashMap<Stream, Position>, DbErr> {
    let sql = "SELECT stream_id, stream_epoch, min(applied_seq) AS number FROM stream_pos WHERE source <> '' GROUP BY stream_id, stream_epoch";
    let mut applied: HashMap<Stream, i64> = HashMap::new();
    let mut latest: HashMap<String, i64> = HashMap::new();
    for row in db::query_all(consumer.reader(), sql, []).await? {
        let (stream, number): (Stream, i64) = (stream(&row)?, row.try_get("", "number")?);
        if number > 0 {
            let epoch = latest.entry(stream.0.clone()).or_default();
            *epoch = stream.1.max(*epoch);
        }
        applied.insert(stream, number);
    }
    let is_over = |stream: &Stream| latest.get(&stream.0).is_some_and(|latest| *latest > stream.1);
    Ok(applied
        .into_iter()
        .map(|(stream, applied)| (stream.clone(), Position { applied, is_over: is_over(&stream) }))
        .collect())
}

/// The numbers that a consumer holds without having applied them: parked, or in a letter.
async fn kept(consumer: &Database, stream: &Stream) -> Result<HashSet<i64>, DbErr> {
    let sql = "SELECT stream_seq FROM parked WHERE stream_id = $1 AND stream_epoch = $2
               UNION SELECT stream_seq FROM dead_letter WHERE stream_id = $1 AND stream_epoch = $2 AND stream_seq IS NOT NULL";
    let rows = db::query_all(consumer.reader(), sql, [stream.0.clone().into(), stream.1.into()]).await?;
    rows.iter().map(|row| row.try_get("", "stream_seq")).collect()
}

async fn send_again(producer: &Database, ids: Vec<i64>) -> Result<u64, DbErr> {
    if ids.is_empty() {
        return Ok(0);
    }
    let sql = format!("UPDATE outbox SET published_at = NULL WHERE id IN ({})", db::list(1, ids.len()));
    let values: Vec<Value> = ids.into_iter().map(Value::from).collect();
    let events = producer.transaction(move |tx| Box::pin(async move { db::exec(tx, &sql, values).await })).await?;
    producer.wake_relay();
    Ok(events)
}

fn stream(row: &QueryResult) -> Result<Stream, DbErr> {
    Ok((row.try_get("", "stream_id")?, row.try_get("", "stream_epoch")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_never_none() {
        let row = |id: i64, bytes: u64| Row { id, seq: id, bytes };
        assert_eq!(first_of(vec![row(3, 4), row(1, 4), row(2, 4)], 8), [1, 2]);
        assert_eq!(first_of(vec![row(1, 9), row(2, 1)], 8), [1], "one that is larger goes alone");
        assert!(first_of(vec![], 8).is_empty());
    }
}
