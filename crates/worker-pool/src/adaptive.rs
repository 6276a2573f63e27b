//! How many handler calls may run at once, found out from how long they take. Pure and without a clock: calls that ended go in, a limit comes
//! out.
//!
//! The rule is that of Netflix's `concurrency-limits` (`GradientLimit`) and of FAST TCP (Jin, Wei, Low: "FAST TCP: Motivation, Architecture,
//! Algorithms, Performance", INFOCOM 2004). Once a round, which is as many calls as the limit lets run at once,
//!
//! ```text
//! gradient = clamp(tolerance × unloaded / measured, 0.5, 1)
//! limit    = (limit + (limit × gradient + √limit)) / 2          between min and max
//! ```
//!
//! so that the limit grows by half its root while latency is flat, and settles where the handlers' queue at their database is about as long as
//! that root. `measured` is the median of the round, so that a few slow keys do not count. `unloaded` is the least median seen. As what is
//! least can grow old (a larger table, a smaller machine), it is measured anew every 50 rounds at a third of the limit, as BBR does (`ProbeRTT`:
//! Cardwell et al., ACM Queue 14-5, 2016). A round that never used half of the limit does not raise it. An error of the environment halves the
//! limit, once for all calls in flight (multiplicative decrease: RFC 5681).
//!
//! Larger batches take longer without anything being slower: each size class (1, 2–3, 4–7, …) is compared with itself.

use std::time::Duration;

/// Finds out how many calls the handlers' environment (a database, a service) stands at once, by how long calls take, and keeps to it between
/// `min` and `max`. For handlers whose time is mostly that of one thing which slows down under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdaptiveConcurrency {
    /// Never fewer calls at once. It begins here. Default 4.
    pub min: usize,
    /// Never more calls at once; `workers` is a bound as well. Default 1,024.
    pub max: usize,
    /// Latency up to this per cent of the unloaded one is no sign of load. Lower holds the environment closer to where it begins to slow
    /// down; higher suits handlers whose times differ by themselves. Default 150; less than 100 counts as 100.
    pub tolerance_percent: u32,
}

impl Default for AdaptiveConcurrency {
    fn default() -> Self {
        Self { min: 4, max: 1_024, tolerance_percent: 150 }
    }
}

impl AdaptiveConcurrency {
    /// Between these bounds, with the default tolerance.
    pub fn between(min: usize, max: usize) -> Self {
        Self { min, max, ..Self::default() }
    }
}

/// A round has at least as many calls.
const ROUND_MIN: usize = 10;
/// A median of fewer calls says nothing.
const CLASS_MIN: usize = 5;
/// Rounds between two measurements of the unloaded latency.
const PROBE_EVERY: u32 = 50;
/// Batches of up to 2^16 jobs have a class of their own.
const CLASSES: usize = 17;
/// The limit is kept in thousandths.
const ONE: u64 = 1_000;

/// How a call ended, as far as its environment is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It took its time: done, or past its timeout.
    Took(Duration),
    /// The environment failed.
    Unavailable,
    /// Says nothing of the environment.
    Nothing,
}

/// Why the limit changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Latency was flat: there may be room for more.
    Headroom,
    /// Latency rose.
    Latency,
    /// The environment failed.
    Unavailable,
    /// The unloaded latency is measured anew, or has been.
    Probe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Steady,
    /// Measures at a part of the limit; then goes on where it was.
    Probing {
        limit_before: u64,
    },
}

/// The limiter of one pool.
#[derive(Debug)]
pub(crate) struct Gradient {
    min: u64,
    max: u64,
    tolerance: u64,
    limit: u64,
    phase: Phase,
    /// Calls in flight when the limit last fell: how they end says nothing of the new limit.
    to_ignore: usize,
    /// Size class and nanoseconds of each call of this round.
    round: Vec<(usize, u64)>,
    most_in_flight: usize,
    rounds: u32,
    unloaded: [Option<u64>; CLASSES],
}

