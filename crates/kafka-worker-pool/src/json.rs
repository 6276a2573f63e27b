//! JSON values by serde. What cannot be decoded is told by path, line and column; Kafka's null is told apart from everything JSON can say.

use serde::de::DeserializeOwned;

use crate::handler::BoxError;
use crate::record::Record;
use crate::typed::{Decode, Typed, TypedHandler, decode};

/// A handler of JSON values. A record whose value is null (a tombstone) or is no `T` becomes a dead letter, with the place where it fails.
///
/// ```
/// use kafka_worker_pool::{HandlerError, Message, OrFail, json};
///
/// #[derive(serde::Deserialize)]
/// struct Order { id: u64, lines: Vec<Line> }
/// #[derive(serde::Deserialize)]
/// struct Line { article: String, count: u32 }
///
/// let handler = json::<Order, _>(async |order: Message<Order>| -> Result<(), HandlerError> {
///     for line in &order.value.lines {
///         reserve(&line.article, line.count).await.or_retry()?;
///     }
///     Ok(())
/// });
/// # async fn reserve(_: &str, _: u32) -> std::io::Result<()> { Ok(()) }
/// ```
pub fn json<T: DeserializeOwned + Send + 'static, N: TypedHandler<T>>(handler: N) -> Typed<T, Json, N> {
    decode(Json, handler)
}

/// As [`json`], for topics with tombstones: a null value is `None`.
pub fn json_or_null<T, N>(handler: N) -> Typed<Option<T>, JsonOrNull, N>
where
    T: DeserializeOwned + Send + 'static,
    N: TypedHandler<Option<T>>,
{
    decode(JsonOrNull, handler)
}

/// Decodes JSON. A null value is an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

/// Decodes JSON. A null value is `None`; the JSON text `null` is what `T` makes of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonOrNull;

impl<T: DeserializeOwned> Decode<T> for Json {
    fn decode(&self, record: &Record) -> Result<T, BoxError> {
        let value = record.value.as_deref().ok_or(JsonError::Null)?;
        Ok(parse(value)?)
    }
}

impl<T: DeserializeOwned> Decode<Option<T>> for JsonOrNull {
    fn decode(&self, record: &Record) -> Result<Option<T>, BoxError> {
        Ok(record.value.as_deref().map(parse).transpose()?)
    }
}

/// Why a record is no `T`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The value is Kafka's null.
    #[error("the value is null (a tombstone), where JSON is expected; read topics with tombstones by json_or_null")]
    Null,
    /// The value is no JSON, or not of this shape.
    #[error("at {path}, line {line} column {column}: {cause}")]
    Value {
        /// Where in the value, as serde counts: `lines[2].count`; `.` is the whole.
        path: String,
        /// From 1; 0 where there is no text at all.
        line: usize,
        /// From 1; 0 before the first.
        column: usize,
        /// What was expected and what was found.
        cause: String,
    },
}

fn parse<T: DeserializeOwned>(value: &[u8]) -> Result<T, JsonError> {
    let mut text = serde_json::Deserializer::from_slice(value);
    let failed = |path: String, error: &serde_json::Error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let cause = error.to_string();
        let cause = cause.strip_suffix(&place).unwrap_or(&cause).to_owned();
        JsonError::Value { path, line: error.line(), column: error.column(), cause }
    };
    let parsed = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let path = match error.path().to_string() {
            // Where a map or a sequence ended too early serde has no name for the place.
            unknown if unknown == "?" => ".".to_owned(),
            path => path,
        };
        failed(path, error.inner())
    })?;
    text.end().map_err(|error| failed(".".to_owned(), &error))?;
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Order {
        id: u64,
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Line {
        count: u32,
    }

    fn record(value: Option<&'static str>) -> Record {
        Record { value: value.map(|text| bytes::Bytes::from_static(text.as_bytes())), ..Record::empty() }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let wrong = [
            (None, "null (a tombstone)"),
            (Some(""), "at ., line 1 column 0: EOF while parsing a value"),
            (Some("{\"id\": 7"), "at ., line 1 column 8: EOF while parsing an object"),
            (
                Some("{\"id\": 7,\n \"lines\": [{\"count\": 1}, {\"count\": -2}]}"),
                "at lines[1].count, line 2 column 37: invalid value: integer `-2`, expected u32",
            ),
            (Some("{\"id\": 7, \"lines\": []} x"), "at ., line 1 column 24: trailing characters"),
        ];
        for (value, expected) in wrong {
            let error = Decode::<Order>::decode(&Json, &record(value)).unwrap_err().to_string();
            assert!(error.contains(expected), "{value:?}: {error}");
        }
    }

    #[test]
    fn kafkas_null_and_jsons_null_are_told_apart() {
        let order = || Order { id: 7, lines: vec![Line { count: 1 }] };
        let text = Some("{\"id\": 7, \"lines\": [{\"count\": 1}]}");
        let or_null = |value| Decode::<Option<Order>>::decode(&JsonOrNull, &record(value));
        assert_eq!(Decode::<Order>::decode(&Json, &record(text)).unwrap(), order());
        assert_eq!(or_null(text).unwrap(), Some(order()));
        assert_eq!(or_null(None).unwrap(), None);
        assert!(or_null(Some("null")).is_err(), "an order is never null");
    }
}
