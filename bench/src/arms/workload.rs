//! What a handler does with a record, the same in every arm and every language.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::payload::{Payload, SLOW_KEYS};

/// A workload by the name it has on the command line and in results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "lower")]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// Nothing: a preloaded topic is drained.
    Noop,
    /// A chain of about 20 µs on the CPU.
    Cpu20us,
    /// A sleep of 1 ms.
    Sleep1ms,
    /// A sleep of 10 ms.
    Sleep10ms,
    /// 2,000 records/s; 1% of the keys sleep 500 ms, the others do nothing.
    SlowKeys,
    /// 2,000 records/s, nothing to do.
    Paced,
    /// 1% of the records fail twice.
    Fail2,
    /// For the correctness arms: 0 to 4 ms of sleep, 1.5 s for one record in 500; each record is written to a log.
    Steps,
}

impl Workload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Cpu20us => "cpu20us",
            Self::Sleep1ms => "sleep1ms",
            Self::Sleep10ms => "sleep10ms",
            Self::SlowKeys => "slowkeys",
            Self::Paced => "paced",
            Self::Fail2 => "fail2",
            Self::Steps => "steps",
        }
    }

    /// Whether records come at a pace, and what counts is their delay.
    pub(crate) fn is_paced(self) -> bool {
        matches!(self, Self::SlowKeys | Self::Paced)
    }

    /// Whether a record's delay counts: not where the handler itself is the delay.
    pub(crate) fn delay_counts(self, payload: &Payload) -> bool {
        match self {
            Self::Paced => true,
            Self::SlowKeys => payload.key >= SLOW_KEYS,
            _ => false,
        }
    }

    /// How long the handler sleeps on this record, or `None` where it does not.
    pub(crate) fn sleep(self, payload: &Payload) -> Option<Duration> {
        match self {
            Self::Sleep1ms => Some(Duration::from_millis(1)),
            Self::Sleep10ms => Some(Duration::from_millis(10)),
            Self::SlowKeys => (payload.key < SLOW_KEYS).then_some(Duration::from_millis(500)),
            Self::Steps => Some(step(payload.id)),
            Self::Noop | Self::Cpu20us | Self::Paced | Self::Fail2 => None,
        }
    }

    /// Whether this record is one of those that fail twice.
    pub(crate) fn fails_twice(self, payload: &Payload) -> bool {
        self == Self::Fail2 && payload.id.is_multiple_of(100)
    }
}

/// The time a record of [`Workload::Steps`] takes, drawn from its id.
fn step(id: u64) -> Duration {
    let drawn = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    Duration::from_millis(if drawn.is_multiple_of(500) { 1_500 } else { drawn % 5 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(id: u64, key: u64) -> Payload {
        Payload { id, produced_ns: 0, sequence: 0, key }
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for workload in Workload::value_variants() {
            let value = workload.to_possible_value().expect("no workload is hidden");
            assert_eq!(value.get_name(), workload.name());
            assert_eq!(serde_json::to_value(workload).expect("a name"), workload.name());
        }
    }

    #[test]
    fn slow_keys_sleep_and_do_not_count() {
        let (slow, fast) = (payload(0, SLOW_KEYS - 1), payload(0, SLOW_KEYS));
        assert_eq!(Workload::SlowKeys.sleep(&slow), Some(Duration::from_millis(500)));
        assert_eq!(Workload::SlowKeys.sleep(&fast), None);
        assert!(!Workload::SlowKeys.delay_counts(&slow) && Workload::SlowKeys.delay_counts(&fast));
        assert!(Workload::Paced.delay_counts(&slow));
    }

    #[test]
    fn about_one_step_in_five_hundred_is_slow() {
        let slow = (0..50_000).filter(|id| step(*id) > Duration::from_secs(1)).count();
        assert!((60..=140).contains(&slow), "{slow}");
    }
}
