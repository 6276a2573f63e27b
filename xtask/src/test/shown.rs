//! What is shown of a harness's output: everything but the blocks of those that have no test to run. Pure.

/// Holds back what may turn out to be such a block.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Goes before the first line that is shown.
    heading: Option<String>,
    held: Vec<String>,
}

impl Shown {
    pub(crate) fn under(heading: String) -> Self {
        Self { heading: Some(heading), held: Vec::new() }
    }

    /// The lines to show now that this one has come.
    pub(crate) fn next(&mut self, line: &str) -> Vec<String> {
        if line.starts_with("test result: ok. 0 passed; 0 failed; 0 ignored;") && self.is_empty_run() {
            self.held.clear();
            return Vec::new();
        }
        self.held.push(line.to_owned());
        if line.is_empty() || line == "running 0 tests" { Vec::new() } else { self.rest() }
    }

    /// What is still held back when the output ends: after a crash it is all there is.
    pub(crate) fn end(&mut self) -> Vec<String> {
        if self.held.iter().all(String::is_empty) { Vec::new() } else { self.rest() }
    }

    fn is_empty_run(&self) -> bool {
        self.held.iter().any(|line| line == "running 0 tests")
    }

    fn rest(&mut self) -> Vec<String> {
        self.heading.take().into_iter().chain(self.held.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(output: &str) -> Vec<String> {
        let mut shown = Shown::under("== crate".to_owned());
        let mut lines: Vec<String> = output.lines().flat_map(|line| shown.next(line)).collect();
        lines.extend(shown.end());
        lines
    }

    const EMPTY: &str = "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s\n\n";

    #[test]
    fn a_harness_without_a_matching_test_is_not_mentioned() {
        assert!(shown(EMPTY).is_empty());
        assert!(shown(&EMPTY.repeat(2)).is_empty());
    }

    #[test]
    fn what_runs_is_shown_whole_under_its_heading() {
        let run = "\nrunning 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n";
        let expected: Vec<String> = std::iter::once("== crate").chain(run.lines()).map(str::to_owned).collect();
        assert_eq!(shown(run), expected);
        assert_eq!(shown(&format!("{EMPTY}{run}"))[0], "== crate");
        let ignored = "running 0 tests\ntest result: ok. 0 passed; 0 failed; 2 ignored; 0 measured";
        assert_eq!(shown(ignored).len(), 3, "an ignored test is one to know of");
    }

    #[test]
    fn a_crash_before_the_result_is_shown() {
        assert_eq!(shown("\nrunning 0 tests"), ["== crate", "", "running 0 tests"]);
        assert_eq!(
            shown("\nrunning 3 tests\nSegmentation fault").last().map(String::as_str),
            Some("Segmentation fault")
        );
    }
}
