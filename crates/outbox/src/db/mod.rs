//! One database behind one code path: PostgreSQL where it matters, a SQLite file as the embedded default. It knows connections,
//! transactions, SQL texts and the class of an error; it must not know any table.

mod connect;
mod error;
mod locked;
mod many;
mod sql;
mod transaction;

use std::{sync::Arc, time::Duration};

use sea_orm::{DatabaseConnection, DbBackend};
use tokio::sync::Notify;

pub use connect::PLANS;
pub use error::{ConnectError, environment_error, is_environment, is_unique_violation};
pub use locked::Lockable;
pub(crate) use many::present;
pub use many::{Column, Writes, among, insert};
pub use sea_orm::{ConnectionTrait, DatabaseTransaction as Tx, DbErr, QueryResult, Value};
pub use sql::{exec, json_bytes, list, now, query_all, query_one, rows};
pub use transaction::TxFuture;
pub(crate) use transaction::appended;

/// The two databases the platform runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file in WAL mode, written through one connection per process.
    Sqlite,
    /// PostgreSQL 15 or later.
    Postgres,
}

/// How long a wait on the database may last, and how many connections it may take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Connections of the PostgreSQL pool (SQLite: readers, four at most; the writer is always one).
    pub max_connections: u32,
    /// Opening the first connection.
    pub connect_timeout: Duration,
    /// Waiting for a pooled connection; on SQLite also for this process's other transactions.
    pub acquire_timeout: Duration,
    /// One statement (PostgreSQL `statement_timeout`).
    pub statement_timeout: Duration,
    /// A row or table lock on PostgreSQL, another process's transaction on SQLite.
    pub lock_timeout: Duration,
    /// A whole transaction, from BEGIN to COMMIT. Keep it below the timeout of whoever retries it.
    pub transaction_timeout: Duration,
    /// What PostgreSQL shows for our sessions.
    pub application_name: String,
    /// Is told each statement after it ran.
    pub observer: Option<Observer>,
}

/// Is told statements with their values, to measure or to repeat what a piece of code does.
#[derive(Clone)]
pub struct Observer(Arc<Tell>);

type Tell = dyn Fn(&str, &[Value]) + Send + Sync;

impl Observer {
    /// One that calls `tell`, which must not wait.
    pub fn new(tell: impl Fn(&str, &[Value]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Listens to a connection and the transactions on it.
    fn listen(&self, connection: &mut DatabaseConnection) {
        let Self(tell) = self.clone();
        connection.set_metric_callback(move |ran| {
            tell(&ran.statement.sql, ran.statement.values.as_ref().map_or(&[], |values| &values.0));
        });
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 16,
            connect_timeout: Duration::from_secs(10),
            acquire_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(5),
            transaction_timeout: Duration::from_secs(20),
            application_name: "ctms".to_owned(),
            observer: None,
        }
    }
}

/// An open database. Clones share its pools.
#[derive(Clone, Debug)]
pub struct Database {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    appended: Notify,
    transaction_timeout: Duration,
    shown: String,
}

impl Database {
    /// Opens `sqlite:PATH` (creating folder and file) or `postgres://…`, and proves with a query that it answers.
    ///
    /// # Errors
    /// What is wrong with the address, the folder or the server, in one sentence with the remedy.
    pub async fn connect(url: &str, options: &Options) -> Result<Self, ConnectError> {
        let mut opened = connect::open(url, options).await?;
        if let Some(observer) = &options.observer {
            observer.listen(&mut opened.writer);
            observer.listen(&mut opened.reader);
        }
        Ok(Self {
            inner: Arc::new(Inner {
                kind: opened.kind,
                writer: opened.writer,
                reader: opened.reader,
                appended: Notify::new(),
                transaction_timeout: options.transaction_timeout,
                shown: opened.shown,
            }),
        })
    }

    /// Which of the two it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// The address without its password, for logs and messages.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.inner.shown
    }

    /// For reads outside a transaction. On SQLite it refuses writes.
    #[must_use]
    pub fn reader(&self) -> &DatabaseConnection {
        &self.inner.reader
    }

    /// For a single autocommitted write. On SQLite this is the one writing connection, shared with the transactions.
    #[must_use]
    pub fn writer(&self) -> &DatabaseConnection {
        &self.inner.writer
    }

    /// How long a whole transaction may last.
    pub(crate) fn transaction_timeout(&self) -> Duration {
        self.inner.transaction_timeout
    }

    /// Wakes this database's relay now. Transactions that called [`crate::append`] do it by themselves after their commit.
    pub fn wake_relay(&self) {
        self.inner.appended.notify_one();
    }

    /// Resolves at the next wake, or at once when one was missed.
    pub(crate) async fn woken(&self) {
        self.inner.appended.notified().await;
    }

    /// Whether the database answers within `deadline`.
    ///
    /// # Errors
    /// An error of the environment that says what did not answer.
    pub async fn ping(&self, deadline: Duration) -> Result<(), DbErr> {
        match tokio::time::timeout(deadline, self.inner.reader.ping()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(environment_error(format!("{} did not answer within {deadline:?}", self.inner.shown))),
        }
    }

    /// Closes every connection; transactions in flight finish first. Call it last.
    pub async fn close(&self) {
        for (which, connection) in [("reader", &self.inner.reader), ("writer", &self.inner.writer)] {
            if let Err(error) = connection.clone().close().await {
                tracing::warn!(%error, which, "the database connection did not close cleanly");
            }
        }
    }
}

/// The kind of the database that a connection or transaction belongs to.
pub fn kind_of<C: ConnectionTrait>(conn: &C) -> Kind {
    match conn.get_database_backend() {
        DbBackend::Postgres => Kind::Postgres,
        _ => Kind::Sqlite,
    }
}

/// What to put behind a SELECT that must lock its rows: SQLite's transactions hold the only write lock already.
#[must_use]
pub fn lock_suffix(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => " FOR UPDATE",
        Kind::Sqlite => "",
    }
}
