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
    verify(&matrix, &names(tests)?)?;
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

/// Only that every named test exists, and that each row of the semantics is shown on a real Kafka.
///
/// # Errors
/// When a line names a test that does not exist, or a row has no test on a real Kafka.
pub(crate) fn check(tests: &[TestExecutable]) -> Result<()> {
    verify(&parse(TABLE)?, &names(tests)?)
}

fn verify(matrix: &Matrix, existing: &BTreeSet<String>) -> Result<()> {
    refuse_unknown(matrix, existing)?;
    refuse_without_real_kafka(matrix, existing)
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

/// What says it of itself in its name, as all tests of the pool do that run on one.
const ON_REAL_KAFKA: &str = "real_kafka";

fn refuse_without_real_kafka(matrix: &Matrix, existing: &BTreeSet<String>) -> Result<()> {
    let is_shown = |line: &Line| {
        line.tests.iter().flat_map(|name| matching(name, existing)).any(|test| test.contains(ON_REAL_KAFKA))
    };
    let bare: Vec<_> = matrix.semantics.iter().filter(|line| !is_shown(line)).map(|line| line.line.as_str()).collect();
    if !bare.is_empty() {
        bail!("xtask/matrix.toml: no test with {ON_REAL_KAFKA:?} in its name shows\n  {}", bare.join("\n  "));
    }
    Ok(())
}

/// The tests a name stands for.
fn matching<'a>(name: &'a str, existing: &'a BTreeSet<String>) -> impl Iterator<Item = &'a String> {
    let prefix = name.strip_suffix('*');
    let from = prefix.unwrap_or(name).to_owned();
    existing.range(from..).take_while(move |found| match prefix {
        Some(prefix) => found.starts_with(prefix),
        None => *found == name,
    })
}

fn exists(name: &str, existing: &BTreeSet<String>) -> bool {
    matching(name, existing).next().is_some()
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
    use super::{exists, parse, refuse_unknown, refuse_without_real_kafka};

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
    fn a_row_of_the_semantics_without_a_real_kafka_is_named() {
        let table = "failure = []\n[[semantics]]\nline = \"Order\"\ntests = [\"pool/order/*\"]";
        let matrix = parse(table).expect("a small table");
        let embedded = "pool/order/keys::embedded_broker".to_owned();
        let real = "pool/order/keys::real_kafka_classic".to_owned();
        let error = refuse_without_real_kafka(&matrix, &[embedded.clone()].into()).expect_err("embedded alone");
        assert!(error.to_string().contains("Order"), "{error}");
        refuse_without_real_kafka(&matrix, &[embedded, real].into()).expect("one of them is enough");
    }

    #[test]
    fn a_promise_without_a_test_says_why() {
        let error = parse("semantics = []\n[[failure]]\nline = \"disk full\"").err().expect("refused");
        assert!(error.to_string().contains("disk full"), "{error}");
    }
}
