//! Ids as types: a subject can never stand where a site is meant, and an id that breaks the rule never gets in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::malformed::shown;

/// Longest id in characters.
pub const MAX_ID_CHARS: usize = 128;

/// The rule that every id follows, as error messages say it.
pub const ID_RULE: &str = "1-128 characters of [A-Za-z0-9._:-]";

/// An id that breaks the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {value:?} is not valid: use {ID_RULE}")]
pub struct InvalidId {
    kind: &'static str,
    value: String,
}

/// Whether `value` follows [`ID_RULE`].
pub fn is_valid_id(value: &str) -> bool {
    (1..=MAX_ID_CHARS).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

macro_rules! id {
    ($name:ident, $kind:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes an id that follows the rule.
            ///
            /// # Errors
            /// Names the value and the rule it breaks.
            pub fn new(value: impl Into<String>) -> Result<Self, InvalidId> {
                let value = value.into();
                if is_valid_id(&value) { Ok(Self(value)) } else { Err(InvalidId { kind: $kind, value: shown(&value) }) }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(value: &str) -> Result<Self, InvalidId> {
                Self::new(value)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

id!(ProjectId, "project id", "A project, which the other services call a study.");
id!(SiteId, "site id", "A site, unique within its project.");
id!(SubjectId, "subject id", "A subject's pseudonym, unique within its study.");
id!(VisitId, "visit id", "A visit, unique within a study's schedules.");
id!(InstrumentId, "instrument id", "A questionnaire, unique within a study's schedules.");
id!(ItemId, "item id", "A question, unique within its instrument.");
id!(AssignmentId, "assignment id", "One instrument that one subject is asked to answer at one visit.");
id!(SubmissionId, "submission id", "A client's id of one submitted response, unique within its study.");
id!(DatasetName, "dataset name", "A dataset, unique within its study.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_keeps_the_rule_is_taken_as_it_is() {
        for value in ["a", "P-1", "urn:x:1.2_3", &"x".repeat(128)] {
            assert_eq!(ProjectId::new(value).unwrap().as_str(), value);
        }
    }

    #[test]
    fn an_id_that_breaks_the_rule_is_refused_with_value_and_rule() {
        for value in ["", " ", "a/b", "ä", "a\n", &"x".repeat(129)] {
            assert!(SiteId::new(value).is_err(), "{value:?}");
        }
        assert_eq!(
            SiteId::new("a b").unwrap_err().to_string(),
            r#"site id "a b" is not valid: use 1-128 characters of [A-Za-z0-9._:-]"#
        );
    }

    #[test]
    fn json_refuses_what_the_constructor_refuses() {
        assert!(serde_json::from_str::<SubjectId>(r#""S-1""#).is_ok());
        assert!(serde_json::from_str::<SubjectId>(r#""S 1""#).is_err());
    }
}
