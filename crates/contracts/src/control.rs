//! What goes over the dead-letter and retry topics besides events: letters, their outcomes, and the decisions of operators.
//!
//! A letter is the record as it came, keyed by its letter id, plus the headers of [`Letter`]. An outcome is a record of the same key in
//! the same topic with the headers of [`Outcome`]. A decision is a record on the retry topic with the headers of [`Decision`].

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::Malformed;
use crate::envelope::{missing, number, optional, required, rfc3339};
use crate::malformed::shown;

/// Header of a letter's id.
pub const LETTER_ID: &str = "ctms_letter_id";
/// Header of the reason why a record became a letter.
pub const CAUSE: &str = "ctms_cause";
/// Header of the number of attempts made.
pub const ATTEMPTS: &str = "ctms_attempts";
/// Header of the group that could not handle the record.
pub const GROUP: &str = "ctms_group";
/// Header of the topic the record came from.
pub const TOPIC: &str = "ctms_topic";
/// Header of the partition the record came from.
pub const PARTITION: &str = "ctms_partition";
/// Header of the record's offset there.
pub const OFFSET: &str = "ctms_offset";
/// Header of the time of a letter or an outcome, RFC 3339.
pub const AT: &str = "ctms_at";
/// Header that marks an outcome: "replayed" or "discarded".
pub const OUTCOME: &str = "ctms_outcome";
/// Header of who decided.
pub const BY: &str = "ctms_by";
/// Header of why it was decided.
pub const WHY: &str = "ctms_why";
/// Header that marks a replay: the letter's id.
pub const REPLAY_OF: &str = "ctms_replay_of";
/// Header that marks a skip marker: the letter's id.
pub const SKIP: &str = "ctms_skip";
/// Header that makes a skip marker one for a number whose event exists nowhere any more: it needs no letter, only a gap.
pub const GAP: &str = "ctms_gap";

/// Longest cause or reason in bytes that is written; the rest is cut.
const MAX_TEXT_BYTES: usize = 4096;
/// Namespace of letter ids, so that one record has one letter however often it is read.
const LETTER_NAMESPACE: Uuid = Uuid::from_u128(0x6d1c_7f0e_4b52_4c0e_9a53_0f6a_51c7_e1d4);

/// Why and where a record became a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Unique id: also the key of the letter's record.
    pub letter_id: String,
    /// Why the record cannot be handled.
    pub cause: String,
    /// Attempts made.
    pub attempts: u32,
    /// The group that could not handle it.
    pub group: String,
    /// The topic it came from.
    pub topic: String,
    /// The partition it came from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// When it became a letter.
    pub at: OffsetDateTime,
}

impl Letter {
    /// The headers to add to those of the record.
    ///
    /// # Panics
    /// If `at` lies outside the years 0 to 9999, which RFC 3339 cannot write.
    pub fn to_headers(&self) -> Vec<(String, String)> {
        vec![
            (LETTER_ID.to_owned(), self.letter_id.clone()),
            (CAUSE.to_owned(), bounded(&self.cause)),
            (ATTEMPTS.to_owned(), self.attempts.to_string()),
            (GROUP.to_owned(), self.group.clone()),
            (TOPIC.to_owned(), self.topic.clone()),
            (PARTITION.to_owned(), self.partition.to_string()),
            (OFFSET.to_owned(), self.offset.to_string()),
            (AT.to_owned(), rfc3339(self.at)),
        ]
    }

    /// Reads the headers of a letter.
    ///
    /// # Errors
    /// Names the first header that is missing or broken, and its value.
    pub fn from_headers<'a>(header: &dyn Fn(&str) -> Option<&'a [u8]>) -> Result<Self, Malformed> {
        Ok(Self {
            letter_id: required(header, LETTER_ID)?.to_owned(),
            cause: text(header, CAUSE),
            attempts: narrow(header, ATTEMPTS)?,
            group: required(header, GROUP)?.to_owned(),
            topic: required(header, TOPIC)?.to_owned(),
            partition: narrow(header, PARTITION)?,
            offset: number(header, OFFSET, 0)?.ok_or_else(|| missing(OFFSET))?,
            at: at(header)?,
        })
    }
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// Its record, or a corrected one, was applied.
    Replayed,
    /// Its number was skipped.
    Discarded,
}

impl OutcomeKind {
    /// The value of the header [`OUTCOME`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }
}

/// The end of a letter, published to the dead-letter topic under the letter's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What became of it.
    pub kind: OutcomeKind,
    /// Who decided, which letter, and why.
    pub decision: Decision,
    /// When it ended.
    pub at: OffsetDateTime,
}

