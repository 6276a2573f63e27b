//! Which test shows each line of the failure matrix and each row of the semantics table, as `xtask/matrix.toml` says.

use std::{collections::BTreeSet, fmt::Write as _, process::Command};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::build::TestExecutable;

const TABLE: &str = include_str!("../../matrix.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    /// The failure matrix: what dies, and everything accepted still has its effect exactly once.
    failure: Vec<Line>,
    /// The semantics table of the worker pool.
    semantics: Vec<Line>,
}

/// One promise, and the tests that show it: `package/target/test`, where a final `*` stands for any ending.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    line: String,
    #[serde(default)]
    tests: Vec<String>,
    /// What a later change brings; a line without tests must have it.
    #[serde(default)]
    not_yet: Option<String>,
}

/// The table for people.
///
/// # Errors
/// When a line names a test that does not exist.
pub(crate) fn report(tests: &[TestExecutable]) -> Result<String> {
    let matrix = parse(TABLE)?;
    refuse_unknown(&matrix, &names(tests)?)?;
    let mut text = String::new();
    for (title, lines) in [("Failure matrix", &matrix.failure), ("Semantics of the worker pool", &matrix.semantics)] {
        writeln!(text, "{title}\n")?;
        for line in lines {
            writeln!(text, "  {}", line.line)?;
            for test in &line.tests {
                writeln!(text, "      {test}")?;
            }
            if let Some(missing) = &line.not_yet {
                writeln!(text, "      not yet: {missing}")?;
            }
        }
        writeln!(text)?;
    }
    Ok(text)
}

/// Only that every named test exists.
///
/// # Errors
/// When a line names a test that does not exist.
pub(crate) fn check(tests: &[TestExecutable]) -> Result<()> {
    refuse_unknown(&parse(TABLE)?, &names(tests)?)
}

fn parse(table: &str) -> Result<Matrix> {
    let matrix: Matrix = toml::from_str(table).context("xtask/matrix.toml is no table of promises and tests")?;
    for line in matrix.failure.iter().chain(&matrix.semantics) {
        if line.tests.is_empty() && line.not_yet.is_none() {
            bail!("xtask/matrix.toml: {:?} has neither tests nor not_yet", line.line);
        }
    }
    Ok(matrix)
}

fn refuse_unknown(matrix: &Matrix, existing: &BTreeSet<String>) -> Result<()> {
    let named = matrix.failure.iter().chain(&matrix.semantics).flat_map(|line| &line.tests);
    let unknown: Vec<_> = named.filter(|name| !exists(name, existing)).map(String::as_str).collect();
    if !unknown.is_empty() {
        bail!("xtask/matrix.toml names tests that do not exist:\n  {}", unknown.join("\n  "));
    }
    Ok(())
}

fn exists(name: &str, existing: &BTreeSet<String>) -> bool {
    name.strip_suffix('*').map_or_else(
        || existing.contains(name),
        |prefix| existing.range(prefix.to_owned()..).next().is_some_and(|found| found.starts_with(prefix)),
    )
}

/// All tests as `package/target/test`.
fn names(tests: &[TestExecutable]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for test in tests {
        let output = Command::new(&test.path)
            .args(["--list", "--format", "terse"])
            .current_dir(&test.manifest_dir)
            .output()
            .with_context(|| format!("cannot list the tests of {}", test.path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        for name in text.lines().filter_map(|line| line.strip_suffix(": test")) {
            names.insert(format!("{}/{}/{name}", test.package, test.target));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::{exists, parse, refuse_unknown};

    const PROMISES: &str =
        "semantics = []\n[[failure]]\nline = \"broker restart\"\ntests = [\"testkit/kafka/restart*\"]";

    #[test]
    fn the_table_in_the_repository_is_well_formed() {
        let matrix = parse(super::TABLE).expect("matrix.toml parses");
        assert!(!matrix.failure.is_empty() && !matrix.semantics.is_empty());
    }

    #[test]
    fn a_star_stands_for_any_ending() {
        let existing = ["a/lib/restart_sqlite".to_owned()].into();
        assert!(exists("a/lib/restart*", &existing));
        assert!(exists("a/lib/restart_sqlite", &existing));
        assert!(!exists("a/lib/restart", &existing));
        assert!(!exists("a/lib/stop*", &existing));
    }

    #[test]
    fn an_unknown_test_is_named() {
        let matrix = parse(PROMISES).expect("a small table");
        let error = refuse_unknown(&matrix, &["testkit/kafka/stop".to_owned()].into()).expect_err("unknown");
        assert!(error.to_string().contains("testkit/kafka/restart*"), "{error}");
    }

    #[test]
    fn a_promise_without_a_test_says_why() {
        let error = parse("semantics = []\n[[failure]]\nline = \"disk full\"").err().expect("refused");
        assert!(error.to_string().contains("disk full"), "{error}");
    }
}
