//! The one error of everything that reads records: what is wrong with the bytes, in words fit for a dead letter.

/// Bytes that break the contract. Trying again does not help; the reason goes to the dead-letter topic with the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    reason: String,
}

impl Malformed {
    /// Says what is wrong, with the value and the rule it breaks.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }

    /// What is wrong.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// At most 80 characters of a value, for an error message.
pub(crate) fn shown(value: &str) -> String {
    match value.char_indices().nth(80) {
        None => value.to_owned(),
        Some((end, _)) => format!("{}…", &value[..end]),
    }
}
