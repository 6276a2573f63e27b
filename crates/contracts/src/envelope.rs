//! CloudEvents 1.0 in binary mode: the envelope of an event as headers of a Kafka record, and back.
//! Knows nothing of payloads, and nothing of what is read from other producers.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::Malformed;
use crate::malformed::shown;

/// Header of the media type of the value.
pub const CONTENT_TYPE: &str = "content-type";
/// The only media type of a value.
pub const JSON: &str = "application/json";
/// Header of the version of CloudEvents.
pub const CE_SPECVERSION: &str = "ce_specversion";
/// The only version of CloudEvents.
pub const SPECVERSION: &str = "1.0";
/// Header of the event's id.
pub const CE_ID: &str = "ce_id";
/// Header of the producer.
pub const CE_SOURCE: &str = "ce_source";
/// Header of the event's type.
pub const CE_TYPE: &str = "ce_type";
/// Header of the time at which it happened, RFC 3339.
pub const CE_TIME: &str = "ce_time";
/// Header of the stream: the project id.
pub const CE_SUBJECT: &str = "ce_subject";
/// Header of the gapless number within the stream, from 1.
pub const CE_SEQUENCE: &str = "ce_sequence";
/// Header of the stream's epoch, from 0; rises when the producer's database went back in time.
pub const CE_STREAMEPOCH: &str = "ce_streamepoch";
/// Header of the key by which the record is partitioned and ordered.
pub const CE_PARTITIONKEY: &str = "ce_partitionkey";
/// Header of the W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// Longest id, source, type, subject or key in bytes.
const MAX_ATTRIBUTE_BYTES: usize = 256;

/// The envelope of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEvent {
    /// Unique id within the source.
    pub id: String,
    /// Who produced it, for example "ctms/project-srv".
    pub source: String,
    /// What happened, for example "ProjectStarted".
    pub event_type: String,
    /// When it happened; to the nanosecond, in UTC on the wire.
    pub time: Option<OffsetDateTime>,
    /// The stream it belongs to: the project id.
    pub subject: String,
    /// Gapless number within the stream, from 1. Events of this platform always have one.
    pub sequence: Option<i64>,
    /// Epoch of the stream, from 0.
    pub stream_epoch: i64,
    /// Key by which it is partitioned and ordered: the project id.
    pub partition_key: String,
    /// W3C trace context of the call that caused it.
    pub traceparent: Option<String>,
}

impl CloudEvent {
    /// The headers of the record that carries this event.
    ///
    /// # Panics
    /// If `time` lies outside the years 0 to 9999, which RFC 3339 cannot write.
    pub fn to_headers(&self) -> Vec<(String, String)> {
        let mut headers = vec![
            (CONTENT_TYPE.to_owned(), JSON.to_owned()),
            (CE_SPECVERSION.to_owned(), SPECVERSION.to_owned()),
            (CE_ID.to_owned(), self.id.clone()),
            (CE_SOURCE.to_owned(), self.source.clone()),
            (CE_TYPE.to_owned(), self.event_type.clone()),
            (CE_SUBJECT.to_owned(), self.subject.clone()),
            (CE_STREAMEPOCH.to_owned(), self.stream_epoch.to_string()),
            (CE_PARTITIONKEY.to_owned(), self.partition_key.clone()),
        ];
        if let Some(time) = self.time {
            headers.push((CE_TIME.to_owned(), rfc3339(time)));
        }
        if let Some(sequence) = self.sequence {
            headers.push((CE_SEQUENCE.to_owned(), sequence.to_string()));
        }
        if let Some(traceparent) = &self.traceparent {
            headers.push((TRACEPARENT.to_owned(), traceparent.clone()));
        }
        headers
    }

