//! An event on its way out: the row that a business transaction appends beside its state. It must not know who sends it, or when.

use contracts::envelope::CloudEvent;
use time::OffsetDateTime;

use crate::db::{self, DbErr, Tx, Value};

/// The largest event we accept: Kafka's default limit of 1 MiB a record less room for the headers of a dead letter.
pub const MAX_EVENT_BYTES: usize = 900_000;

/// Record headers in order; a value may be absent, and need not be text.
pub type HeaderList = Vec<(String, Option<Vec<u8>>)>;

/// One event of one stream, numbered without gaps under the lock of the stream's own row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Unique for ever; consumers tell a repeated event from another one by it.
    pub event_id: String,
    /// The aggregate: one project.
    pub stream_id: String,
    /// Raised when a database went back in time.
    pub stream_epoch: i64,
    /// 1, 2, 3, … within the epoch.
    pub stream_seq: i64,
    /// The event's type, for people.
    pub event_type: String,
    /// Where it goes.
    pub topic: String,
    /// The record's key; it chooses the partition.
    pub key: Vec<u8>,
    /// The record's value; None is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// The record's headers.
    pub headers: HeaderList,
}

/// Why an event was not appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The topic could never take it.
    #[error("the event {event_type} has {bytes} bytes, the limit is {max}; send less in one event")]
    TooLarge {
        /// Its type.
        event_type: String,
        /// Key, value and headers.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The database refused or failed.
    #[error(transparent)]
    Database(#[from] DbErr),
}

impl NewEvent {
    /// The event that this envelope describes: its subject is the stream, its partition key the record's key.
    ///
    /// # Panics
    /// If its time lies outside the years 0 to 9999.
    #[must_use]
    pub fn of(topic: impl Into<String>, envelope: &CloudEvent, payload: Vec<u8>) -> Self {
        Self {
            event_id: envelope.id.clone(),
            stream_id: envelope.subject.clone(),
            stream_epoch: envelope.stream_epoch,
            stream_seq: envelope.sequence.unwrap_or_default(),
            event_type: envelope.event_type.clone(),
            topic: topic.into(),
            key: envelope.partition_key.clone().into_bytes(),
            payload: Some(payload),
            headers: envelope.to_headers().into_iter().map(|(name, value)| (name, Some(value.into_bytes()))).collect(),
        }
    }

    /// Key, value and headers as Kafka counts them, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len) + 4).sum();
        self.key.len() + self.payload.as_ref().map_or(0, Vec::len) + headers
    }

    /// Refuses what the topic could never take, so that the call is refused and not the delivery.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`] with the size and the limit.
    pub fn check_size(&self, max: usize) -> Result<(), AppendError> {
        let bytes = self.size();
        if bytes > max {
            Err(AppendError::TooLarge { event_type: self.event_type.clone(), bytes, max })
        } else {
            Ok(())
        }
    }
}

/// Appends an event in the transaction that changes the state it tells of. The commit wakes the relay.
///
/// # Errors
/// Too large, or the database's: a second event with the same number of the stream is a unique violation.
pub async fn append(tx: &Tx, event: &NewEvent) -> Result<(), AppendError> {
    event.check_size(MAX_EVENT_BYTES)?;
    insert(tx, std::slice::from_ref(event)).await?;
    Ok(())
}

/// The same as one of several writes that run together.
///
/// # Errors
/// Too large.
pub fn append_with(writes: &mut db::Writes, event: &NewEvent) -> Result<(), AppendError> {
    event.check_size(MAX_EVENT_BYTES)?;
    let sql = |first| format!("INSERT INTO outbox ({COLUMNS}) VALUES ({})", db::list(first, 10));
    writes.add(sql, row(event, db::now()));
    db::appended();
    Ok(())
}

const COLUMNS: &str =
    "event_id, stream_id, stream_epoch, stream_seq, event_type, topic, record_key, payload, headers, created_at";

fn row(event: &NewEvent, now: OffsetDateTime) -> [Value; 10] {
    [
        event.event_id.clone().into(),
        event.stream_id.clone().into(),
        event.stream_epoch.into(),
        event.stream_seq.into(),
        event.event_type.clone().into(),
        event.topic.clone().into(),
        event.key.clone().into(),
        event.payload.clone().into(),
        headers_to_json(&event.headers).into(),
        now.into(),
    ]
}

/// Rows for the relay without the bound: dead letters carry whatever came in.
pub(crate) async fn insert(tx: &Tx, events: &[NewEvent]) -> Result<(), DbErr> {
    if events.is_empty() {
        return Ok(());
    }
    let now = db::now();
    let sql = format!("INSERT INTO outbox ({COLUMNS}) VALUES {}", db::rows(10, events.len()));
    let values = events.iter().flat_map(|event| row(event, now));
    db::exec(tx, &sql, values).await?;
    db::appended();
    Ok(())
}

/// `[[name, text | null | {"hex": …}], …]`: readable in the database, and exact for bytes that are not text.
pub(crate) fn headers_to_json(headers: &HeaderList) -> serde_json::Value {
    let value = |bytes: &Option<Vec<u8>>| match bytes.as_deref() {
        None => serde_json::Value::Null,
        // PostgreSQL's jsonb cannot hold U+0000.
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => text.into(),
            _ => serde_json::json!({ "hex": hex(bytes) }),
        },
    };
    headers.iter().map(|(name, bytes)| serde_json::json!([name.replace('\0', "\u{fffd}"), value(bytes)])).collect()
}

pub(crate) fn headers_from_json(json: &serde_json::Value) -> Result<HeaderList, DbErr> {
    let broken = || DbErr::Json(format!("headers of an event are not [[name, value], …]: {json}"));
    let one = |pair: &serde_json::Value| -> Option<(String, Option<Vec<u8>>)> {
        let name = pair.get(0)?.as_str()?.to_owned();
        match pair.get(1)? {
            serde_json::Value::Null => Some((name, None)),
            serde_json::Value::String(text) => Some((name, Some(text.clone().into_bytes()))),
            other => Some((name, Some(unhex(other.get("hex")?.as_str()?)?))),
        }
    };
    json.as_array().ok_or_else(broken)?.iter().map(|pair| one(pair).ok_or_else(broken)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_over_the_limit_names_its_size() {
        let event = NewEvent {
            event_id: "e".to_owned(),
            stream_id: "P-1".to_owned(),
            stream_epoch: 1,
            stream_seq: 1,
            event_type: "ProjectStarted".to_owned(),
            topic: "t".to_owned(),
            key: vec![0; 3],
            payload: Some(vec![0; 100]),
            headers: vec![("ce_id".to_owned(), Some(vec![0; 10]))],
        };
        assert_eq!(event.size(), 3 + 100 + 5 + 10 + 4);
        let refused = event.check_size(50).unwrap_err().to_string();
        assert_eq!(refused, "the event ProjectStarted has 122 bytes, the limit is 50; send less in one event");
    }

    proptest! {
        #[test]
        fn headers_come_back_from_json_as_they_went_in(headers: Vec<(String, Option<Vec<u8>>)>) {
            let headers: HeaderList = headers.into_iter().map(|(name, value)| (name.replace('\0', ""), value)).collect();
            prop_assert_eq!(headers_from_json(&headers_to_json(&headers)).unwrap(), headers);
        }
    }
}
