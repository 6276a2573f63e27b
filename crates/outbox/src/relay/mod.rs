//! The relay: what the outbox holds, sent to Kafka in order by the one relay per database that has the lease. Its own life is a loop of
//! standing by and leading; it must not know what it sends.

mod lead;
mod lease;
mod options;
mod owner;
mod rows;
mod sender;
mod status;
mod takeover;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

pub use options::RelayOptions;
pub use status::{RelayHandle, RelayStatus};
pub(crate) use takeover::Standstill;
pub use takeover::TakeoverError;

use crate::db::{self, Database, DbErr};
use lease::Lease;
use status::{Shared, With};

/// How often a relay that has no lease looks whether it may have it.
const STANDBY_LOOK: Duration = Duration::from_millis(250);
/// How often the backlog is counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// The wait after the first trouble, doubling up to the last.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LAST_BACKOFF: Duration = Duration::from_secs(2);

/// Why a relay cannot run at all. Everything that may pass is waited for instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// librdkafka refuses the configuration.
    #[error("the Kafka producer cannot be built: {0}; check the client properties")]
    Producer(#[from] rdkafka::error::KafkaError),
}

/// Sends a database's outbox to Kafka.
#[derive(Debug)]
pub struct Relay {
    db: Database,
    options: RelayOptions,
    shared: Arc<Shared>,
}

impl Relay {
    /// A relay over a migrated database.
    #[must_use]
    pub fn new(db: Database, options: RelayOptions) -> Self {
        Self { db, options, shared: Arc::default() }
    }

    /// To wake it and to see how it does.
    #[must_use]
    pub fn handle(&self) -> RelayHandle {
        RelayHandle::new(self.db.clone(), self.shared.clone())
    }

    /// Runs until `stop`: then it waits for the acknowledgements in flight (at most the grace), marks them, and gives up the lease. Dropped
    /// midway it is as if killed: rows sent and not marked are sent again.
    ///
    /// # Errors
    /// Only what no waiting mends.
    pub async fn run(self, stop: CancellationToken) -> Result<(), RelayError> {
        sender::Sender::check(&self.options)?;
        let ended = CancellationToken::new();
        let counting = self.count(&ended);
        let working = async {
            let outcome = self.work(&stop).await;
            ended.cancel();
            outcome
        };
        tokio::join!(working, counting).0
    }

    async fn work(&self, stop: &CancellationToken) -> Result<(), RelayError> {
        let mut backoff = FIRST_BACKOFF;
        while !stop.is_cancelled() {
            let wait = match Lease::acquire(&self.db, &self.options).await {
                Ok(Some(lease)) => {
                    tracing::info!(database = self.db.shown(), epoch = lease.epoch(), "this relay has the lease");
                    self.shared.set_active(true);
                    let outcome = lead::lead(&self.db, &self.options, &self.shared, lease, stop).await;
                    self.shared.set_active(false);
                    outcome?;
                    backoff = FIRST_BACKOFF;
                    FIRST_BACKOFF
                }
                Ok(None) => {
                    self.shared.well(With::Database);
                    backoff = FIRST_BACKOFF;
                    STANDBY_LOOK
                }
                Err(error) => {
                    self.shared.trouble(With::Database, &error);
                    backoff = (backoff * 2).min(LAST_BACKOFF);
                    backoff
                }
            };
            let _ = tokio::time::timeout(wait, stop.cancelled()).await;
        }
        Ok(())
    }

    /// Keeps the gauges true, whether this relay leads or not.
    async fn count(&self, ended: &CancellationToken) {
        while !ended.is_cancelled() {
            match crate::ops::unpublished(&self.db).await {
                Ok(backlog) => self.shared.set_backlog(&backlog, db::now()),
                Err(error) => tracing::debug!(%error, "the backlog of the outbox could not be counted"),
            }
            let _ = tokio::time::timeout(COUNT_EVERY, ended.cancelled()).await;
        }
    }
}

/// A wait on the database that must end: it may hang without an answer.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(db::environment_error(format!("the outbox did not answer within {limit:?}"))),
    }
}
