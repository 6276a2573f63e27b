//! The SQL of monitor-srv, the same texts on both databases. It must not decide anything.

pub(crate) mod claim;
pub(crate) mod dataset;
pub(crate) mod monitoring;
pub(crate) mod plan;
pub(crate) mod run;

use std::fmt::Display;
use std::str::FromStr;

use outbox::db::{DbErr, QueryResult, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads a text column that names a state or an id.
fn parsed<T>(row: &QueryResult, column: &str) -> Result<T, DbErr>
where
    T: FromStr,
    T::Err: Display,
{
    let text: String = row.try_get("", column)?;
    text.parse().map_err(|error: T::Err| unreadable(column, error))
}

/// Reads a column that counts something.
fn count(row: &QueryResult, column: &str) -> Result<u64, DbErr> {
    let number: i64 = row.try_get("", column)?;
    u64::try_from(number).map_err(|error| unreadable(column, error))
}

/// A count as both drivers bind it; what we count stays far below the range.
fn number(count: u64) -> Value {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}

fn to_json(value: &impl Serialize) -> Result<Value, DbErr> {
    serde_json::to_value(value).map(Value::from).map_err(|error| DbErr::Json(error.to_string()))
}

fn from_json<T: DeserializeOwned>(row: &QueryResult, column: &str) -> Result<T, DbErr> {
    serde_json::from_value(row.try_get("", column)?).map_err(|error| unreadable(column, error))
}

/// A row that this binary cannot read: written by a newer version, or by hand.
fn unreadable(column: &str, error: impl Display) -> DbErr {
    DbErr::Type(format!("column {column}: {error}"))
}
