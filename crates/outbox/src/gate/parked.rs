//! Records that came early, kept with their stream until the numbers before them are done. It must not decide when that is.

use contracts::topics::is_retry_topic;
use kafka_worker_pool::{Headers, Record};

use super::{
    fold::GateError,
    incoming::{Incoming, Number, StreamKey, What},
    options::GateOptions,
    streams::Streams,
};
use crate::{
    db::{self, DbErr, QueryResult, Tx, Value},
    event::{HeaderList, headers_from_json, headers_to_json},
};

/// What all of a service's parked records amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

pub(super) fn size(record: &Record) -> usize {
    record.size_bytes()
}

/// Refuses what would go beyond the bounds. What comes from the retry topic has as much room again: what fills the gap may stand behind it
/// there, and would never be read if that partition stood still.
pub(super) async fn check_room(
    tx: &Tx,
    options: &GateOptions,
    streams: &Streams,
    early: &[&Incoming],
) -> Result<(), GateError> {
    if early.is_empty() {
        return Ok(());
    }
    let limit = options.max_parked_per_stream;
    let is_crowded = |item: &&Incoming| {
        let parked = item.inbound().map_or(0, |inbound| streams.parked(&StreamKey::of(inbound)));
        parked > limit * room(item)
    };
    if let Some(inbound) = early.iter().copied().find(|item| is_crowded(item)).and_then(Incoming::inbound) {
        let stream = inbound.stream_id.as_str();
        return Err(GateError::Full(format!(
            "stream {stream} has {limit} records parked behind a gap, the most allowed; fill it with `ctms outbox republish --project {stream} --group {}`",
            options.group
        )));
    }
    let more: u64 = early.iter().map(|item| size(&item.record) as u64).sum();
    let bytes = totals(tx).await?.bytes;
    let limit = options.max_parked_bytes;
    if bytes + more > limit * early.iter().map(|item| room(item)).min().unwrap_or(1) {
        return Err(GateError::Full(format!(
            "{bytes} bytes of records are parked behind gaps, the limit is {limit}; `ctms doctor` names the gaps and how to fill them"
        )));
    }
    Ok(())
}

/// How many times the bounds of what is parked count for this record.
fn room(item: &Incoming) -> u64 {
    if is_retry_topic(&item.record.topic) { 2 } else { 1 }
}

/// Keeps records; a decision (replay, skip marker) takes the place of what is parked under its number.
pub(super) async fn insert(tx: &Tx, items: &[&Incoming]) -> Result<(), DbErr> {
    let numbered: Vec<(&Record, &Number)> = items
        .iter()
        .filter_map(|item| match &item.what {
            What::Sequenced(number) => Some((&item.record, number)),
            What::Foreign(_) | What::Closing(_) => None,
        })
        .collect();
    if numbered.is_empty() {
        return Ok(());
    }
    let now = db::now();
    let sql = format!(
        "INSERT INTO parked (source, stream_id, stream_epoch, stream_seq, event_id, record_topic, record_partition, record_offset,
           record_timestamp_ms, record_key, payload, headers, bytes, parked_at) VALUES {}
         ON CONFLICT (source, stream_id, stream_epoch, stream_seq) DO UPDATE SET event_id = excluded.event_id,
           record_topic = excluded.record_topic, record_partition = excluded.record_partition, record_offset = excluded.record_offset,
           record_timestamp_ms = excluded.record_timestamp_ms, record_key = excluded.record_key, payload = excluded.payload,
           headers = excluded.headers, bytes = excluded.bytes",
        db::rows(14, numbered.len())
    );
    let values = numbered.iter().flat_map(|(record, number)| -> [Value; 14] {
        let inbound = &number.inbound;
        [
            inbound.source.clone().into(),
            inbound.stream_id.as_str().into(),
            inbound.stream_epoch.into(),
            number.seq.into(),
            inbound.id.clone().into(),
            record.topic.to_string().into(),
            i64::from(record.partition).into(),
            record.offset.into(),
            record.timestamp_ms.into(),
            record.key.as_ref().map(|key| key.to_vec()).into(),
            record.value.as_ref().map(|value| value.to_vec()).into(),
            headers_to_json(&header_list(&record.headers)).into(),
            i64::try_from(size(record)).unwrap_or(i64::MAX).into(),
            now.into(),
        ]
    });
    db::exec(tx, &sql, values).await?;
    Ok(())
}

