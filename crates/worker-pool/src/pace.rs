//! How often a lane looks at the clock. Reading it costs as much as all else a call of nanoseconds takes, so such calls share a look; a call
//! that takes microseconds gets one of its own. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Calls that take this long together share a look.
const SHARED: Duration = Duration::from_micros(20);
/// Calls of one look, however short they are.
const CALLS_MAX: u32 = 64;

/// The calls since the last look.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
    ended: u32,
    next_look: u32,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Looked {
    /// Calls that ended in line.
    pub(crate) ended: u32,
    /// From the last look to this one.
    pub(crate) took: Duration,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, ended: 0, next_look: 1 }
    }

    /// The time up to now is no call's.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.since = now;
        self.ended = 0;
    }

    /// When the calls since the last look began, at the earliest.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// A call ended in line. True when it is time to look.
    pub(crate) fn ended(&mut self) -> bool {
        self.ended += 1;
        self.ended >= self.next_look
    }

    /// Looks, and plans the next look by how long calls took.
    pub(crate) fn look(&mut self, now: Instant) -> Looked {
        let looked = Looked { ended: self.ended, took: now.saturating_duration_since(self.since) };
        if looked.ended > 0 {
            let each = (looked.took / looked.ended).as_nanos().max(1);
            let fit = u32::try_from(SHARED.as_nanos() / each).unwrap_or(CALLS_MAX);
            // Growing step by step: one short call says little of the next.
            self.next_look = fit.min(self.next_look * 2).clamp(1, CALLS_MAX);
        }
        self.begin(now);
        looked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls of this length; returns how many shared the last of ten looks.
    fn calls_per_look(pace: &mut Pace, now: &mut Instant, each: Duration) -> u32 {
        let mut shared = 0;
        for _ in 0..10 {
            *now += each;
            while !pace.ended() {
                *now += each;
            }
            shared = pace.look(*now).ended;
        }
        shared
    }

    #[test]
    fn short_calls_share_a_look_and_long_ones_do_not() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(calls_per_look(&mut pace, &mut now, Duration::from_nanos(50)), CALLS_MAX);
        assert_eq!(calls_per_look(&mut pace, &mut now, Duration::from_micros(2)), 10);
        assert_eq!(calls_per_look(&mut pace, &mut now, Duration::from_micros(50)), 1);
        assert_eq!(calls_per_look(&mut pace, &mut now, Duration::ZERO), CALLS_MAX);
    }

    #[test]
    fn time_between_calls_is_no_calls() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let later = now + Duration::from_secs(5);
        pace.begin(later);
        assert!(pace.ended());
        let looked = pace.look(later + Duration::from_micros(3));
        assert_eq!(looked, Looked { ended: 1, took: Duration::from_micros(3) });
    }
}