impl Gradient {
    pub(crate) fn new(options: AdaptiveConcurrency) -> Self {
        let min = thousandths(options.min.max(1));
        Self {
            min,
            max: thousandths(options.max).max(min),
            tolerance: u64::from(options.tolerance_percent.max(100)) * ONE / 100,
            limit: min,
            phase: Phase::Steady,
            to_ignore: 0,
            round: Vec::new(),
            most_in_flight: 0,
            rounds: 0,
            unloaded: [None; CLASSES],
        }
    }

    /// Calls that may run at once.
    pub(crate) fn limit(&self) -> usize {
        usize::try_from(self.limit / ONE).unwrap_or(usize::MAX)
    }

    /// A call of so many jobs ended; `in_flight` counts it still. Says why, if the limit changed.
    pub(crate) fn ended(&mut self, jobs: usize, outcome: Outcome, in_flight: usize) -> Option<Cause> {
        let before = self.limit();
        if self.to_ignore > 0 {
            self.to_ignore -= 1;
            return None;
        }
        let cause = match outcome {
            Outcome::Nothing => return None,
            Outcome::Unavailable => {
                if let Phase::Probing { limit_before } = std::mem::replace(&mut self.phase, Phase::Steady) {
                    self.limit = limit_before;
                }
                self.fall_to(self.limit / 2, in_flight);
                Cause::Unavailable
            }
            Outcome::Took(time) => {
                self.most_in_flight = self.most_in_flight.max(in_flight);
                let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
                self.round.push((class_of(jobs), nanos));
                if self.round.len() < self.limit().max(ROUND_MIN) {
                    return None;
                }
                self.end_round()
            }
        };
        (self.limit() != before).then_some(cause)
    }

    fn end_round(&mut self) -> Cause {
        let was_used = self.most_in_flight.saturating_mul(2) >= self.limit();
        let in_flight = std::mem::take(&mut self.most_in_flight);
        let medians = self.take_medians();
        if let Phase::Probing { limit_before } = self.phase {
            self.phase = Phase::Steady;
            self.limit = limit_before;
            self.renew_unloaded(&medians);
            return Cause::Probe;
        }
        self.rounds += 1;
        if self.rounds.is_multiple_of(PROBE_EVERY) {
            self.phase = Phase::Probing { limit_before: self.limit };
            self.fall_to(self.limit / 3, in_flight);
            return Cause::Probe;
        }
        let Some(load) = self.load(&medians) else {
            return Cause::Headroom;
        };
        let gradient = (self.tolerance * ONE / load).clamp(ONE / 2, ONE);
        let root = (self.limit * ONE).isqrt().max(ONE);
        let wanted = u64::midpoint(self.limit, self.limit * gradient / ONE + root).clamp(self.min, self.max);
        if wanted < self.limit || was_used {
            let cause = if wanted < self.limit { Cause::Latency } else { Cause::Headroom };
            self.limit = wanted;
            return cause;
        }
        Cause::Headroom
    }

    fn fall_to(&mut self, limit: u64, in_flight: usize) {
        self.limit = limit.max(self.min);
        // Without the one that has just ended.
        self.to_ignore = in_flight.saturating_sub(1);
        self.round.clear();
        self.most_in_flight = 0;
    }

    /// The median of each size class of the round that has calls enough, with their number.
    fn take_medians(&mut self) -> Vec<(usize, u64, u64)> {
        self.round.sort_unstable();
        let medians = self
            .round
            .chunk_by(|one, other| one.0 == other.0)
            .filter(|class| class.len() >= CLASS_MIN)
            .map(|class| (class[0].0, class[class.len() / 2].1, class.len() as u64))
            .collect();
        self.round.clear();
        medians
    }

