//! SQL texts with `$1` placeholders that both databases take, and values that read back as they were written.
//! It must not know any table.

use std::{fmt::Write as _, time::Duration};

use super::environment_error;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, Value};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// Where instants are text: a fixed width makes their order the order in time. RFC 3339 lets the fraction vary, which does not.
const INSTANT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// The clock at the precision both databases keep (microseconds, UTC): what is written is what is read back.
#[must_use]
pub fn now() -> OffsetDateTime {
    microseconds(OffsetDateTime::now_utc())
}

fn microseconds(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(at.microsecond() * 1_000).unwrap_or(at)
}

/// Runs a statement and returns how many rows it changed.
///
/// # Errors
/// The database's.
pub async fn exec<C: ConnectionTrait>(
    conn: &C,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<u64, DbErr> {
    Ok(answered(conn.execute_raw(statement(conn, sql, values))).await?.rows_affected())
}

/// All rows of a query. Read a column with `row.try_get::<T>("", "name")`.
///
/// # Errors
/// The database's.
pub async fn query_all<C: ConnectionTrait>(
    conn: &C,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<QueryResult>, DbErr> {
    answered(conn.query_all_raw(statement(conn, sql, values))).await
}

/// The first row of a query, if there is one.
///
/// # Errors
/// The database's.
pub async fn query_one<C: ConnectionTrait>(
    conn: &C,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<QueryResult>, DbErr> {
    answered(conn.query_one_raw(statement(conn, sql, values))).await
}

/// The server ends statements by its own timeouts; this ends the wait for a server that is gone without a word.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

async fn answered<T>(statement: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    match tokio::time::timeout(ANSWER_WITHIN, statement).await {
        Ok(outcome) => outcome,
        Err(_) => Err(environment_error(format!("the database did not answer within {ANSWER_WITHIN:?}"))),
    }
}

/// `$first,$first+1,…`: the inside of an `IN (…)` list.
#[must_use]
pub fn list(first: usize, count: usize) -> String {
    let mut text = String::with_capacity(count * 5);
    for at in first..first + count {
        let separator = if at == first { "" } else { "," };
        let _ = write!(text, "{separator}${at}");
    }
    text
}

/// `($1,$2),($3,$4),…`: the VALUES of `count` rows of `columns` columns.
#[must_use]
pub fn rows(columns: usize, count: usize) -> String {
    let mut text = String::with_capacity(count * (columns * 5 + 3));
    for row in 0..count {
        let separator = if row == 0 { "(" } else { ",(" };
        let _ = write!(text, "{separator}{})", list(row * columns + 1, columns));
    }
    text
}

/// A JSON column as bytes, for callers that hold encoded JSON.
///
/// # Errors
/// When the bytes are not JSON.
pub fn json_bytes(bytes: &[u8]) -> Result<Value, DbErr> {
    serde_json::from_slice::<serde_json::Value>(bytes).map(Value::from).map_err(|error| DbErr::Json(error.to_string()))
}

fn statement<C: ConnectionTrait>(conn: &C, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    let backend = conn.get_database_backend();
    Statement::from_sql_and_values(backend, sql, values.into_iter().map(|value| portable(backend, value)))
}

fn portable(backend: DbBackend, value: Value) -> Value {
    match (backend, value) {
        (DbBackend::Sqlite, Value::TimeDateTimeWithTimeZone(at)) => Value::String(at.map(instant)),
        (_, Value::TimeDateTimeWithTimeZone(Some(at))) => Value::TimeDateTimeWithTimeZone(Some(microseconds(at))),
        (_, other) => other,
    }
}

pub(super) fn instant(at: OffsetDateTime) -> String {
    let utc = at.to_offset(time::UtcOffset::UTC);
    // Formatting these components into a String fails only for years outside 0..=9999, which the type cannot hold here.
    utc.format(INSTANT).unwrap_or_else(|_| utc.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn placeholders_count_on_from_the_first() {
        assert_eq!(list(3, 3), "$3,$4,$5");
        assert_eq!(rows(2, 2), "($1,$2),($3,$4)");
        assert_eq!(list(1, 0), "");
    }

    #[test]
    fn sqlite_instants_sort_as_text() {
        let early = instant(datetime!(2026-03-01 10:00:00 UTC));
        let late = instant(datetime!(2026-03-01 11:00:00.5 +1));
        assert_eq!(early, "2026-03-01T10:00:00.000000Z");
        assert!(early < late, "{early} must sort before {late}");
    }
}
