//! Arm: a loop that sends recorded transactions over plain sqlx, as many at once as the service has.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use outbox::db::{self, Value};
use sea_orm::sqlx::{
    self, AssertSqlSafe, Connection as _, Executor as _,
    postgres::{PgConnectOptions, PgConnection},
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous},
};
use sea_query_sqlx::SqlxValues;
use tokio::task::JoinSet;

use super::{
    events,
    prepare::{Place, Store},
    record::{Recorded, Transaction},
    service::Reacting,
};

/// As the services wait for a lock on SQLite.
const BUSY: Duration = Duration::from_secs(5);

/// Sends everything; returns the events per second.
pub(super) async fn replay(service: Reacting, place: &Place<'_>, events: u32, recorded: Recorded) -> Result<f64> {
    let url = place.prepared(service, events).await?;
    let mut lanes = JoinSet::new();
    let began = Instant::now();
    for transactions in recorded.lanes {
        let (url, store) = (url.clone(), place.store);
        lanes.spawn(async move {
            match store {
                Store::Postgres => postgres(&url, transactions).await,
                Store::Sqlite => sqlite(&url, transactions).await,
            }
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane.context("a lane panicked")??;
    }
    Ok(f64::from(events / events::OF_A_STUDY * events::OF_A_STUDY) / began.elapsed().as_secs_f64())
}

fn arguments(values: Vec<Value>) -> SqlxValues {
    SqlxValues(sea_orm::sea_query::Values(values))
}

async fn postgres(url: &str, transactions: Vec<Transaction>) -> Result<()> {
    let options: PgConnectOptions = url.parse().context("the database's URL")?;
    let mut connection = PgConnection::connect_with(&options.options(db::PLANS)).await.context("cannot connect")?;
    for transaction in transactions {
        connection.execute("BEGIN").await?;
        for (sql, values) in transaction {
            let query = sqlx::query_with(AssertSqlSafe(sql.to_string()), arguments(values));
            query.fetch_all(&mut connection).await.with_context(|| format!("{sql}"))?;
        }
        connection.execute("COMMIT").await?;
    }
    Ok(connection.close().await?)
}

async fn sqlite(url: &str, transactions: Vec<Transaction>) -> Result<()> {
    let options: SqliteConnectOptions = url.parse().context("the database's URL")?;
    let options = options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY);
    let mut connection = SqliteConnection::connect_with(&options).await.context("cannot connect")?;
    for transaction in transactions {
        connection.execute("BEGIN IMMEDIATE").await?;
        for (sql, values) in transaction {
            let query = sqlx::query_with(AssertSqlSafe(sql.to_string()), arguments(values));
            query.fetch_all(&mut connection).await.with_context(|| format!("{sql}"))?;
        }
        connection.execute("COMMIT").await?;
    }
    Ok(connection.close().await?)
}