impl Outcome {
    /// The headers of the outcome's record.
    ///
    /// # Panics
    /// If `at` lies outside the years 0 to 9999, which RFC 3339 cannot write.
    pub fn to_headers(&self) -> Vec<(String, String)> {
        vec![
            (LETTER_ID.to_owned(), self.decision.letter_id.clone()),
            (OUTCOME.to_owned(), self.kind.as_str().to_owned()),
            (BY.to_owned(), bounded(&self.decision.by)),
            (WHY.to_owned(), bounded(&self.decision.why)),
            (AT.to_owned(), rfc3339(self.at)),
        ]
    }

    /// Reads an outcome; `None` when the record is none.
    ///
    /// # Errors
    /// Names the first header that is missing or broken, and its value.
    pub fn from_headers<'a>(header: &dyn Fn(&str) -> Option<&'a [u8]>) -> Result<Option<Self>, Malformed> {
        let kind = match optional(header, OUTCOME)? {
            None => return Ok(None),
            Some("replayed") => OutcomeKind::Replayed,
            Some("discarded") => OutcomeKind::Discarded,
            Some(other) => {
                return Err(Malformed::new(format!(
                    "{OUTCOME} is {:?}, neither \"replayed\" nor \"discarded\"",
                    shown(other)
                )));
            }
        };
        let decision = Decision::marked(LETTER_ID, header)?.ok_or_else(|| missing(LETTER_ID))?;
        Ok(Some(Self { kind, decision, at: at(header)? }))
    }
}

/// An operator's decision about a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The letter.
    pub letter_id: String,
    /// Who decided; may be empty.
    pub by: String,
    /// Why; may be empty.
    pub why: String,
}

impl Decision {
    /// The headers that make a record a replay of the letter: add them to those of the original record.
    pub fn replay_headers(&self) -> Vec<(String, String)> {
        self.headers(REPLAY_OF)
    }

    /// The headers that make a record a skip marker: add them to the `ce_*` headers of the original record.
    pub fn skip_headers(&self) -> Vec<(String, String)> {
        self.headers(SKIP)
    }

    /// The headers that make a record a skip marker for a missing number: add them to `ce_source`, `ce_subject`, `ce_sequence` and
    /// `ce_streamepoch`. The letter is the one that the number would have ([`stream_letter_id`]).
    pub fn gap_headers(&self) -> Vec<(String, String)> {
        self.skip_headers().into_iter().chain([(GAP.to_owned(), "1".to_owned())]).collect()
    }

    fn headers(&self, mark: &str) -> Vec<(String, String)> {
        vec![
            (mark.to_owned(), self.letter_id.clone()),
            (BY.to_owned(), bounded(&self.by)),
            (WHY.to_owned(), bounded(&self.why)),
        ]
    }

    /// Reads the decision of a record that carries the header `mark`.
    pub(crate) fn marked<'a>(mark: &str, header: &dyn Fn(&str) -> Option<&'a [u8]>) -> Result<Option<Self>, Malformed> {
        let letter_id = optional(header, mark)?;
        Ok(letter_id.map(|letter_id| Self {
            letter_id: letter_id.to_owned(),
            by: text(header, BY),
            why: text(header, WHY),
        }))
    }
}

/// The id of the letter of a sequenced record: the same however often `group` reads its number.
pub fn stream_letter_id(group: &str, source: &str, stream_id: &str, stream_epoch: i64, sequence: i64) -> String {
    let name = format!("stream\n{group}\n{source}\n{stream_id}\n{stream_epoch}\n{sequence}");
    Uuid::new_v5(&LETTER_NAMESPACE, name.as_bytes()).to_string()
}

/// The id of the letter of a record without a number. The bytes are part of it because a topic that was made anew counts its
/// offsets from 0 again.
pub fn record_letter_id(group: &str, topic: &str, partition: i32, offset: i64, value: Option<&[u8]>) -> String {
    let mut name = format!("record\n{group}\n{topic}\n{partition}\n{offset}\n").into_bytes();
    name.extend_from_slice(value.unwrap_or_default());
    Uuid::new_v5(&LETTER_NAMESPACE, &name).to_string()
}

fn at<'a>(header: &dyn Fn(&str) -> Option<&'a [u8]>) -> Result<OffsetDateTime, Malformed> {
    let value = required(header, AT)?;
    OffsetDateTime::parse(value, &Rfc3339)
        .map_err(|cause| Malformed::new(format!("{AT} is {:?}, not an RFC 3339 time: {cause}", shown(value))))
}

fn narrow<'a, T: TryFrom<i64>>(header: &dyn Fn(&str) -> Option<&'a [u8]>, name: &str) -> Result<T, Malformed> {
    let wide = number(header, name, 0)?.ok_or_else(|| missing(name))?;
    T::try_from(wide).map_err(|_| Malformed::new(format!("{name} is {wide}, which is too large")))
}

/// Free text: shown to people, so whatever came is better than an error. U+0000, which no database holds as text, is replaced.
fn text<'a>(header: &dyn Fn(&str) -> Option<&'a [u8]>, name: &str) -> String {
    header(name).map(|bytes| String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")).unwrap_or_default()
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_owned()
}
