//! Collects everything wrong with a configuration, so that an operator mends it in one go.

use std::fmt;

/// All problems found so far; empty means the configuration is usable.
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// Adds one: the flag (without dashes), what is wrong with which value, and what to do about it.
    pub fn add(&mut self, flag: &str, wrong: impl fmt::Display, remedy: impl fmt::Display) {
        self.0.push(format!("--{flag}: {wrong}; {remedy}"));
    }

    /// Refuses zero.
    pub fn refuse_zero(&mut self, flag: &str, value: u64) {
        if value == 0 {
            self.add(flag, "0 would do no work at all", "set it to 1 or more");
        }
    }

    /// Adds a line that already names its place (a file and its key).
    pub(crate) fn add_line(&mut self, line: String) {
        self.0.push(line);
    }

    /// True when nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The problems, one sentence each.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "  - {line}")?;
        }
        Ok(())
    }
}
