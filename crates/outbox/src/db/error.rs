//! Whose fault a database error is: the environment's (wait, try again, count nothing) or the statement's (the record or the program).
//! It must not decide what happens next.

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

/// Why a database could not be opened, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is neither `sqlite:PATH` nor `postgres://…`.
    #[error("database address `{shown}`: {reason}; give `sqlite:PATH` or `postgres://USER@HOST:PORT/NAME`")]
    Address {
        /// The address without its password.
        shown: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder of the SQLite file cannot be created or written.
    #[error(
        "the folder `{folder}` cannot hold the database: {source}; choose another folder or change its permissions"
    )]
    Folder {
        /// The folder.
        folder: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// It did not open.
    #[error("the database {shown} did not open: {source}; {remedy}")]
    Open {
        /// The address without its password.
        shown: String,
        /// What the driver answered.
        source: DbErr,
        /// What to do about it.
        remedy: &'static str,
    },
}

/// True for errors that say nothing about the statement: connection, pool, busy, locks, serialization, deadlock, time, disk, shutdown,
/// and a schema that is not (or not yet) ours. The caller waits and tries again, and counts no attempt.
#[must_use]
pub fn is_environment(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source)) => {
            sqlx_is_environment(source)
        }
        _ => false,
    }
}

/// True when a UNIQUE or PRIMARY KEY constraint refused the row.
#[must_use]
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}

/// An error of the environment in our own words.
#[must_use]
pub fn environment_error(what: impl Into<String>) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(what.into()))
}

fn sqlx_is_environment(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            if database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
                postgres_is_environment(&code)
            } else {
                sqlite_is_environment(&code, database.message())
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        _ => false,
    }
}

/// SQLSTATE classes: <https://www.postgresql.org/docs/18/errcodes-appendix.html>.
fn postgres_is_environment(code: &str) -> bool {
    // 08 connection, 28 authentication, 3D no such database, 40 rollback (serialization, deadlock), 53 resources (disk full), 57 operator
    // (cancel, timeout, shutdown), 58 system, F0 configuration, XX corruption.
    const CLASSES: [&str; 9] = ["08", "28", "3D", "40", "53", "57", "58", "F0", "XX"];
    // 25006 read-only (a standby), 25P03 and 25P04 idle or transaction timeout, 55P03 lock not available, 55006 in use, 42501 not granted,
    // 42P01 and 42703 table or column missing: not migrated.
    const CODES: [&str; 8] = ["25006", "25P03", "25P04", "55P03", "55006", "42501", "42P01", "42703"];
    CLASSES.iter().any(|class| code.starts_with(class)) || CODES.contains(&code)
}

/// Primary result codes: <https://sqlite.org/rescode.html>; sqlx hands out the extended ones.
fn sqlite_is_environment(code: &str, message: &str) -> bool {
    const PERM: i32 = 3;
    const CODES: [i32; 14] = [PERM, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 17, 23, 26];
    let primary = code.parse::<i32>().map_or(0, |extended| extended & 0xff);
    CODES.contains(&primary) || message.starts_with("no such table") || message.contains("has no column named")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_codes_fall_on_the_right_side() {
        for code in ["08006", "40001", "40P01", "53100", "57014", "57P01", "55P03", "25006", "42P01"] {
            assert!(postgres_is_environment(code), "{code} is the environment's");
        }
        for code in ["23505", "23503", "23514", "22P02", "42601", "22003"] {
            assert!(!postgres_is_environment(code), "{code} is the statement's");
        }
    }

    #[test]
    fn sqlite_codes_fall_on_the_right_side() {
        for code in ["5", "261", "517", "6", "13", "10", "2570", "14", "8"] {
            assert!(sqlite_is_environment(code, ""), "{code} is the environment's");
        }
        for code in ["1", "19", "1555", "2067", "787", "20", "25"] {
            assert!(!sqlite_is_environment(code, "syntax error"), "{code} is the statement's");
        }
        assert!(sqlite_is_environment("1", "no such table: outbox"));
    }

    #[test]
    fn our_own_environment_errors_count_as_such() {
        assert!(is_environment(&environment_error("the transaction took longer than 20s")));
        assert!(!is_environment(&DbErr::Custom("a rule".to_owned())));
    }
}
