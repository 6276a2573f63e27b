//! How long to wait before the next try: doubling from a first wait to a longest, with jitter so that what failed together does not
//! come back together. Pure: the caller brings the random number.

use std::time::Duration;

use tokio::time::Instant;

/// Doubling waits. The wait drawn lies between half of the nominal wait and all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The nominal first wait.
    pub first: Duration,
    /// The longest nominal wait.
    pub max: Duration,
}

impl Backoff {
    /// The wait after the `failures`-th failure in a row (1 for the first), with `random` spreading it evenly over its upper half.
    pub fn wait(&self, failures: u32, random: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let nominal = self.first.saturating_mul(1 << doublings).min(self.max.max(self.first));
        let half = nominal / 2;
        let spread_nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(random % spread_nanos.saturating_add(1))
    }
}

/// `now + wait`, where a wait beyond what the clock can count is thirty years: a huge setting means for ever, not a panic.
pub(crate) fn later(now: Instant, wait: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    now + wait.min(FOR_EVER)
}

/// A small generator (splitmix64) for jitter. Not for secrets.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        crate::hash::mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) };

    #[test]
    fn doubles_to_its_longest_and_jitters_in_the_upper_half() {
        for (failures, nominal_ms) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1_000), (90, 1_000)] {
            let mut jitter = Jitter::new(7);
            for _ in 0..100 {
                let wait = BACKOFF.wait(failures, jitter.draw());
                assert!(wait >= Duration::from_millis(nominal_ms / 2), "{failures}: {wait:?}");
                assert!(wait <= Duration::from_millis(nominal_ms), "{failures}: {wait:?}");
            }
        }
    }

    #[test]
    fn what_failed_together_does_not_come_back_together() {
        let mut jitter = Jitter::new(1);
        let waits: std::collections::BTreeSet<_> = (0..50).map(|_| BACKOFF.wait(1, jitter.draw())).collect();
        assert!(waits.len() > 40);
    }
}
