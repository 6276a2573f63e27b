//! The body of POST /check: what it must look like. Pure; every problem is collected before any is reported.

use contracts::ids::{DatasetName, ProjectId};
use serde_json::{Map, Value};
use service_kit::status::{ApiError, FieldViolations};

use crate::domain::check::{self, Check, Rule};

/// Checks of one study.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) study: ProjectId,
    pub(super) checks: Vec<Check>,
}

/// A body that cannot be asked.
#[derive(Debug)]
pub(super) enum Wrong {
    /// More checks than are ever taken at once.
    TooMany { count: usize },
    /// Anything else.
    Invalid(ApiError),
}

const FIELDS: [&str; 3] = ["study", "dataset", "checks"];

/// Reads a body; at most `limit` checks.
pub(super) fn read(body: &[u8], limit: usize) -> Result<Question, Wrong> {
    let object = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return Err(Wrong::Invalid(ApiError::invalid("body", "is not a JSON object"))),
        Err(error) => return Err(Wrong::Invalid(ApiError::invalid("body", format!("is not JSON: {error}")))),
    };
    let given = object.get("checks").and_then(Value::as_array);
    if let Some(given) = given
        && given.len() > limit
    {
        return Err(Wrong::TooMany { count: given.len() });
    }
    let mut violations = FieldViolations::new();
    no_others(&object, "", &FIELDS, &mut violations);
    let study = text(&object, "study", "study", &mut violations);
    let study = study.and_then(|study| violations.check("study", study.parse::<ProjectId>()));
    let dataset = text(&object, "dataset", "dataset", &mut violations);
    let dataset = dataset.and_then(|name| violations.check("dataset", name.parse::<DatasetName>()));
    let mut rules = Vec::new();
    match given {
        Some(given) if !given.is_empty() => {
            for (index, value) in given.iter().enumerate() {
                rules.extend(rule(value, &format!("checks[{index}]"), &mut violations));
            }
        }
        _ => violations.add("checks", r#"must be a list of 1 or more, each like {"check":"row_count","min":1}"#),
    }
    match (study, dataset) {
        (Some(study), Some(dataset)) if violations.is_empty() => {
            let checks = rules.into_iter().map(|rule| Check { dataset: dataset.clone(), rule }).collect();
            Ok(Question { study, checks })
        }
        _ => Err(Wrong::Invalid(violations.into())),
    }
}

fn rule(value: &Value, place: &str, violations: &mut FieldViolations) -> Option<Rule> {
    let Some(object) = value.as_object() else {
        violations.add(place, r#"is not an object like {"check":"row_count","min":1}"#);
        return None;
    };
    let field = |name: &str| format!("{place}.{name}");
    match text(object, "check", &field("check"), violations)? {
        "row_count" => {
            no_others(object, place, &["check", "min"], violations);
            let min = match object.get("min") {
                None | Some(Value::Null) => Some(Rule::DEFAULT_MIN_ROWS),
                Some(min) => min.as_u64().filter(|min| i64::try_from(*min).is_ok()),
            };
            if min.is_none() {
                violations.add(field("min"), "is not a whole number of 0 or more");
            }
            Some(Rule::RowCount { min: min? })
        }
        "missing" => {
            no_others(object, place, &["check", "column"], violations);
            let column = text(object, "column", &field("column"), violations)?;
            let column = check::column_name(column).map_err(|wrong| violations.add(field("column"), wrong)).ok()?;
            Some(Rule::Missing { column })
        }
        other => {
            violations.add(field("check"), format!(r#"{other:?} is not a check; there are "row_count" and "missing""#));
            None
        }
    }
}

fn text<'a>(
    object: &'a Map<String, Value>,
    name: &str,
    field: &str,
    violations: &mut FieldViolations,
) -> Option<&'a str> {
    match object.get(name) {
        Some(Value::String(text)) => return Some(text),
        Some(_) => violations.add(field, "is not a text"),
        None => violations.add(field, "is missing"),
    }
    None
}

/// A name that is not understood is a mistake, not a wish that may be passed over.
fn no_others(object: &Map<String, Value>, place: &str, known: &[&str], violations: &mut FieldViolations) {
    for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
        let field = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
        violations.add(field, format!("is not known; there are {}", known.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Vec<String> {
        match read(body.as_bytes(), 100) {
            Err(Wrong::Invalid(ApiError::Invalid(violations))) => {
                violations.iter().map(|(field, _)| field.to_owned()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_question_is_read_as_it_was_written() {
        let body = r#"{"study":"P-1","dataset":"ae","checks":[{"check":"row_count"},{"check":"row_count","min":7},
            {"check":"missing","column":"AEENDTC"}]}"#;
        let question = read(body.as_bytes(), 3).unwrap();
        let rules: Vec<Rule> = question.checks.into_iter().map(|check| check.rule).collect();
        let missing = Rule::Missing { column: "AEENDTC".into() };
        assert_eq!(rules, [Rule::RowCount { min: 1 }, Rule::RowCount { min: 7 }, missing]);
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let body = r#"{"study":7,"checks":[{"check":"row_count","min":-1,"max":2},{"check":"magic"},3,{"check":"missing"},{}],
            "more":1}"#;
        let expected = [
            "more",
            "study",
            "dataset",
            "checks[0].max",
            "checks[0].min",
            "checks[1].check",
            "checks[2]",
            "checks[3].column",
            "checks[4].check",
        ];
        assert_eq!(fields(body), expected);
    }

    #[test]
    fn bodies_that_are_no_question() {
        assert_eq!(fields("{"), ["body"]);
        assert_eq!(fields("[]"), ["body"]);
        assert_eq!(fields(r#"{"study":"P-1","dataset":"ae","checks":[]}"#), ["checks"]);
        assert_eq!(fields(r#"{"study":"P 1","dataset":"ae","checks":{}}"#), ["study", "checks"]);
    }

    #[test]
    fn more_checks_than_ever_fit_are_too_many_whatever_they_are() {
        let body = format!(r#"{{"checks":[{}]}}"#, vec!["1"; 101].join(","));
        assert!(matches!(read(body.as_bytes(), 100), Err(Wrong::TooMany { count: 101 })));
    }
}