    /// Reads the envelope from the headers that `header` looks up.
    ///
    /// # Errors
    /// Names the first header that is missing or broken, and its value.
    pub fn from_headers<'a>(header: &dyn Fn(&str) -> Option<&'a [u8]>) -> Result<Self, Malformed> {
        let version = required(header, CE_SPECVERSION)?;
        if version != SPECVERSION {
            return Err(Malformed::new(format!("{CE_SPECVERSION} is {:?}, not {SPECVERSION:?}", shown(version))));
        }
        content_type(header)?;
        let subject = required(header, CE_SUBJECT)?;
        Ok(Self {
            id: required(header, CE_ID)?.to_owned(),
            source: required(header, CE_SOURCE)?.to_owned(),
            event_type: required(header, CE_TYPE)?.to_owned(),
            time: optional(header, CE_TIME)?.map(time_of).transpose()?,
            subject: subject.to_owned(),
            sequence: number(header, CE_SEQUENCE, 1)?,
            stream_epoch: number(header, CE_STREAMEPOCH, 0)?.ok_or_else(|| missing(CE_STREAMEPOCH))?,
            partition_key: optional(header, CE_PARTITIONKEY)?.unwrap_or(subject).to_owned(),
            traceparent: traceparent(header),
        })
    }
}

/// The trace context, if there is a well-formed one. A broken one is ignored, as W3C Trace Context asks.
pub fn traceparent<'a>(header: &dyn Fn(&str) -> Option<&'a [u8]>) -> Option<String> {
    let value = header(TRACEPARENT)?;
    let well_formed = value.len() == 55
        && value.iter().enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    well_formed.then(|| String::from_utf8_lossy(value).into_owned())
}

/// `time` in UTC as RFC 3339 text.
pub(crate) fn rfc3339(time: OffsetDateTime) -> String {
    time.to_offset(UtcOffset::UTC).format(&Rfc3339).expect("the years 0 to 9999 can be written")
}

fn content_type<'a>(header: &dyn Fn(&str) -> Option<&'a [u8]>) -> Result<(), Malformed> {
    let Some(value) = optional(header, CONTENT_TYPE)? else {
        return Ok(());
    };
    let media_type = value.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case(JSON) {
        Ok(())
    } else {
        Err(Malformed::new(format!("{CONTENT_TYPE} is {:?}, not {JSON:?}", shown(value))))
    }
}

fn time_of(value: &str) -> Result<OffsetDateTime, Malformed> {
    OffsetDateTime::parse(value, &Rfc3339)
        .map_err(|cause| Malformed::new(format!("{CE_TIME} is {:?}, not an RFC 3339 time: {cause}", shown(value))))
}

/// A header that must be there, with 1-256 bytes of UTF-8.
pub(crate) fn required<'a>(header: &dyn Fn(&str) -> Option<&'a [u8]>, name: &str) -> Result<&'a str, Malformed> {
    optional(header, name)?.ok_or_else(|| missing(name))
}

/// A header that, if it is there, must be 1-256 bytes of UTF-8 without U+0000.
pub(crate) fn optional<'a>(
    header: &dyn Fn(&str) -> Option<&'a [u8]>,
    name: &str,
) -> Result<Option<&'a str>, Malformed> {
    let Some(bytes) = header(name) else {
        return Ok(None);
    };
    let value = std::str::from_utf8(bytes).map_err(|cause| Malformed::new(format!("{name} is not UTF-8: {cause}")))?;
    if value.is_empty() {
        return Err(Malformed::new(format!("{name} is empty")));
    }
    if value.contains('\0') {
        // No database column of text could hold it.
        return Err(Malformed::new(format!("{name} holds U+0000: {:?}", shown(value))));
    }
    if value.len() > MAX_ATTRIBUTE_BYTES {
        return Err(Malformed::new(format!(
            "{name} has {} bytes, more than {MAX_ATTRIBUTE_BYTES}: {:?}",
            value.len(),
            shown(value)
        )));
    }
    Ok(Some(value))
}

/// A header that, if it is there, must be a number from `least`.
pub(crate) fn number<'a>(
    header: &dyn Fn(&str) -> Option<&'a [u8]>,
    name: &str,
    least: i64,
) -> Result<Option<i64>, Malformed> {
    let Some(value) = optional(header, name)? else {
        return Ok(None);
    };
    match value.parse::<i64>() {
        Ok(number) if number >= least => Ok(Some(number)),
        Ok(_) | Err(_) => Err(Malformed::new(format!("{name} is {:?}, not a whole number from {least}", shown(value)))),
    }
}

pub(crate) fn missing(name: &str) -> Malformed {
    Malformed::new(format!("{name} is missing"))
}
