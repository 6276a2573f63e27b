//! SQL of the questionnaires, the same text on both databases. Knows tables; must not decide anything.

pub(crate) mod assignment;
pub(crate) mod campaign;
pub(crate) mod notification;
pub(crate) mod push;
pub(crate) mod response;
pub(crate) mod schedule;
pub(crate) mod subject;

use std::fmt::Display;
use std::str::FromStr;

use outbox::db::{DbErr, QueryResult};

/// Rows of one INSERT: far below the number of bind variables that either database takes.
const INSERT_CHUNK: usize = 200;

/// Reads a text column that names a state or an id.
fn parsed<T>(row: &QueryResult, column: &str) -> Result<T, DbErr>
where
    T: FromStr,
    T::Err: Display,
{
    let text: String = row.try_get("", column)?;
    text.parse().map_err(|error: T::Err| DbErr::Type(format!("column {column}: {error}")))
}
