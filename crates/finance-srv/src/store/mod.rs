//! The SQL of finance-srv, the same texts on both databases. It must not decide anything.

pub(crate) mod account;
pub(crate) mod fee_schedule;
pub(crate) mod journal;
pub(crate) mod payable;
pub(crate) mod view;

use std::fmt::Display;
use std::str::FromStr;

use contracts::ids::ProjectId;
use outbox::db::{DbErr, QueryResult, Tx, Value};
use time::OffsetDateTime;

use crate::domain::NewPayable;

/// Rows of one INSERT: far below the number of bind variables that either database takes.
const INSERT_CHUNK: usize = 200;

/// Writes payables that arise, and books them.
pub(crate) async fn arise(
    tx: &Tx,
    study: &ProjectId,
    arising: &[NewPayable],
    now: OffsetDateTime,
) -> Result<(), DbErr> {
    payable::insert(tx, study, arising, now).await?;
    journal::post(tx, study, arising, now).await
}

/// Reads a text column that names a state, an id or a currency.
fn parsed<T>(row: &QueryResult, column: &str) -> Result<T, DbErr>
where
    T: FromStr,
    T::Err: Display,
{
    let text: String = row.try_get("", column)?;
    text.parse().map_err(|error: T::Err| unreadable(column, error))
}

/// A value that this binary cannot read: written by a newer version, or by hand.
fn unreadable(column: &str, error: impl Display) -> DbErr {
    DbErr::Type(format!("column {column}: {error}"))
}

/// LIMIT as both drivers bind it; page sizes are far below the range.
fn sql_limit(limit: u64) -> Value {
    i64::try_from(limit).unwrap_or(i64::MAX).into()
}