    /// How long calls took, in thousandths of the unloaded time.
    fn load(&mut self, medians: &[(usize, u64, u64)]) -> Option<u64> {
        for &(class, median, _) in medians {
            let unloaded = self.unloaded[class].get_or_insert(median);
            *unloaded = (*unloaded).min(median);
        }
        self.compared(medians)
    }

    fn compared(&self, medians: &[(usize, u64, u64)]) -> Option<u64> {
        let known = medians.iter().filter_map(|&(class, median, calls)| {
            let unloaded = self.unloaded[class]?;
            Some((median.saturating_mul(ONE) / unloaded, calls))
        });
        let (sum, calls) = known.fold((0_u64, 0), |(sum, all), (load, calls)| {
            (sum.saturating_add(load.saturating_mul(calls)), all + calls)
        });
        (calls > 0).then(|| (sum / calls).max(1))
    }

    /// What was measured by a probe is the unloaded time now; classes that were not seen have changed as much as those that were.
    fn renew_unloaded(&mut self, medians: &[(usize, u64, u64)]) {
        if let Some(change) = self.compared(medians) {
            for unloaded in self.unloaded.iter_mut().flatten() {
                *unloaded = (unloaded.saturating_mul(change) / ONE).max(1);
            }
        }
        for &(class, median, _) in medians {
            self.unloaded[class] = Some(median);
        }
    }
}

fn thousandths(calls: usize) -> u64 {
    u64::try_from(calls).unwrap_or(u64::MAX).min(u64::from(u32::MAX)) * ONE
}

