//! Whether answers fit an instrument. Pure.

use serde_json::{Map, Value};

use super::Violation;
use super::schedule::{Instrument, Item, ItemKind};

/// Answers by item id.
pub type Answers = Map<String, Value>;

/// Longest text taken as an answer, in characters.
pub const MAX_TEXT_CHARS: usize = 10_000;

/// Largest answers taken, in bytes of JSON.
pub const MAX_ANSWERS_BYTES: usize = 256 * 1024;

/// Everything that is wrong with `answers` for `instrument`; empty when they fit. An instrument without items takes any answers.
/// `null` counts as no answer.
#[must_use]
pub fn check(instrument: &Instrument, answers: &Answers) -> Vec<Violation> {
    let mut violations: Vec<Violation> = answers
        .iter()
        .filter(|(id, answer)| id.contains('\0') || holds_nul(answer))
        .map(|(id, _)| violation(id, "must not contain the character U+0000"))
        .collect();
    if instrument.items.is_empty() {
        return violations;
    }
    for item in &instrument.items {
        match answers.get(item.id.as_str()) {
            None | Some(Value::Null) => {
                if item.required {
                    violations.push(violation(&item.id, "this answer is required"));
                }
            }
            Some(answer) => {
                if let Err(why) = check_item(item, answer) {
                    violations.push(violation(&item.id, &why));
                }
            }
        }
    }
    for id in answers.keys() {
        if !instrument.items.iter().any(|item| item.id == *id) {
            let why = format!("instrument {} has no such item", instrument.id);
            violations.push(violation(id, &why));
        }
    }
    violations
}

fn violation(item_id: &str, why: &str) -> Violation {
    Violation::new(format!("answers.{item_id}"), why)
}

fn check_item(item: &Item, answer: &Value) -> Result<(), String> {
    match (&item.kind, answer) {
        (ItemKind::Any, _) | (ItemKind::Boolean, Value::Bool(_)) => Ok(()),
        (ItemKind::Number { minimum, maximum }, Value::Number(number)) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            match (minimum, maximum) {
                (Some(least), _) if number.is_nan() || number < *least => {
                    Err(format!("{number} is below the least value {least}"))
                }
                (_, Some(most)) if number.is_nan() || number > *most => {
                    Err(format!("{number} is above the greatest value {most}"))
                }
                _ => Ok(()),
            }
        }
        (ItemKind::Text, Value::String(text)) => {
            let chars = text.chars().count();
            if chars > MAX_TEXT_CHARS {
                return Err(format!("{chars} characters; at most {MAX_TEXT_CHARS} are taken"));
            }
            Ok(())
        }
        (ItemKind::Choice { choices }, Value::String(text)) => {
            if choices.contains(text) {
                return Ok(());
            }
            Err(format!("{text:?} is not a choice; choose one of {choices:?}"))
        }
        (kind, other) => Err(format!("{} where {} is expected", shape(other), kind.expected())),
    }
}

/// JSON may hold the character, PostgreSQL's jsonb may not.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn instrument() -> Instrument {
        let item = |id: &str, kind, required| Item { id: id.to_owned(), prompt: id.to_owned(), required, kind };
        Instrument {
            id: "diary".to_owned(),
            version: "1.0".to_owned(),
            name: "Diary".to_owned(),
            items: vec![
                item("pain", ItemKind::Number { minimum: Some(0.0), maximum: Some(10.0) }, true),
                item("mood", ItemKind::Choice { choices: vec!["good".to_owned(), "bad".to_owned()] }, false),
                item("slept", ItemKind::Boolean, false),
                item("note", ItemKind::Text, false),
                item("raw", ItemKind::Any, false),
            ],
        }
    }

    #[track_caller]
    fn expect(answers: Value, fields: &[&str]) {
        let Value::Object(answers) = answers else { panic!("answers are an object") };
        let found: Vec<String> = check(&instrument(), &answers).into_iter().map(|violation| violation.field).collect();
        assert_eq!(found, fields);
    }

    #[test]
    fn answers_that_fit_are_taken() {
        expect(json!({"pain": 0, "mood": "bad", "slept": true, "note": "ok", "raw": [1, {}]}), &[]);
        expect(json!({"pain": 10}), &[]);
        expect(json!({"pain": 3.5, "mood": null}), &[]);
    }

    #[test]
    fn every_violation_is_named_at_once() {
        expect(
            json!({"pain": 11, "mood": "fine", "slept": "yes", "note": 1, "colour": "red"}),
            &["answers.pain", "answers.mood", "answers.slept", "answers.note", "answers.colour"],
        );
    }

    #[test]
    fn a_required_answer_must_be_there() {
        expect(json!({}), &["answers.pain"]);
        expect(json!({"pain": null}), &["answers.pain"]);
        expect(json!({"pain": -0.5}), &["answers.pain"]);
    }

    #[test]
    fn a_text_is_bounded() {
        expect(json!({"pain": 1, "note": "é".repeat(MAX_TEXT_CHARS)}), &[]);
        expect(json!({"pain": 1, "note": "é".repeat(MAX_TEXT_CHARS + 1)}), &["answers.note"]);
    }

    #[test]
    fn what_a_database_cannot_hold_is_refused_wherever_it_stands() {
        expect(json!({"pain": 1, "raw": [{"a": "\0"}]}), &["answers.raw"]);
        expect(json!({"pain": 1, "raw": {"\0": 1}}), &["answers.raw"]);
    }

    #[test]
    fn an_instrument_without_items_takes_anything() {
        let Value::Object(answers) = json!({"whatever": [1, 2]}) else { unreachable!() };
        let bare = Instrument { items: Vec::new(), ..instrument() };
        assert_eq!(check(&bare, &answers), []);
    }
}
