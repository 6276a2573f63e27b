//! Counting: what the test harnesses print, and what it comes to.

use std::{fmt, ops::AddAssign};

/// Numbers of tests. A skipped test is in no other number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Adds what one line of output says. Harnesses end with `test result: ok. 3 passed; 0 failed; 1 ignored; …`;
    /// a test that skips itself prints `SKIPPED: why` and then passes.
    pub(crate) fn read_line(&mut self, line: &str) {
        if is_skip(line) {
            self.skipped += 1;
        } else if let Some(result) = line.trim_start().strip_prefix("test result: ") {
            self.passed += number_before(result, " passed");
            self.failed += number_before(result, " failed");
        }
    }

    /// The tally of one executable: its exit must agree with what it printed.
    pub(crate) fn settle(mut self, succeeded: bool) -> Self {
        self.passed = self.passed.saturating_sub(self.skipped);
        if !succeeded && self.failed == 0 {
            // It crashed, or ran out of time, before it could say which test failed.
            self.failed = 1;
        }
        self
    }
}

/// Whether the line is a skip; a harness may have begun its own line before.
fn is_skip(line: &str) -> bool {
    line.starts_with("SKIPPED: ") || line.contains("... SKIPPED: ")
}

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn tally(lines: &str, succeeded: bool) -> String {
        let mut tally = Tally::default();
        lines.lines().for_each(|line| tally.read_line(line));
        tally.settle(succeeded).to_string()
    }

    #[test]
    fn the_result_line_is_counted() {
        let lines = "test a ... ok\ntest result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(tally(lines, true), "12 passed, 0 failed, 0 skipped");
    }

    #[test]
    fn a_skipped_test_did_not_pass() {
        let lines = "SKIPPED: no Kafka\ntest b ... SKIPPED: no Go\nok\ntest result: ok. 3 passed; 0 failed;";
        assert_eq!(tally(lines, true), "1 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn a_crash_is_a_failure() {
        assert_eq!(tally("test a ... ", false), "0 passed, 1 failed, 0 skipped");
        assert_eq!(tally("test result: FAILED. 1 passed; 2 failed;", false), "1 passed, 2 failed, 0 skipped");
    }
}
