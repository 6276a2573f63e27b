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
        self.shared.status()
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
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    status: RelayStatus,
    kafka: Option<String>,
    database: Option<String>,
    /// What the client last said of its connections. They end for harmless reasons too, so it counts once no broker answers.
    suspicion: Option<String>,
}

impl State {
    fn of(&mut self, with: With) -> &mut Option<String> {
        match with {
            With::Kafka => &mut self.kafka,
            With::Database => &mut self.database,
        }
    }

    fn show(&mut self) {
        let named = |with: With, text: &Option<String>| text.as_ref().map(|text| format!("{with}: {text}"));
        let parts: Vec<String> =
            [named(With::Database, &self.database), named(With::Kafka, &self.kafka)].into_iter().flatten().collect();
        self.status.last_error = (!parts.is_empty()).then(|| parts.join("; "));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> RelayStatus {
        self.lock().status.clone()
    }

    /// A relay that stands by sends nothing, so nothing is in its way to Kafka.
    pub(super) fn set_active(&self, active: bool) {
        let mut state = self.lock();
        state.status.active = active;
        if !active {
            (state.kafka, state.suspicion) = (None, None);
            state.show();
        }
        metrics::gauge!("outbox_relay_active").set(if active { 1.0 } else { 0.0 });
    }

    pub(super) fn published(&self, rows: usize) {
        self.lock().status.published += rows as u64;
        metrics::counter!("outbox_published_total").increment(rows as u64);
    }

    pub(super) fn failed(&self) {
        metrics::counter!("outbox_failures_total").increment(1);
    }

    /// Says what is in the way, once until it changes or passes.
    pub(super) fn trouble(&self, with: With, error: &dyn std::fmt::Display) {
        let text = error.to_string();
        let mut state = self.lock();
        if state.of(with).as_ref() != Some(&text) {
            tracing::warn!(error = text, "the relay waits for {with}");
            *state.of(with) = Some(text);
            state.show();
        }
    }

    /// Keeps what the client says of its connections until [`Shared::confirm`] or [`Shared::well`].
    pub(super) fn suspect(&self, text: String) {
        self.lock().suspicion = Some(text);
    }

    pub(super) fn is_suspicious(&self) -> bool {
        let state = self.lock();
        state.suspicion.is_some() || state.kafka.is_some()
    }

    /// No broker answers: what was suspected is so. It is said once; the client goes on to say it in ever other words.
    pub(super) fn confirm(&self) {
        let suspicion = {
            let state = self.lock();
            state.suspicion.clone().filter(|_| state.kafka.is_none())
        };
        if let Some(text) = suspicion {
            self.trouble(With::Kafka, &text);
        }
    }

    /// This was not, or is no longer, in the way.
    pub(super) fn well(&self, with: With) {
        let mut state = self.lock();
        if with == With::Kafka {
            state.suspicion = None;
        }
        if state.of(with).take().is_some() {
            state.show();
            tracing::info!("the relay goes on: {with} answers");
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floating point; these counts stay far below 2^52")]
    pub(super) fn set_backlog(&self, backlog: &Unpublished, now: OffsetDateTime) {
        let age = backlog.oldest.map(|oldest| Duration::try_from(now - oldest).unwrap_or_default());
        let mut state = self.lock();
        let status = &mut state.status;
        status.pending = backlog.pending;
        status.failed = backlog.failed;
        status.oldest_unpublished = age;
        metrics::gauge!("outbox_pending").set(backlog.pending as f64);
        metrics::gauge!("outbox_failed").set(backlog.failed as f64);
        metrics::gauge!("outbox_oldest_unpublished_seconds").set(age.unwrap_or_default().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_error(shared: &Shared) -> Option<String> {
        shared.status().last_error
    }

    #[test]
    fn a_connection_that_ended_is_no_trouble_until_no_broker_answers() {
        let shared = Shared::default();
        shared.suspect("0/1 brokers are down".to_owned());
        assert_eq!(last_error(&shared), None);
        shared.confirm();
        shared.suspect("1/1 brokers are down".to_owned());
        shared.confirm();
        assert_eq!(last_error(&shared).as_deref(), Some("Kafka: 0/1 brokers are down"), "it is said once");
        shared.well(With::Kafka);
        shared.confirm();
        assert_eq!(last_error(&shared), None, "what was suspected is over");
    }

    #[test]
    fn the_end_of_one_trouble_leaves_the_other() {
        let shared = Shared::default();
        shared.trouble(With::Kafka, &"away");
        shared.trouble(With::Database, &"busy");
        assert_eq!(last_error(&shared).as_deref(), Some("the database: busy; Kafka: away"));
        shared.well(With::Database);
        assert_eq!(last_error(&shared).as_deref(), Some("Kafka: away"));
        shared.set_active(false);
        assert_eq!(last_error(&shared), None);
    }
}
