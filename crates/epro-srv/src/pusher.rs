//! The loop that sends what is due: marks the rows of the recording channel, and posts those of the webhook under a lease.
//! Safe with several instances on one database. Sends at least once: a crash between the receiver's answer and its row repeats a push with the
//! same key.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use outbox::db::{self, Database, DbErr};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::domain::push::{self, Channel, RetryPolicy};
use crate::store::push::{self as store, Lease, Leased};
use crate::webhook::Webhook;

/// Rows of the recording channel marked in one transaction.
const RECORDED_AT_ONCE: i64 = 500;

/// Wait after a database error before the next look.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// How pushes are sent.
#[derive(Debug, Clone)]
pub(crate) struct PushOptions {
    /// How often the database is looked at; a wake looks at once.
    pub(crate) poll_interval: Duration,
    /// Webhook pushes under way at once.
    pub(crate) concurrency: u32,
    /// How long a push belongs to the instance that took it; must exceed the webhook's timeout.
    pub(crate) lease: Duration,
    /// When a failed push is tried again.
    pub(crate) retry: RetryPolicy,
}

/// Sends what is due.
#[derive(Debug)]
pub(crate) struct Pusher {
    db: Database,
    webhook: Option<Webhook>,
    options: PushOptions,
    wake: Arc<Notify>,
    owner: Uuid,
}

impl Pusher {
    /// Without a webhook only the recording channel is served.
    #[must_use]
    pub(crate) fn new(db: Database, webhook: Option<Webhook>, options: PushOptions, wake: Arc<Notify>) -> Self {
        Self { db, webhook, options, wake, owner: Uuid::new_v4() }
    }

    /// Sends until `stop`; what is under way then is brought to its end, which the webhook's timeout bounds.
    ///
    /// # Errors
    /// None: while the database is away it waits.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let wait = match self.round().await {
                Ok(0) => self.options.poll_interval,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(%error, "due pushes could not be read or written; they wait");
                    AFTER_ERROR
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    /// Sends one bounded portion of what is due; returns how many it took.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn round(&self) -> Result<usize, DbErr> {
        let mut taken = self.record().await?;
        if let Some(webhook) = &self.webhook {
            taken += self.post(webhook).await?;
        }
        Ok(taken)
    }

    async fn record(&self) -> Result<usize, DbErr> {
        let now = db::now();
        if !store::is_any_due(self.db.reader(), Channel::Record, now).await? {
            return Ok(0);
        }
        let sent = self
            .db
            .transaction(move |tx| Box::pin(async move { store::record_due(tx, now, RECORDED_AT_ONCE).await }))
            .await?;
        metrics::counter!("epro_pushes_total", "channel" => "record", "outcome" => "sent").increment(sent);
        Ok(usize::try_from(sent).unwrap_or(usize::MAX))
    }

    async fn post(&self, webhook: &Webhook) -> Result<usize, DbErr> {
        let now = db::now();
        if !store::is_any_due(self.db.reader(), Channel::Webhook, now).await? {
            return Ok(0);
        }
        let lease = Lease { owner: self.owner, now, until: now + self.options.lease };
        let limit = i64::from(self.options.concurrency);
        let leased =
            self.db.transaction(move |tx| Box::pin(async move { store::lease(tx, &lease, limit).await })).await?;
        let mut under_way: FuturesUnordered<_> = leased.iter().map(|push| self.attempt(webhook, push)).collect();
        let mut first_error = Ok(leased.len());
        while let Some(outcome) = under_way.next().await {
            if let Err(error) = outcome {
                first_error = first_error.and(Err(error));
            }
        }
        first_error
    }

    async fn attempt(&self, webhook: &Webhook, push: &Leased) -> Result<(), DbErr> {
        let Err(error) = webhook.send(push).await else {
            count("sent");
            return store::sent(&self.db, push.id, db::now()).await;
        };
        let attempts = u32::try_from(push.attempt).unwrap_or(u32::MAX);
        let next = push::after_failure(&self.options.retry, attempts, error.failure, db::now(), chance());
        match next {
            push::Next::RetryAt(at) => {
                count("retried");
                tracing::debug!(notification = %push.id, attempts, %error, %at, "a push failed and will be tried again");
            }
            push::Next::GiveUp => {
                count("failed");
                tracing::warn!(notification = %push.id, study = push.study_id, attempts, %error, "a push failed for good");
            }
        }
        store::failed(&self.db, self.owner, push, &error.cause, next).await
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("epro_pushes_total", "channel" => "webhook", "outcome" => outcome).increment(1);
}

/// A number in 0..1 from the random bits of a UUID.
fn chance() -> f64 {
    let [a, b, c, d, ..] = Uuid::new_v4().into_bytes();
    f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX)
}
