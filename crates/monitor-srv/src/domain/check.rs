//! Checks and how they are evaluated over the text of a dataset. Pure; a check of a large dataset takes a while, so callers choose the thread.

use contracts::ids::DatasetName;
use serde::{Deserialize, Serialize};

use super::dataset;
use contracts::named;

/// Most checks of a plan.
pub const MAX_PLAN_CHECKS: usize = 100;
/// Longest name of a column, in characters.
pub const MAX_COLUMN_CHARS: usize = 200;
/// Column names shown in a message.
const SHOWN_COLUMNS: usize = 20;

/// One rule about one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The dataset.
    pub dataset: DatasetName,
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule,
}

/// What must hold. Stored as JSON: the names stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "check", rename_all = "snake_case")]
pub enum Rule {
    /// The dataset has at least so many rows; the header line does not count.
    RowCount {
        /// Smallest number that passes.
        min: u64,
    },
    /// The column has a value in every row.
    Missing {
        /// Its name in the header line.
        column: String,
    },
}

impl Rule {
    /// The smallest number of rows that passes where nobody names one.
    pub const DEFAULT_MIN_ROWS: u64 = 1;
}

/// The name of a column that a rule may look at.
///
/// # Errors
/// What is wrong with it.
pub fn column_name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        0 => Err(format!("is empty; give the name of a column, 1-{MAX_COLUMN_CHARS} characters")),
        1..=MAX_COLUMN_CHARS if !text.contains('\0') => Ok(text.to_owned()),
        1..=MAX_COLUMN_CHARS => Err("contains U+0000; remove it".to_owned()),
        chars => Err(format!("has {chars} characters; a column has at most {MAX_COLUMN_CHARS}")),
    }
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The data keep the rule.
    Passed,
    /// The data break it.
    Failed,
    /// It could not be checked.
    Error,
}

named!(Outcome, "outcome of a check", { Passed => "PASSED", Failed => "FAILED", Error => "ERROR" });

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it came out.
    pub outcome: Outcome,
    /// The number that the rule looks at: rows, or rows without a value; 0 where it could not be checked.
    pub observed: u64,
    /// The same in words.
    pub message: String,
}

impl Finding {
    /// The check could not be done, for this reason.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Error, observed: 0, message: message.into() }
    }

    fn judged(holds: bool, observed: u64, message: String) -> Self {
        Self { outcome: if holds { Outcome::Passed } else { Outcome::Failed }, observed, message }
    }
}

/// Evaluates `rule` over the CSV text of a dataset, in one pass.
#[must_use]
pub fn evaluate(rule: &Rule, csv: &[u8]) -> Finding {
    match rule {
        Rule::RowCount { min } => match dataset::count_rows(csv) {
            Ok(rows) => Finding::judged(rows >= *min, rows, format!("{rows} rows; at least {min} wanted")),
            Err(fault) => Finding::error(format!("the dataset cannot be read: {fault}")),
        },
        Rule::Missing { column } => match dataset::count_missing(csv, column) {
            Ok(Ok(count)) => {
                let (missing, rows) = (count.missing, count.rows);
                let message = format!("{missing} of {rows} rows have no value in column '{column}'");
                Finding::judged(missing == 0, missing, message)
            }
            Ok(Err(header)) => Finding::error(no_such_column(column, &header)),
            Err(fault) => Finding::error(format!("the dataset cannot be read: {fault}")),
        },
    }
}

fn no_such_column(column: &str, header: &[String]) -> String {
    let shown = header.iter().take(SHOWN_COLUMNS).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match header.len().saturating_sub(SHOWN_COLUMNS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("there is no column '{column}'; the dataset has {shown}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VITALS: &[u8] = b"SUBJECT,VALUE\n1,120\n2,\n3,  \n4,\"80\"\n";

    fn missing(column: &str) -> Rule {
        Rule::Missing { column: column.into() }
    }

    #[test]
    fn rows_are_counted_without_the_header() {
        let found = evaluate(&Rule::RowCount { min: 4 }, VITALS);
        assert_eq!((found.outcome, found.observed), (Outcome::Passed, 4));
        let found = evaluate(&Rule::RowCount { min: 5 }, VITALS);
        assert_eq!((found.outcome, found.observed), (Outcome::Failed, 4));
        assert_eq!(found.message, "4 rows; at least 5 wanted");
    }

    #[test]
    fn an_empty_or_blank_field_is_missing() {
        let found = evaluate(&missing("VALUE"), VITALS);
        assert_eq!((found.outcome, found.observed), (Outcome::Failed, 2));
        assert_eq!(found.message, "2 of 4 rows have no value in column 'VALUE'");
        assert_eq!(evaluate(&missing("SUBJECT"), VITALS).outcome, Outcome::Passed);
    }

    #[test]
    fn an_unknown_column_is_an_error_that_names_those_there_are() {
        let found = evaluate(&missing("value"), VITALS);
        assert_eq!((found.outcome, found.observed), (Outcome::Error, 0));
        assert_eq!(found.message, "there is no column 'value'; the dataset has SUBJECT, VALUE");
    }

    #[test]
    fn a_rule_is_stored_under_names_that_stay() {
        let check = Check { dataset: "ae".parse().unwrap(), rule: missing("AEENDTC") };
        let text = r#"{"dataset":"ae","check":"missing","column":"AEENDTC"}"#;
        assert_eq!(serde_json::to_string(&check).unwrap(), text);
        assert_eq!(serde_json::from_str::<Check>(text).unwrap(), check);
        let count = r#"{"dataset":"ae","check":"row_count","min":3}"#;
        assert_eq!(serde_json::from_str::<Check>(count).unwrap().rule, Rule::RowCount { min: 3 });
    }

    #[test]
    fn names_of_columns_are_bounded() {
        assert!(column_name("").is_err() && column_name(&"x".repeat(201)).is_err() && column_name("a\0").is_err());
        assert_eq!(column_name("Größe"), Ok("Größe".to_owned()));
    }
}
