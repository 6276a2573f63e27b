//! What a pool says of itself: a status while it runs, for readiness, and a report when it has ended.

use std::fmt;
use std::time::Duration;

use crate::record::TopicPartition;
pub use worker_pool::CircuitState;

/// Where a pool is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Phase {
    /// No broker has answered yet.
    #[default]
    Connecting,
    /// Subscribed; no assignment has come yet.
    Joining,
    /// Has had an assignment (which may be empty: more members than partitions).
    Running,
    /// Stopping: finishing what is in hand.
    Draining,
    /// Ended.
    Stopped,
}

/// A partition that stands still until it is released.
#[derive(Debug, Clone)]
pub struct Held {
    /// Which partition.
    pub partition: TopicPartition,
    /// The offset of the record whose handler said `Hold`.
    pub offset: i64,
    /// The handler's reason.
    pub cause: String,
    /// How long it has stood.
    pub age: Duration,
}

/// A pool as it is now.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Status {
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether a broker answers, by the client's last statistics (every 2 s).
    pub is_connected: bool,
    /// The group protocol in use: `consumer` or `classic`; empty before a broker has answered.
    pub protocol: &'static str,
    /// Partitions of this member.
    pub assigned: Vec<TopicPartition>,
    /// Topics subscribed to that the broker does not have, and patterns that no topic matches.
    pub missing_topics: Vec<String>,
    /// Whether an error of the environment has paused the pool.
    pub circuit: CircuitState,
    /// The error that opened the circuit, while it is open.
    pub circuit_cause: Option<String>,
    /// Whether the pool waits because every attempt fails, where `Options::failing_circuit` asks for that.
    pub failing_circuit: CircuitState,
    /// The last failure, while it is open.
    pub failing_circuit_cause: Option<String>,
    /// Handler calls that may run at once now, where `Options::adaptive` asks for a limit that adapts.
    pub concurrency_limit: Option<usize>,
    /// Partitions that stand still until they are released.
    pub held: Vec<Held>,
    /// True between `pause` and `resume`.
    pub paused: bool,
    /// Partitions paused by `pause_partitions`, also those that other members have now.
    pub paused_partitions: Vec<TopicPartition>,
    /// Records taken from Kafka and not yet done.
    pub in_flight: usize,
    /// Age of the oldest of them.
    pub oldest_in_flight: Option<Duration>,
    /// Records on the broker behind which this member is, over its partitions; `None` before the client's first statistics.
    pub lag: Option<i64>,
    /// The last error of the client or the position store, if it has not been followed by success.
    pub last_error: Option<String>,
}

impl Status {
    /// True when the pool can do its work now: it has joined, a broker answers, and both circuits are closed.
    pub fn is_ready(&self) -> bool {
        let circuits_are_closed = [self.circuit, self.failing_circuit] == [CircuitState::Closed; 2];
        self.phase == Phase::Running && self.is_connected && circuits_are_closed
    }
}

/// What a pool did, from start to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunReport {
    /// Records done: handled or durable as a dead letter.
    pub handled: u64,
    /// Of those, dead letters.
    pub dead_lettered: u64,
    /// Failed attempts that were tried again.
    pub retried: u64,
    /// Records in hand at the end and not done; they will be read again.
    pub undone: u64,
    /// Assignments taken.
    pub assignments: u64,
    /// From the start to the end.
    pub ran_for: Duration,
    /// From the call to stop to the end.
    pub stop_took: Duration,
    /// Why it ended.
    pub ended: Ended,
}

/// Why a pool ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It was asked to; everything in hand was done and committed.
    #[default]
    Stopped,
    /// It was asked to, and some records in hand were not done by the drain deadline.
    AtDeadline,
    /// It was asked to, and the last commit did not go through.
    Uncommitted,
    /// By itself: the client failed for good, or a rule of the pool was broken.
    Failed,
}

impl fmt::Display for RunReport {
    /// One sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |number: u64, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
        let reason = match self.ended {
            Ended::Stopped => "stopped cleanly",
            Ended::AtDeadline => "stopped at its drain deadline",
            Ended::Uncommitted => "stopped without its last commit",
            Ended::Failed => "ended by itself",
        };
        write!(
            f,
            "{reason} after {:.1} s (the stop took {:.1} s) and {}: {} done, of them {}; {}; {} left undone",
            self.ran_for.as_secs_f64(),
            self.stop_took.as_secs_f64(),
            count(self.assignments, "assignment", "assignments"),
            count(self.handled, "record", "records"),
            count(self.dead_lettered, "dead letter", "dead letters"),
            count(self.retried, "retry", "retries"),
            self.undone,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_sentence() {
        let report = RunReport {
            handled: 1_200,
            dead_lettered: 1,
            retried: 14,
            undone: 3,
            assignments: 2,
            ran_for: Duration::from_millis(61_240),
            stop_took: Duration::from_millis(300),
            ended: Ended::AtDeadline,
        };
        assert_eq!(
            report.to_string(),
            "stopped at its drain deadline after 61.2 s (the stop took 0.3 s) and 2 assignments: \
             1200 records done, of them 1 dead letter; 14 retries; 3 left undone"
        );
    }
}
