//! Opening: pools, pragmas, session settings, and errors that name the remedy. It must not know any table.

use std::{path::Path, str::FromStr, time::Duration};

use sea_orm::{
    DatabaseConnection, DbErr, RuntimeErr, SqlxPostgresConnector, SqlxSqliteConnector,
    sqlx::{
        self, ConnectOptions as _, Connection as _,
        postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
    },
};

use super::{ConnectError, Kind, Options, environment_error};

/// A pooled PostgreSQL connection that idled longer is asked whether it still lives before it is handed out.
const PING_AFTER_IDLE: Duration = Duration::from_secs(2);

/// Each connection to SQLite is a thread with a page cache of its own.
const SQLITE_READERS: u32 = 4;

pub(super) struct Opened {
    pub(super) kind: Kind,
    pub(super) writer: DatabaseConnection,
    pub(super) reader: DatabaseConnection,
    pub(super) shown: String,
}

pub(super) async fn open(url: &str, options: &Options) -> Result<Opened, ConnectError> {
    if url.starts_with("sqlite:") {
        open_sqlite(url, options).await
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        open_postgres(url, options).await
    } else {
        let scheme = url.split(':').next().unwrap_or_default();
        Err(ConnectError::Address { shown: format!("{scheme}:…"), reason: "unknown kind of database".to_owned() })
    }
}

async fn open_sqlite(url: &str, options: &Options) -> Result<Opened, ConnectError> {
    let shown = url.to_owned();
    let address = |reason: &str| ConnectError::Address { shown: shown.clone(), reason: reason.to_owned() };
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(address("a database in memory would not survive its connection"));
    }
    let parsed = SqliteConnectOptions::from_str(url).map_err(|error| address(&error.to_string()))?;
    let file = parsed.get_filename().to_path_buf();
    if file.as_os_str().is_empty() {
        return Err(address("the path of the file is missing"));
    }
    make_folder(&file)?;
    let settings = parsed
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(options.lock_timeout)
        .foreign_keys(true)
        .disable_statement_logging();
    let remedy = "check that the path is a SQLite file you may read and write, on a local disk";
    let broken = |source: DbErr| ConnectError::Open { shown: shown.clone(), source, remedy };

    let pool = || {
        SqlitePoolOptions::new()
            .acquire_timeout(options.acquire_timeout)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
    };
    let writer =
        within(options.connect_timeout, pool().min_connections(1).max_connections(1).connect_with(settings.clone()))
            .await
            .map_err(broken)?;
    // The folder may be writable while the file is not: only a write lock shows it.
    within(options.connect_timeout, sqlx::query("BEGIN IMMEDIATE; ROLLBACK").execute(&writer)).await.map_err(broken)?;
    let reader = within(
        options.connect_timeout,
        pool()
            .max_connections(options.max_connections.clamp(1, SQLITE_READERS))
            .connect_with(settings.pragma("query_only", "1")),
    )
    .await
    .map_err(broken)?;
    Ok(Opened {
        kind: Kind::Sqlite,
        writer: SqlxSqliteConnector::from_sqlx_sqlite_pool(writer),
        reader: SqlxSqliteConnector::from_sqlx_sqlite_pool(reader),
        shown,
    })
}

fn make_folder(file: &Path) -> Result<(), ConnectError> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(folder)
        .map_err(|source| ConnectError::Folder { folder: folder.display().to_string(), source })
}

/// How PostgreSQL plans our statements, which are short and find their rows by an index. A statement is planned while its tables are new and
/// seem empty, and that plan stays until statistics are taken: without these it would read whole tables that have grown meanwhile.
pub const PLANS: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];

async fn open_postgres(url: &str, options: &Options) -> Result<Opened, ConnectError> {
    let shown = without_password(url);
    let parsed = PgConnectOptions::from_str(url)
        .map_err(|error| ConnectError::Address { shown: shown.clone(), reason: error.to_string() })?;
    let millis = |timeout: Duration| timeout.as_millis().to_string();
    let settings = parsed
        .application_name(&options.application_name)
        .options([
            ("statement_timeout", millis(options.statement_timeout)),
            ("lock_timeout", millis(options.lock_timeout)),
            ("idle_in_transaction_session_timeout", millis(options.transaction_timeout * 2)),
            ("timezone", "UTC".to_owned()),
            ("default_transaction_isolation", "read committed".to_owned()),
        ])
        .options(PLANS)
        .disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(options.max_connections.max(2))
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for >= PING_AFTER_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        });
    // A pool tries a refused connection again until its time is over, and then says that the time is over.
    let first = tokio::time::timeout(options.connect_timeout, PgConnection::connect_with(&settings)).await;
    if let Ok(first) = first {
        let closed = match first {
            Ok(connection) => within(options.connect_timeout, connection.close()).await,
            // It starts up: worth the pool's patience.
            Err(source) if code_of(&source) == CANNOT_CONNECT_NOW => Ok(()),
            Err(source) => {
                let remedy = postgres_remedy(&source);
                return Err(ConnectError::Open { shown, source: connection_error(source), remedy });
            }
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "the first connection did not close cleanly");
        }
    }
    let pool = within(options.connect_timeout, pool.connect_with(settings))
        .await
        .map_err(|source| ConnectError::Open { shown: shown.clone(), source, remedy: POSTGRES_REMEDY })?;
    let connection = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
    Ok(Opened { kind: Kind::Postgres, writer: connection.clone(), reader: connection, shown })
}

async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, DbErr> {
    match tokio::time::timeout(deadline, work).await {
        Ok(outcome) => outcome.map_err(connection_error),
        Err(_) => Err(environment_error(format!("no answer within {deadline:?}"))),
    }
}

fn connection_error(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

const POSTGRES_REMEDY: &str = "check that PostgreSQL runs at this address and that role, password and database exist";

/// SQLSTATE of a server that starts up or shuts down.
const CANNOT_CONNECT_NOW: &str = "57P03";

fn code_of(error: &sqlx::Error) -> std::borrow::Cow<'_, str> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default()
}

fn postgres_remedy(error: &sqlx::Error) -> &'static str {
    match (code_of(error).as_ref(), error) {
        ("3D000", _) => "create the database, or name one that exists",
        ("28000" | "28P01", _) => "check the role and its password, and that pg_hba.conf lets it in from here",
        ("53300", _) => "raise the server's max_connections, or take fewer connections",
        (_, sqlx::Error::Io(_)) => "check that PostgreSQL runs at this address and can be reached from here",
        _ => POSTGRES_REMEDY,
    }
}

/// The address as people may see it.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, tail) = rest.split_once('/').map_or((rest, ""), |(authority, tail)| (authority, tail));
    let tail = tail.split('?').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, host)) => format!("{scheme}://{}@{host}/{tail}", user.split(':').next().unwrap_or_default()),
        None => format!("{scheme}://{authority}/{tail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(
            without_password("postgres://epro:se:c@ret@db:5432/epro?password=x"),
            "postgres://epro@db:5432/epro"
        );
        assert_eq!(without_password("postgres://db/epro"), "postgres://db/epro");
    }
}
