//! One thing wrong with one field. Must not know how a transport reports it.

/// What is wrong with a field of a request, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field as the caller wrote it, for example `schedule.visits[2].offset_days`.
    pub field: String,
    /// The value and the rule it breaks.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}