fn class_of(jobs: usize) -> usize {
    (jobs.max(1).ilog2() as usize).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNLOADED: Duration = Duration::from_millis(10);

    fn limiter(min: usize, max: usize) -> Gradient {
        Gradient::new(AdaptiveConcurrency::between(min, max))
    }

    /// Runs as many calls as the limit allows, over and over; each takes what `latency` says for so many at once.
    fn run(limiter: &mut Gradient, rounds: usize, latency: impl Fn(usize) -> Duration) -> Vec<Cause> {
        let mut causes = vec![];
        for _ in 0..rounds {
            let in_flight = limiter.limit();
            for _ in 0..in_flight.max(ROUND_MIN) {
                causes.extend(limiter.ended(1, Outcome::Took(latency(in_flight)), in_flight));
            }
        }
        causes
    }

    /// The limit between two probes.
    fn at_rest(limiter: &Gradient) -> usize {
        match limiter.phase {
            Phase::Steady => limiter.limit(),
            Phase::Probing { limit_before } => usize::try_from(limit_before / ONE).unwrap(),
        }
    }

    /// A database that takes `knee` calls at once and makes the others wait.
    fn queues_beyond(knee: u32) -> impl Fn(usize) -> Duration {
        move |calls| UNLOADED * u32::try_from(calls).unwrap().max(knee) / knee
    }

    #[test]
    fn flat_latency_lets_the_limit_grow_to_its_bound() {
        let mut limiter = limiter(1, 200);
        let causes = run(&mut limiter, 60, |_| UNLOADED);
        assert_eq!(at_rest(&limiter), 200);
        assert!(causes.iter().all(|cause| matches!(cause, Cause::Headroom | Cause::Probe)), "{causes:?}");
    }

    #[test]
    fn the_limit_settles_near_the_knee_wherever_that_is() {
        for knee in [1, 4, 10, 32, 100] {
            let mut limiter = limiter(1, 1_000);
            run(&mut limiter, 400, queues_beyond(knee));
            let (limit, knee) = (at_rest(&limiter), knee as usize);
            assert!((knee..=2 * knee + 4).contains(&limit), "knee {knee}: {limit}");
        }
    }

    #[test]
    fn the_limit_follows_a_knee_that_moves_both_ways() {
        let mut limiter = limiter(1, 1_000);
        run(&mut limiter, 200, queues_beyond(100));
        let wide = at_rest(&limiter);
        run(&mut limiter, 200, queues_beyond(10));
        let narrow = at_rest(&limiter);
        run(&mut limiter, 200, queues_beyond(100));
        let wide_again = at_rest(&limiter);
        assert!(narrow <= 24 && wide >= 100 && wide_again >= 100, "{wide} {narrow} {wide_again}");
    }

    #[test]
    fn latency_that_is_higher_for_good_is_taken_for_the_unloaded_one_in_time() {
        let mut limiter = limiter(1, 100);
        run(&mut limiter, 60, |_| UNLOADED);
        assert_eq!(limiter.limit(), 100);
        let causes = run(&mut limiter, 5, |_| UNLOADED * 4);
        assert!(causes.contains(&Cause::Latency) && limiter.limit() < 50, "{causes:?} {}", limiter.limit());
        run(&mut limiter, 200, |_| UNLOADED * 4);
        assert_eq!(at_rest(&limiter), 100, "a table that has grown is no load");
    }

    #[test]
    fn errors_of_the_environment_halve_the_limit_once_for_all_in_flight() {
        let mut limiter = limiter(1, 64);
        run(&mut limiter, 49, |_| UNLOADED);
        assert_eq!(limiter.limit(), 64);
        let causes: Vec<_> = (0..64).filter_map(|left| limiter.ended(1, Outcome::Unavailable, 64 - left)).collect();
        assert_eq!((limiter.limit(), causes.as_slice()), (32, &[Cause::Unavailable][..]));
        limiter.ended(1, Outcome::Unavailable, 32);
        assert_eq!(limiter.limit(), 16);
    }

    #[test]
    fn a_few_slow_keys_are_no_load() {
        let mut limiter = limiter(1, 64);
        for number in 0..20_000_u32 {
            let took = if number % 20 == 0 { UNLOADED * 50 } else { UNLOADED };
            let in_flight = limiter.limit();
            limiter.ended(1, Outcome::Took(took), in_flight);
        }
        assert!(at_rest(&limiter) >= 32, "{}", at_rest(&limiter));
    }

    #[test]
    fn larger_batches_are_no_load() {
        let mut limiter = limiter(1, 64);
        for number in 0..20_000_usize {
            let jobs = 1 << (number / 500 % 5);
            let took = UNLOADED * u32::try_from(jobs).unwrap();
            let in_flight = limiter.limit();
            let cause = limiter.ended(jobs, Outcome::Took(took), in_flight);
            assert_ne!(cause, Some(Cause::Latency), "call {number}");
        }
        assert!(at_rest(&limiter) >= 32, "{}", at_rest(&limiter));
    }

    #[test]
    fn a_limit_nobody_uses_does_not_grow() {
        let mut limiter = limiter(8, 64);
        for _ in 0..1_000 {
            limiter.ended(1, Outcome::Took(UNLOADED), 3);
        }
        assert_eq!(limiter.limit(), 8);
    }

    proptest! {
        #[test]
        fn whatever_comes_the_limit_stays_within_its_bounds(
            min in 0_usize..50,
            above in 0_usize..500,
            calls in prop::collection::vec((0_usize..2_000, 0_u64..u64::MAX, 0_u8..10, 0_usize..1_000), 0..2_000),
        ) {
            let max = min + above;
            let mut limiter = limiter(min, max);
            for (jobs, nanos, kind, in_flight) in calls {
                let outcome = match kind {
                    0 => Outcome::Unavailable,
                    1 => Outcome::Nothing,
                    _ => Outcome::Took(Duration::from_nanos(nanos)),
                };
                let before = limiter.limit();
                let cause = limiter.ended(jobs, outcome, in_flight);
                prop_assert!((min.max(1)..=max.max(1)).contains(&limiter.limit()));
                prop_assert_eq!(cause.is_some(), limiter.limit() != before);
                prop_assert!(limiter.round.len() <= limiter.limit().max(ROUND_MIN), "what is remembered is bounded");
            }
        }
    }
}
