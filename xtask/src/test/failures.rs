//! Which tests failed and why, kept for the end of the run: a long log is read from there, and may be cut before. Pure.

use std::collections::VecDeque;

/// Bounds of what is repeated of one executable: failed tests named, the last panics, the first lines of each.
const LISTED: usize = 50;
const PANICS: usize = 20;
const LINES_OF_A_PANIC: usize = 8;

/// What one executable says of its failed tests.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    names: Vec<String>,
    panics: VecDeque<Vec<String>>,
    /// Whether lines belong to the panic last begun.
    in_panic: bool,
    /// Whether lines are the list at the end of a harness, which names each failed test alone on a line.
    in_list: bool,
}

impl Failures {
    pub(crate) fn read_line(&mut self, line: &str) {
        if line.starts_with("thread '") && line.contains("panicked at") {
            self.in_panic = true;
            self.panics.push_back(Vec::new());
            if self.panics.len() > PANICS {
                self.panics.pop_front();
            }
        }
        // The backtrace goes on for pages.
        self.in_panic &= !line.is_empty() && !line.starts_with("stack backtrace:") && !line.starts_with("note: ");
        if self.in_panic
            && let Some(panic) = self.panics.back_mut()
            && panic.len() < LINES_OF_A_PANIC
        {
            panic.push(line.to_owned());
        }
        if line == "failures:" {
            self.in_list = true;
        } else if self.in_list
            && let Some(name) = line.strip_prefix("    ")
        {
            self.names.push(name.to_owned());
        } else if !line.is_empty() {
            self.in_list = false;
        }
    }

    /// What to repeat at the end of the run of an executable that failed; a test may also have crashed before any list.
    pub(crate) fn report(&self, executable: &str) -> Vec<String> {
        let more = self.names.len().saturating_sub(LISTED);
        let mut lines: Vec<String> =
            self.names.iter().take(LISTED).map(|name| format!("FAILED {executable}: {name}")).collect();
        if lines.is_empty() {
            lines.push(format!("FAILED {executable}: it ended before it named a test"));
        }
        if more > 0 {
            lines.push(format!("FAILED {executable}: and {more} more"));
        }
        // A test's thread has its name; where none of them panicked, another thread's panic may be why.
        let own: Vec<&Vec<String>> = self.panics.iter().filter(|panic| self.is_of_a_failed_test(panic)).collect();
        let panics = if own.is_empty() { self.panics.iter().collect() } else { own };
        lines.extend(panics.into_iter().flatten().map(|line| format!("    {line}")));
        lines
    }

    fn is_of_a_failed_test(&self, panic: &[String]) -> bool {
        let thread = panic.first().and_then(|line| line.strip_prefix("thread '")?.split('\'').next());
        thread.is_some_and(|thread| self.names.iter().any(|name| name == thread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(output: &str) -> Vec<String> {
        let mut failures = Failures::default();
        output.lines().for_each(|line| failures.read_line(line));
        failures.report("pool order")
    }

    #[test]
    fn each_failed_test_is_named_with_what_panicked() {
        let output = "running 2 tests\ntest a ... ok\n\nthread 'worker' (6) panicked at src/b.rs:1:1:\nas it should\n\n\
                      thread 'b' (7) panicked at src/b.rs:3:4:\nleft: 1\nright: 2\nstack backtrace:\n   0: frame\n\
                      note: Some details\ntest b ... FAILED\n\nfailures:\n\nfailures:\n    b\n\ntest result: FAILED. 1 passed; 1 failed;";
        let expected =
            ["FAILED pool order: b", "    thread 'b' (7) panicked at src/b.rs:3:4:", "    left: 1", "    right: 2"];
        assert_eq!(report(output), expected);
    }

    #[test]
    fn a_crash_names_the_executable() {
        assert_eq!(report("running 2 tests\ntest a ... "), ["FAILED pool order: it ended before it named a test"]);
    }

    #[test]
    fn what_is_repeated_has_a_bound() {
        let names: String = (0..60).map(|at| format!("    t{at}\n")).collect();
        let panics = "thread 'x' (1) panicked at y:\nz\n".repeat(100);
        let lines = report(&format!("{panics}\nfailures:\n{names}\n"));
        assert_eq!(lines[50], "FAILED pool order: and 10 more");
        assert_eq!(lines.len(), 51 + 2 * PANICS);
    }
}
