//! What the relay shows of itself: its handle, its metrics, its last trouble.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use time::OffsetDateTime;

use crate::{db::Database, ops::Unpublished};

/// How a relay does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayStatus {
    /// Whether it has the lease and sends.
    pub active: bool,
    /// Rows not yet acknowledged, failed ones among them, counted about once a second.
    pub pending: u64,
    /// Rows that the broker refused for good: each holds its stream until `ctms outbox retry`.
    pub failed: u64,
    /// The age of the oldest row that could go.
    pub oldest_unpublished: Option<Duration>,
    /// Rows this relay had acknowledged since it started.
    pub published: u64,
    /// What stands in its way now, if anything does.
    pub last_error: Option<String>,
}

/// Wakes a relay and shows how it does. It stays valid when the relay ends.
#[derive(Clone, Debug)]
pub struct RelayHandle {
    db: Database,
    shared: Arc<Shared>,
}

impl RelayHandle {
    pub(super) fn new(db: Database, shared: Arc<Shared>) -> Self {
        Self { db, shared }
    }

    /// Makes it look at the outbox at once. Commits of transactions that appended do this by themselves.
    pub fn notify(&self) {
        self.db.wake_relay();
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        self.shared.lock().clone()
    }
}

/// What can stand in a relay's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    Kafka,
    Database,
}

impl std::fmt::Display for With {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kafka => "Kafka",
            Self::Database => "the database",
        })
    }
}

/// The relay's side of the status.
#[derive(Debug, Default)]
pub(super) struct Shared {
    status: Mutex<RelayStatus>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, RelayStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_active(&self, active: bool) {
        self.lock().active = active;
        metrics::gauge!("outbox_relay_active").set(if active { 1.0 } else { 0.0 });
    }

    pub(super) fn published(&self, rows: usize) {
        self.lock().published += rows as u64;
        metrics::counter!("outbox_published_total").increment(rows as u64);
    }

    pub(super) fn failed(&self) {
        metrics::counter!("outbox_failures_total").increment(1);
    }

    /// Says what is in the way, once until it changes or passes.
    pub(super) fn trouble(&self, with: With, error: &dyn std::fmt::Display) {
        let text = format!("{with}: {error}");
        let mut status = self.lock();
        if status.last_error.as_ref() != Some(&text) {
            tracing::warn!(error = text, "the relay waits");
            status.last_error = Some(text);
        }
    }

    pub(super) fn has_trouble(&self, with: With) -> bool {
        self.lock().last_error.as_ref().is_some_and(|text| text.starts_with(&with.to_string()))
    }

    /// This was not, or is no longer, in the way.
    pub(super) fn well(&self, with: With) {
        if self.has_trouble(with) {
            self.lock().last_error = None;
            tracing::info!("the relay goes on: {with} answers");
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floating point; these counts stay far below 2^52")]
    pub(super) fn set_backlog(&self, backlog: &Unpublished, now: OffsetDateTime) {
        let age = backlog.oldest.map(|oldest| Duration::try_from(now - oldest).unwrap_or_default());
        let mut status = self.lock();
        status.pending = backlog.pending;
        status.failed = backlog.failed;
        status.oldest_unpublished = age;
        metrics::gauge!("outbox_pending").set(backlog.pending as f64);
        metrics::gauge!("outbox_failed").set(backlog.failed as f64);
        metrics::gauge!("outbox_oldest_unpublished_seconds").set(age.unwrap_or_default().as_secs_f64());
    }
}
