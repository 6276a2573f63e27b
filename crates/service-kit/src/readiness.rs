//! Which parts of a service work right now: what /readyz shows and the gRPC health service follows.
//! Components report; nothing is asked here, so that a probe never waits for a dependency.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// State of a component or of the whole service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Works.
    Ok,
    /// Works with a limit that someone should know; still ready.
    Degraded,
    /// Does not work; not ready.
    Down,
}

/// What one component said last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its state.
    pub state: State,
    /// Why, and what to do; empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The whole service at one moment; `/readyz` is this as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The worst state of all.
    pub state: State,
    /// True unless something is down or the service stops.
    pub ready: bool,
    /// True once the stop began.
    pub stopping: bool,
    /// By name.
    pub components: BTreeMap<String, Report>,
}

/// The registry; cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stopping: CancellationToken,
    components: Mutex<BTreeMap<String, Report>>,
    ready: watch::Sender<bool>,
}

impl Readiness {
    /// `stopping` makes the service unready as soon as it is cancelled (see [`crate::Supervisor::stopping`]).
    #[must_use]
    pub fn new(stopping: CancellationToken) -> Self {
        let shared = Shared { stopping, components: Mutex::default(), ready: watch::Sender::new(false) };
        Self { shared: Arc::new(shared) }
    }

    /// Registers a component, which is down ("starting") until it says otherwise.
    #[must_use]
    pub fn component(&self, name: impl Into<String>) -> Component {
        let component = Component { name: name.into(), readiness: self.clone() };
        component.set(State::Down, "starting");
        component
    }

    /// Everything, now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let components = self.lock().clone();
        let stopping = self.shared.stopping.is_cancelled();
        let worst = components.values().map(|report| report.state).max().unwrap_or(State::Ok);
        let state = if stopping { State::Down } else { worst };
        Snapshot { state, ready: state != State::Down, stopping, components }
    }

    /// True unless a component is down or the service stops.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.snapshot().ready
    }

    /// Waits until readiness differs from `known`, and returns the new value. Cancel-safe.
    pub async fn changed_from(&self, known: bool) -> bool {
        if self.shared.stopping.is_cancelled() && !known {
            // Once stopping, it stays unready for good.
            std::future::pending::<()>().await;
        }
        let mut ready = self.shared.ready.subscribe();
        tokio::select! {
            () = self.shared.stopping.cancelled(), if known => false,
            _ = ready.wait_for(|now| *now != known) => !known,
        }
    }

    /// Waits until the service is ready. Cancel-safe.
    pub async fn ready(&self) {
        let mut ready = self.shared.ready.subscribe();
        // The sender lives in `self`, so the wait ends only by the value.
        let _ = ready.wait_for(|now| *now).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Report>> {
        // A panic elsewhere cannot leave a map of plain reports half changed.
        self.shared.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One component's voice; cheap to clone.
#[derive(Clone, Debug)]
pub struct Component {
    name: String,
    readiness: Readiness,
}

impl Component {
    /// All is well.
    pub fn set_ok(&self) {
        self.set(State::Ok, "");
    }

    /// Works with a limit: say which, and what to do.
    pub fn set_degraded(&self, detail: impl Into<String>) {
        self.set(State::Degraded, detail);
    }

    /// Does not work: say why, and what to do.
    pub fn set_down(&self, detail: impl Into<String>) {
        self.set(State::Down, detail);
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn set(&self, state: State, detail: impl Into<String>) {
        let report = Report { state, detail: detail.into() };
        let mut components = self.readiness.lock();
        let before = components.insert(self.name.clone(), report.clone());
        let ready = components.values().all(|report| report.state != State::Down);
        self.readiness.shared.ready.send_if_modified(|now| std::mem::replace(now, ready) != ready);
        drop(components);
        if let Some(before) = before.filter(|before| before.state != report.state) {
            tracing::info!(component = self.name, from = ?before.state, to = ?report.state, detail = report.detail, "readiness changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_ready_when_nothing_is_down_and_degraded_still_counts() {
        let readiness = Readiness::new(CancellationToken::new());
        let (database, kafka) = (readiness.component("database"), readiness.component("kafka"));
        assert!(!readiness.is_ready(), "both still start");
        database.set_ok();
        kafka.set_degraded("no broker");
        assert!(readiness.is_ready());
        assert_eq!(readiness.snapshot().state, State::Degraded);
        kafka.set_down("no broker for 30 s");
        assert!(!readiness.is_ready());
        assert_eq!(readiness.snapshot().components["kafka"].detail, "no broker for 30 s");
    }

    #[test]
    fn a_stop_makes_it_unready_at_once() {
        let stopping = CancellationToken::new();
        let readiness = Readiness::new(stopping.clone());
        readiness.component("database").set_ok();
        assert!(readiness.is_ready());
        stopping.cancel();
        assert!(!readiness.is_ready());
        assert!(readiness.snapshot().stopping);
    }

    #[tokio::test]
    async fn a_waiter_sees_each_change_and_the_stop() {
        let stopping = CancellationToken::new();
        let readiness = Readiness::new(stopping.clone());
        let database = readiness.component("database");
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.changed_from(false).await }
        });
        database.set_ok();
        assert!(waiting.await.unwrap());
        readiness.ready().await;
        stopping.cancel();
        assert!(!readiness.changed_from(true).await);
    }
}
