//! What a pool's status means for readiness, in words an operator can act on. Pure.

use kafka_worker_pool::{CircuitState, Phase, Status};

use crate::readiness::Component;

/// A judgement on a status.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Health {
    Ok,
    Degraded(String),
    Down(String),
}

impl Health {
    pub(super) fn tell(self, component: &Component) {
        match self {
            Self::Ok => component.set_ok(),
            Self::Degraded(detail) => component.set_degraded(detail),
            Self::Down(detail) => component.set_down(detail),
        }
    }
}

/// A consumer without Kafka, its topic or its database is not ready; one that merely limps is.
pub(super) fn judge(status: &Status, brokers: &str, topic: &str) -> Health {
    let because = |text: String| match &status.last_error {
        Some(error) => format!("{text}: {error}"),
        None => text,
    };
    if status.missing_topics.iter().any(|missing| missing == topic) {
        return Health::Down(format!("the broker has no topic {topic}; `ctms topics apply` creates it"));
    }
    match status.phase {
        Phase::Running => {}
        Phase::Connecting => return Health::Down(because(format!("no broker answers at {brokers} (--kafka-brokers)"))),
        Phase::Joining => return Health::Down(because("joining the consumer group".to_owned())),
        Phase::Draining | Phase::Stopped => return Health::Down("stopping".to_owned()),
        _ => return Health::Down(because(format!("{:?}", status.phase))),
    }
    if !status.is_connected {
        return Health::Down(because(format!(
            "no broker answers at {brokers} any more; the consumer goes on when one does"
        )));
    }
    if status.circuit != CircuitState::Closed {
        let cause = status.circuit_cause.as_deref().unwrap_or("an error of the environment");
        return Health::Down(format!("waiting, nothing is lost or skipped: {cause}"));
    }
    if status.paused {
        return Health::Degraded("paused by an operator".to_owned());
    }
    if let Some(held) = status.held.first() {
        return Health::Degraded(format!(
            "{} partitions stand still, the first {}/{} at offset {} for {} s: {}",
            status.held.len(),
            held.partition.topic,
            held.partition.partition,
            held.offset,
            held.age.as_secs(),
            held.cause
        ));
    }
    if let Some(missing) = status.missing_topics.first() {
        return Health::Degraded(format!("the broker has no topic {missing}; `ctms topics apply` creates it"));
    }
    match &status.last_error {
        Some(error) => Health::Degraded(error.clone()),
        None => Health::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(change: impl FnOnce(&mut Status)) -> Health {
        let mut status = Status::default();
        status.phase = Phase::Running;
        status.is_connected = true;
        change(&mut status);
        judge(&status, "kafka:9092", "events")
    }

    #[test]
    fn only_what_stops_the_work_is_down() {
        assert_eq!(judged(|_| ()), Health::Ok);
        assert!(matches!(judged(|s| s.phase = Phase::Connecting), Health::Down(text) if text.contains("kafka:9092")));
        assert!(matches!(judged(|s| s.phase = Phase::Joining), Health::Down(_)));
        assert!(matches!(judged(|s| s.is_connected = false), Health::Down(text) if text.contains("any more")));
        assert!(
            matches!(judged(|s| s.missing_topics.push("events".into())), Health::Down(text) if text.contains("topics apply"))
        );
        assert!(
            matches!(judged(|s| s.missing_topics.push("events.g.retry".into())), Health::Degraded(text) if text.contains("retry"))
        );
        assert!(matches!(judged(|s| s.paused = true), Health::Degraded(_)));
        assert!(matches!(judged(|s| s.last_error = Some("broker 2 is away".into())), Health::Degraded(_)));
    }

    #[test]
    fn an_open_circuit_tells_its_cause() {
        let health = judged(|status| {
            status.circuit = CircuitState::Open;
            status.circuit_cause = Some("connection refused".into());
        });
        assert!(matches!(health, Health::Down(text) if text.contains("connection refused")));
    }
}
