//! What a study asks its subjects, and when. Pure: must not know how it is stored or sent.

mod check;

use serde::{Deserialize, Serialize};

pub use check::{MAX_ASSIGNMENTS_PER_SUBJECT, check};

/// What a study asks its subjects, and when. A published version never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Questionnaires used by the visits.
    pub instruments: Vec<Instrument>,
    /// When each questionnaire is due.
    pub visits: Vec<Visit>,
    /// Hours after the window opens at which an unanswered assignment is recalled.
    pub reminder_offsets_hours: Vec<u32>,
}

/// A version that is not higher than the one in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("version {asked} is not higher than the published version {current}; publish {} or higher, or 0 for the next one", current + 1)]
pub struct VersionNotHigher {
    /// The version that was asked for.
    pub asked: i64,
    /// The version in use.
    pub current: i64,
}

/// The version under which a schedule is published: the one asked for, or the next one for 0.
///
/// # Errors
/// When it is not higher than the one in use.
pub fn version_after(current: i64, asked: i64) -> Result<i64, VersionNotHigher> {
    match asked {
        0 => Ok(current + 1),
        _ if asked > current => Ok(asked),
        _ => Err(VersionNotHigher { asked, current }),
    }
}

impl Schedule {
    /// How many assignments a subject gets.
    #[must_use]
    pub fn assignments_per_subject(&self) -> usize {
        self.visits.iter().map(|visit| visit.instrument_ids.len()).sum()
    }

    /// The instrument of this id.
    #[must_use]
    pub fn instrument(&self, id: &str) -> Option<&Instrument> {
        self.instruments.iter().find(|instrument| instrument.id == id)
    }
}

/// A questionnaire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instrument {
    /// Id within the schedule.
    pub id: String,
    /// Version as its owner numbers it.
    pub version: String,
    /// Display name.
    pub name: String,
    /// Questions; empty means that any answers are taken.
    pub items: Vec<Item>,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Id within the instrument; the key of its answer.
    pub id: String,
    /// The question as shown.
    pub prompt: String,
    /// Whether a response without this answer is refused.
    pub required: bool,
    /// What an answer may be.
    pub kind: ItemKind,
}

/// What an answer may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ItemKind {
    /// Any value.
    Any,
    /// A number within inclusive bounds.
    Number {
        /// Least value.
        minimum: Option<f64>,
        /// Greatest value.
        maximum: Option<f64>,
    },
    /// A text.
    Text,
    /// True or false.
    Boolean,
    /// One of these texts.
    Choice {
        /// The texts to choose from.
        choices: Vec<String>,
    },
}

impl ItemKind {
    /// What is expected, for messages.
    #[must_use]
    pub fn expected(&self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Number { .. } => "a number",
            Self::Text => "a text",
            Self::Boolean => "true or false",
            Self::Choice { .. } => "one of the choices",
        }
    }
}

/// A planned point in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Id within the schedule.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Instruments due at this visit.
    pub instrument_ids: Vec<String>,
    /// The day from which the offset counts.
    pub anchor: Anchor,
    /// Days from the anchor to the due day.
    pub offset_days: i32,
    /// Days before the due day from which an answer is taken.
    pub window_before_days: u32,
    /// Days after the due day until which an answer is taken.
    pub window_after_days: u32,
}

/// The day from which a visit is counted. Offset 0 is that day itself: CDISC's study day 1, whose count has no day 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Anchor {
    /// The day the subject was enrolled.
    Enrolment,
    /// The day the study started (UTC).
    StudyStart,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_only_rise() {
        assert_eq!(
            [(0, 0), (0, 1), (3, 0), (3, 7)].map(|(current, asked)| version_after(current, asked).ok()),
            [Some(1), Some(1), Some(4), Some(7)]
        );
        for asked in [1, 3] {
            assert_eq!(version_after(3, asked), Err(VersionNotHigher { asked, current: 3 }));
        }
    }
}
