//! The relay of a service's outbox as one supervised task that keeps its readiness true. A service whose events wait for Kafka is
//! degraded, never down: acceptance is durable.

use std::time::Duration;

use anyhow::Context as _;
use outbox::db::Database;
use outbox::{Relay, RelayHandle, RelayOptions, RelayStatus};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::BaseArgs;
use crate::readiness::{Component, Readiness};
use crate::supervisor::{Phase, Supervisor};

/// How often the relay's state is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An event that waits longer than this is worth a word.
const LATE_AFTER: Duration = Duration::from_secs(10);

/// Starts the relay, supervised in [`Phase::Deliver`].
///
/// # Errors
/// The file of client properties cannot be read.
pub fn spawn(
    supervisor: &mut Supervisor,
    base: &BaseArgs,
    db: &Database,
    readiness: &Readiness,
) -> anyhow::Result<RelayHandle> {
    let mut options = RelayOptions::new(&base.kafka.kafka_brokers);
    options.client = base.kafka.properties().map_err(anyhow::Error::msg)?;
    // The relay stops after the consumer: half of the grace is the most that may be left.
    options.grace = options.grace.min(base.shutdown.shutdown_grace / 2);
    let relay = Relay::new(db.clone(), options);
    let handle = relay.handle();
    let component = readiness.component("relay");
    let (watched, brokers) = (handle.clone(), base.kafka.kafka_brokers.clone());
    supervisor.spawn(Phase::Deliver, "relay", move |stop| async move {
        let looking = async {
            let mut looks = interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                tell(&watched.status(), &brokers, &component);
            }
        };
        tokio::select! {
            ended = relay.run(stop) => ended.context("the relay cannot run"),
            () = looking => Ok(()),
        }
    });
    Ok(handle)
}

fn tell(status: &RelayStatus, brokers: &str, component: &Component) {
    match detail(status, brokers) {
        None => component.set_ok(),
        Some(detail) => component.set_degraded(detail),
    }
}

fn detail(status: &RelayStatus, brokers: &str) -> Option<String> {
    let mut parts = Vec::new();
    if status.failed > 0 {
        parts.push(format!(
            "{} events were refused for good and hold their projects; `ctms outbox retry` sets them free",
            status.failed
        ));
    }
    if let Some(age) = status.oldest_unpublished.filter(|age| *age > LATE_AFTER) {
        parts.push(format!(
            "{} accepted events wait for Kafka at {brokers}, the oldest for {} s; they are safe in the database",
            status.pending,
            age.as_secs()
        ));
    }
    if let Some(error) = &status.last_error {
        parts.push(error.clone());
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn a_service_whose_events_wait_is_degraded_and_still_ready() {
        let readiness = Readiness::new(CancellationToken::new());
        let component = readiness.component("relay");
        tell(&RelayStatus { active: true, ..RelayStatus::default() }, "kafka:9092", &component);
        assert!(readiness.is_ready());
        let waiting = RelayStatus {
            pending: 3,
            failed: 1,
            oldest_unpublished: Some(Duration::from_secs(90)),
            ..RelayStatus::default()
        };
        tell(&waiting, "kafka:9092", &component);
        let snapshot = readiness.snapshot();
        assert!(snapshot.ready);
        let detail = &snapshot.components["relay"].detail;
        assert!(detail.contains("oldest for 90 s") && detail.contains("ctms outbox retry"), "{detail}");
    }
}
