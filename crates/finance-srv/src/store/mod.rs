//! The SQL of finance-srv, the same texts on both databases. It must not decide anything.

pub(crate) mod account;
pub(crate) mod fee_schedule;
pub(crate) mod journal;
pub(crate) mod payable;
pub(crate) mod view;

use std::fmt::Display;
use std::str::FromStr;

use contracts::ids::ProjectId;
use outbox::db::{self, ConnectionTrait, DbErr, QueryResult, Tx, Value};
use time::OffsetDateTime;

use crate::domain::NewPayable;

/// Payables that arise in a study.
pub(crate) type Arising<'a> = (&'a ProjectId, &'a NewPayable);

/// Writes payables that arise, and books them.
pub(crate) async fn arise(tx: &Tx, arising: &[Arising<'_>], now: OffsetDateTime) -> Result<(), DbErr> {
    payable::insert(tx, arising, now).await?;
    journal::post(tx, arising, now).await
}

/// What to write behind `study_id` to find these studies, and its values.
fn among<'a>(
    conn: &impl ConnectionTrait,
    studies: impl IntoIterator<Item = &'a &'a ProjectId>,
) -> Result<(String, Vec<Value>), DbErr> {
    db::among(db::kind_of(conn), 1, "text", studies.into_iter().map(|study| study.as_str().into()).collect())
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
