//! What a record from the topic of events or a retry topic is: an event of ours, a plain start from another producer, a skip marker,
//! or malformed. Decides from the record alone; whether it is new is the gate's question.

use std::borrow::Cow;

use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::control::{Decision, REPLAY_OF, SKIP};
use crate::envelope::{self, CE_ID, CE_PARTITIONKEY, CE_SEQUENCE, CE_TYPE, CloudEvent};
use crate::events::{PROJECT_STARTED, ProjectEvent, ProjectStarted};
use crate::ids::ProjectId;
use crate::malformed::shown;
use crate::topics::is_retry_topic;

pub use crate::malformed::Malformed;

/// `source` of a plain record, which names none.
pub const FOREIGN_SOURCE: &str = "foreign";
/// `event_type` of a skip marker that does not repeat the type of the event it skips.
pub const SKIP_TYPE: &str = "Skip";
/// Namespace of the ids of plain records.
const FOREIGN_NAMESPACE: Uuid = Uuid::from_u128(0x2f1b_8c7a_93d4_4e6b_8d60_5a1e_7c42_b9f3);

/// A record as any Kafka client has it.
#[derive(Clone, Copy)]
pub struct RecordView<'a> {
    /// Topic it came from.
    pub topic: &'a str,
    /// Partition it came from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Looks a header up by its name; of several of one name, the last.
    pub headers: &'a dyn Fn(&str) -> Option<&'a [u8]>,
}

/// How a record came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An event with a complete envelope and a number.
    CloudEvent,
    /// A start without a number, from a producer of plain JSON. Deduplicated by type and project.
    Foreign,
    /// Not an event but an operator's decision to go on without the event of this number.
    Skip(Decision),
}

/// A record whose place is known. Its payload may still be malformed: [`Inbound::decode`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Id of the event; the same for every plain start of one project.
    pub id: String,
    /// The producer: `ce_source`, or [`FOREIGN_SOURCE`].
    pub source: String,
    /// The stream: the project id.
    pub stream_id: ProjectId,
    /// Epoch of the stream; 0 for a foreign record.
    pub stream_epoch: i64,
    /// Number within the stream, from 1. `None` exactly for a foreign record.
    pub sequence: Option<i64>,
    /// Type of the event, for example "ProjectStarted"; may be one that this version does not know.
    pub event_type: String,
    /// When it happened, if the record says so.
    pub time: Option<OffsetDateTime>,
    /// W3C trace context, if there is a well-formed one.
    pub traceparent: Option<String>,
    /// How it came to be.
    pub origin: Origin,
    /// Set on a replay of a dead letter: only such a record, or a skip marker, passes a blocked number.
    pub replay: Option<Decision>,
}

impl Inbound {
    /// Reads the payload; `None` for a skip marker and for a type this version does not know.
    ///
    /// # Errors
    /// When the bytes are not the JSON of that type, or are about another project than the envelope.
    pub fn decode(&self, data: &[u8]) -> Result<Option<ProjectEvent>, Malformed> {
        if matches!(self.origin, Origin::Skip(_)) {
            return Ok(None);
        }
        let Some(event) = ProjectEvent::decode(&self.event_type, data)? else {
            return Ok(None);
        };
        if event.project_id() != &self.stream_id {
            return Err(Malformed::new(format!(
                "the value is about project {:?}, the envelope about {:?}",
                event.project_id().as_str(),
                self.stream_id.as_str()
            )));
        }
        Ok(Some(event))
    }
}

/// Says what a record is. A broken payload under a whole envelope is not malformed here: its number is known, so it must block or advance
/// its stream.
///
/// # Errors
/// When the record has no place: a broken envelope, or neither an envelope nor the JSON of a plain start.
pub fn classify(record: &RecordView<'_>) -> Result<Inbound, Malformed> {
    let header = record.headers;
    let on_retry_topic = is_retry_topic(record.topic);
    if let Some(decision) = Decision::marked(SKIP, header)? {
        return if on_retry_topic {
            skip_marker(decision, header)
        } else {
            Err(Malformed::new(format!("{SKIP} counts only on a retry topic, not on {:?}", record.topic)))
        };
    }
    let replay = if on_retry_topic { Decision::marked(REPLAY_OF, header)? } else { None };
    let inbound = if header(CE_TYPE).is_none() { foreign(record.value)? } else { enveloped(header, record.value)? };
    Ok(Inbound { replay, ..inbound })
}

