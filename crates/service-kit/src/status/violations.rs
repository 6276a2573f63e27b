//! Collects everything wrong with a request, so that a client learns it all from one answer.

use std::fmt;

use super::ApiError;

/// Field violations found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldViolations(Vec<(String, String)>);

impl FieldViolations {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one: the field's path in the request (`sites[2].site_id`), and what is wrong and what to do.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push((field.into(), description.into()));
    }

    /// The value, or a violation of `field` with the error's text. Go on with the other fields and call [`Self::finish`] last.
    pub fn check<T, E: fmt::Display>(&mut self, field: impl Into<String>, parsed: Result<T, E>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(field, error.to_string());
                None
            }
        }
    }

    /// Adds a violation unless the fact holds.
    pub fn require(&mut self, holds: bool, field: impl Into<String>, description: impl Into<String>) {
        if !holds {
            self.add(field, description);
        }
    }

    /// True when nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `(field, description)` in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(field, description)| (field.as_str(), description.as_str()))
    }

    /// Ok when nothing is wrong.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with all of them.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self)) }
    }
}

impl fmt::Display for FieldViolations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (field, description)) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{field}: {description}")?;
        }
        Ok(())
    }
}
