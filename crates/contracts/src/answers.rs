//! Answers of a response between gRPC (`google.protobuf.Struct`) and JSON, so that they can be stored and compared.

use prost_types::value::Kind;
use serde_json::{Map, Number, Value};

/// Largest whole number that a double, and so a `Struct`, holds exactly.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;
/// Deepest nesting taken.
const MAX_DEPTH: usize = 16;

/// Answers that JSON cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnswers {
    /// JSON has no number for it.
    #[error("the answer {item:?} is not a finite number")]
    NotFinite {
        /// The field with the number.
        item: String,
    },
    /// Lists and objects inside each other, too deep.
    #[error("the answer {item:?} is nested deeper than {MAX_DEPTH} levels")]
    TooDeep {
        /// The field that is too deep.
        item: String,
    },
}

/// Answers as a JSON object with sorted keys. Whole numbers are written without a fraction.
///
/// # Errors
/// Names the answer that JSON cannot hold.
pub fn to_json(answers: &prost_types::Struct) -> Result<Map<String, Value>, InvalidAnswers> {
    object(answers, MAX_DEPTH)
}

fn object(answers: &prost_types::Struct, depth: usize) -> Result<Map<String, Value>, InvalidAnswers> {
    answers.fields.iter().map(|(item, value)| Ok((item.clone(), json_value(item, value, depth)?))).collect()
}

fn json_value(item: &str, value: &prost_types::Value, depth: usize) -> Result<Value, InvalidAnswers> {
    let Some(inner_depth) = depth.checked_sub(1) else {
        return Err(InvalidAnswers::TooDeep { item: item.to_owned() });
    };
    Ok(match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(*flag),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::NumberValue(number)) => {
            Value::Number(json_number(*number).ok_or_else(|| InvalidAnswers::NotFinite { item: item.to_owned() })?)
        }
        Some(Kind::ListValue(list)) => Value::Array(
            list.values.iter().map(|value| json_value(item, value, inner_depth)).collect::<Result<_, _>>()?,
        ),
        Some(Kind::StructValue(fields)) => Value::Object(object(fields, inner_depth)?),
    })
}

fn json_number(number: f64) -> Option<Number> {
    if number.fract() == 0.0 && number.abs() <= LARGEST_EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within ±2^53: exact")]
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}

/// A JSON object as answers: the inverse of [`to_json`] for what it gives.
pub fn from_json(answers: &Map<String, Value>) -> prost_types::Struct {
    prost_types::Struct { fields: answers.iter().map(|(item, value)| (item.clone(), proto_value(value))).collect() }
}

fn proto_value(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.iter().map(proto_value).collect() })
        }
        Value::Object(fields) => Kind::StructValue(from_json(fields)),
    };
    prost_types::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(json: &str) -> prost_types::Struct {
        from_json(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn answers_come_back_as_they_were() {
        let json = r#"{"choices":["a","b"],"pain":7,"score":2.5,"sub":{"none":null,"ok":true},"text":"ä"}"#;
        let back = to_json(&answers(json)).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), json);
    }

    #[test]
    fn a_number_that_json_cannot_hold_is_named() {
        let mut broken = answers(r#"{"pain":7}"#);
        broken.fields.insert("weight".to_owned(), prost_types::Value { kind: Some(Kind::NumberValue(f64::NAN)) });
        assert_eq!(to_json(&broken).unwrap_err().to_string(), r#"the answer "weight" is not a finite number"#);
    }

    #[test]
    fn endless_nesting_is_refused() {
        let json = format!(r#"{{"a":{}1{}}}"#, "[".repeat(20), "]".repeat(20));
        assert!(matches!(to_json(&answers(&json)), Err(InvalidAnswers::TooDeep { .. })));
    }
}