/// The event id parked under a number.
pub(super) async fn event_id(tx: &Tx, key: &StreamKey, epoch: i64, seq: i64) -> Result<Option<String>, DbErr> {
    let sql =
        "SELECT event_id FROM parked WHERE source = $1 AND stream_id = $2 AND stream_epoch = $3 AND stream_seq = $4";
    let row = db::query_one(tx, sql, number(key, epoch, seq)).await?;
    row.map(|row| row.try_get("", "event_id")).transpose()
}

/// The first parked records of an epoch, in order.
pub(super) async fn first(tx: &Tx, key: &StreamKey, epoch: i64, limit: i64) -> Result<Vec<(i64, Record)>, DbErr> {
    let sql = "SELECT stream_seq, record_topic, record_partition, record_offset, record_timestamp_ms, record_key, payload, headers FROM parked
               WHERE source = $1 AND stream_id = $2 AND stream_epoch = $3 ORDER BY stream_seq LIMIT $4";
    db::query_all(tx, sql, number(key, epoch, limit))
        .await?
        .iter()
        .map(|row| Ok((row.try_get("", "stream_seq")?, record(row)?)))
        .collect()
}

/// Lets go of the records from one number to another.
pub(super) async fn remove(tx: &Tx, key: &StreamKey, epoch: i64, from: i64, to: i64) -> Result<u64, DbErr> {
    let sql = "DELETE FROM parked WHERE source = $1 AND stream_id = $2 AND stream_epoch = $3 AND stream_seq BETWEEN $4 AND $5";
    db::exec(tx, sql, number(key, epoch, from).into_iter().chain([to.into()])).await
}

/// What is parked in the whole service.
pub(crate) async fn totals<C: db::ConnectionTrait>(conn: &C) -> Result<Totals, DbErr> {
    let sql = "SELECT count(*) AS records, CAST(coalesce(sum(bytes), 0) AS bigint) AS bytes FROM parked";
    let Some(row) = db::query_one(conn, sql, []).await? else { return Ok(Totals::default()) };
    let field = |name: &str| row.try_get::<i64>("", name).map(i64::unsigned_abs);
    Ok(Totals { records: field("records")?, bytes: field("bytes")? })
}

pub(super) fn header_list(headers: &Headers) -> HeaderList {
    headers.entries().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect()
}

fn number(key: &StreamKey, epoch: i64, seq: i64) -> [Value; 4] {
    [key.source.clone().into(), key.stream_id.clone().into(), epoch.into(), seq.into()]
}

fn record(row: &QueryResult) -> Result<Record, DbErr> {
    let headers = headers_from_json(&row.try_get("", "headers")?)?;
    let partition: i64 = row.try_get("", "record_partition")?;
    let bytes = |name: &str| row.try_get::<Option<Vec<u8>>>("", name).map(|value| value.map(Into::into));
    Ok(Record {
        topic: row.try_get::<String>("", "record_topic")?.into(),
        partition: i32::try_from(partition)
            .map_err(|_| DbErr::Type(format!("partition {partition} of a parked record")))?,
        offset: row.try_get("", "record_offset")?,
        timestamp_ms: row.try_get("", "record_timestamp_ms")?,
        key: bytes("record_key")?,
        value: bytes("payload")?,
        // A header without a value means nothing to the gate, and the pool's constructor takes none.
        headers: Headers::from_pairs(headers.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)))),
    })
}

/// The lowest number parked in an epoch.
pub(super) async fn lowest(tx: &Tx, key: &StreamKey, epoch: i64) -> Result<Option<i64>, DbErr> {
    let sql = "SELECT min(stream_seq) AS lowest FROM parked WHERE source = $1 AND stream_id = $2 AND stream_epoch = $3";
    let values = [key.source.clone().into(), key.stream_id.clone().into(), epoch.into()];
    db::query_one(tx, sql, values).await?.map_or(Ok(None), |row| row.try_get("", "lowest"))
}
