//! Transactions that outlive their caller: a BEGIN, UPDATE or COMMIT that is dropped midway would poison the pooled connection, and gRPC
//! drops its handlers when clients hang up. It must not retry: who calls decides that.

use std::{cell::Cell, future::Future, pin::Pin, time::Duration};

use sea_orm::{DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait};

use super::{Database, Kind, environment_error};

/// What a transaction's body returns: `Box::pin(async move { … })`.
pub type TxFuture<'t, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 't>>;

tokio::task_local! {
    /// Whether the running transaction appended to the outbox, so that its commit wakes the relay.
    static APPENDED: Cell<bool>;
}

/// Tells the transaction around us that it has something for the relay. Outside [`Database::transaction`] the relay's poll finds it.
pub(crate) fn appended() {
    // Only absent outside `Database::transaction`, where nobody would read it.
    let _ = APPENDED.try_with(|flag| flag.set(true));
}

impl Database {
    /// Runs `body` in a transaction of its own task: commits when it returns Ok, rolls back when it returns an error, runs out of time or
    /// panics (the panic goes on in the caller). Dropping the returned future abandons the answer, not the transaction.
    ///
    /// On SQLite it begins IMMEDIATE on the one writing connection; on PostgreSQL it is READ COMMITTED: lock rows first, then read.
    /// An error during COMMIT leaves the outcome unknown and counts as the environment's.
    ///
    /// # Errors
    /// The body's error, or the database's through `E: From<DbErr>`; [`super::is_environment`] tells which of those may be tried again.
    pub async fn transaction<T, E, F>(&self, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbErr> + Send + 'static,
        F: for<'t> FnOnce(&'t DatabaseTransaction) -> TxFuture<'t, T, E> + Send + 'static,
    {
        self.transaction_within(self.inner.transaction_timeout, body).await
    }

    /// The same with its own limit.
    pub(crate) async fn transaction_within<T, E, F>(&self, limit: Duration, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbErr> + Send + 'static,
        F: for<'t> FnOnce(&'t DatabaseTransaction) -> TxFuture<'t, T, E> + Send + 'static,
    {
        let database = self.clone();
        match tokio::spawn(async move { APPENDED.scope(Cell::new(false), run(&database, limit, body)).await }).await {
            Ok(outcome) => outcome,
            Err(join) => match join.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => {
                    Err(environment_error("the transaction ended with the runtime, its outcome is unknown").into())
                }
            },
        }
    }
}

async fn run<T, E, F>(database: &Database, limit: Duration, body: F) -> Result<T, E>
where
    E: From<DbErr>,
    F: for<'t> FnOnce(&'t DatabaseTransaction) -> TxFuture<'t, T, E>,
{
    let mode = match database.kind() {
        Kind::Sqlite => Some(SqliteTransactionMode::Immediate),
        Kind::Postgres => None,
    };
    let options = TransactionOptions { sqlite_transaction_mode: mode, ..TransactionOptions::default() };
    let begun = tokio::time::timeout(limit, database.inner.writer.begin_with_options(options)).await;
    let begun = begun.unwrap_or_else(|_| Err(environment_error(format!("no transaction began within {limit:?}"))));
    let tx = begun.map_err(E::from)?;
    let outcome = match tokio::time::timeout(limit, body(&tx)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Err(environment_error(format!("a transaction took longer than {limit:?} and was rolled back")).into())
        }
    };
    match outcome {
        Ok(answer) => {
            let committed = tokio::time::timeout(limit, tx.commit()).await;
            let committed =
                committed.unwrap_or_else(|_| Err(environment_error(format!("no answer to COMMIT within {limit:?}"))));
            committed.map_err(|error| E::from(commit_error(error)))?;
            if APPENDED.with(Cell::get) {
                database.wake_relay();
            }
            Ok(answer)
        }
        Err(error) => {
            match tokio::time::timeout(limit, tx.rollback()).await {
                Ok(Ok(())) => {}
                Ok(Err(rollback)) => {
                    tracing::warn!(error = %rollback, "a rollback failed; the server rolls back when the connection ends");
                }
                Err(_) => tracing::warn!(
                    "a rollback was not answered within {limit:?}; the server rolls back when the connection ends"
                ),
            }
            Err(error)
        }
    }
}

/// A COMMIT that the database refused with a rule (a deferred constraint) keeps its meaning; anything else may or may not have committed.
fn commit_error(error: DbErr) -> DbErr {
    if super::is_environment(&error) || error.sql_err().is_some() {
        error
    } else {
        environment_error(format!("COMMIT failed, its outcome is unknown: {error}"))
    }
}