/// The key whose records keep their order: the project id wherever the record tells it. A record that belongs to no stream gets a key of its
/// own, so that malformed ones never wait for each other.
pub fn pool_key<'a>(record: &RecordView<'a>) -> Cow<'a, [u8]> {
    let header = record.headers;
    if let Some(key) = header(CE_PARTITIONKEY).filter(|key| !key.is_empty()) {
        return Cow::Borrowed(key);
    }
    let sequenced = header(CE_SEQUENCE).is_some();
    if !sequenced && let Some(project_id) = record.value.and_then(plain_project_id) {
        return Cow::Owned(project_id.into_bytes());
    }
    match record.key {
        Some(key) if !key.is_empty() => Cow::Borrowed(key),
        _ => Cow::Owned(format!("{}/{}", record.partition, record.offset).into_bytes()),
    }
}

fn enveloped<'a>(header: &dyn Fn(&str) -> Option<&'a [u8]>, value: Option<&[u8]>) -> Result<Inbound, Malformed> {
    let unsequenced_start = header(CE_SEQUENCE).is_none() && header(CE_TYPE) == Some(PROJECT_STARTED.as_bytes());
    if unsequenced_start {
        // Another producer that does speak CloudEvents: it has no number either, so it counts as plain.
        return Ok(Inbound {
            id: envelope::required(header, CE_ID)?.to_owned(),
            traceparent: envelope::traceparent(header),
            ..foreign(value)?
        });
    }
    let event = CloudEvent::from_headers(header)?;
    let sequence = event.sequence.ok_or_else(|| envelope::missing(CE_SEQUENCE))?;
    Ok(Inbound {
        id: event.id,
        source: event.source,
        stream_id: stream_id(&event.subject)?,
        stream_epoch: event.stream_epoch,
        sequence: Some(sequence),
        event_type: event.event_type,
        time: event.time,
        traceparent: event.traceparent,
        origin: Origin::CloudEvent,
        replay: None,
    })
}

fn foreign(value: Option<&[u8]>) -> Result<Inbound, Malformed> {
    let value = value.ok_or_else(|| Malformed::new("the record has neither an envelope (ce_type) nor a value"))?;
    let started: ProjectStarted = serde_json::from_slice(value).map_err(|cause| {
        Malformed::new(format!(
            "the record has no envelope (ce_type), and its value is no plain start \
             {{\"projectId\": string, \"startTime\": Unix seconds}}: {cause}"
        ))
    })?;
    let name = format!("{PROJECT_STARTED}\n{}", started.project_id);
    Ok(Inbound {
        id: Uuid::new_v5(&FOREIGN_NAMESPACE, name.as_bytes()).to_string(),
        source: FOREIGN_SOURCE.to_owned(),
        stream_id: started.project_id,
        stream_epoch: 0,
        sequence: None,
        event_type: PROJECT_STARTED.to_owned(),
        time: None,
        traceparent: None,
        origin: Origin::Foreign,
        replay: None,
    })
}

fn skip_marker<'a>(decision: Decision, header: &dyn Fn(&str) -> Option<&'a [u8]>) -> Result<Inbound, Malformed> {
    let sequence = envelope::number(header, CE_SEQUENCE, 1)?.ok_or_else(|| envelope::missing(CE_SEQUENCE))?;
    let stream_epoch = envelope::number(header, envelope::CE_STREAMEPOCH, 0)?
        .ok_or_else(|| envelope::missing(envelope::CE_STREAMEPOCH))?;
    Ok(Inbound {
        id: envelope::optional(header, CE_ID)?.unwrap_or(&decision.letter_id).to_owned(),
        source: envelope::required(header, envelope::CE_SOURCE)?.to_owned(),
        stream_id: stream_id(envelope::required(header, envelope::CE_SUBJECT)?)?,
        stream_epoch,
        sequence: Some(sequence),
        event_type: envelope::optional(header, CE_TYPE)?.unwrap_or(SKIP_TYPE).to_owned(),
        time: None,
        traceparent: envelope::traceparent(header),
        origin: Origin::Skip(decision),
        replay: None,
    })
}

fn stream_id(subject: &str) -> Result<ProjectId, Malformed> {
    ProjectId::new(subject)
        .map_err(|cause| Malformed::new(format!("{} is {:?}: {cause}", envelope::CE_SUBJECT, shown(subject))))
}

fn plain_project_id(value: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Plain {
        project_id: ProjectId,
    }
    let plain: Plain = serde_json::from_slice(value).ok()?;
    Some(plain.project_id.into())
}
