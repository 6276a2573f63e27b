//! The circuit on handlers that only fail: opens when every attempt of the last while failed, whatever the job, and lets one call in a while
//! try. Beside the circuit on the environment, which handlers ask for by name; this one needs no word of theirs. Pure but for a lock: time
//! and randomness are arguments, waking lanes is the caller's.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{Backoff, later};
use crate::circuit::{CircuitState, Leave};

/// Stops the pool while every attempt fails: a bad deployment, a dependency that answers nonsense. Otherwise each of them would turn the topic
/// into dead letters, a few attempts a record.
///
/// It opens when `attempts` attempts in a row failed (a retry, a rejection, a timeout, a panic; none done between them), over at least `keys`
/// keys, within `within`. While it is open one call starts per `pause`; the first that is done closes it. An attempt that fails
/// while it is open is none: nothing is given up, and the next try takes another job. So a burst of `attempts` jobs that can never work,
/// with nothing good among them, opens it too, and it stays open as long as only such jobs are at hand: watch its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailingCircuit {
    /// Failed attempts in a row. Default 20.
    pub attempts: usize,
    /// Keys they are of, at least. Default 5.
    pub keys: usize,
    /// The time they lie in, at most. Default 10 s.
    pub within: Duration,
    /// The time between two tries while it is open. Default 1 s doubling to 30 s, with jitter.
    pub pause: Backoff,
}

impl Default for FailingCircuit {
    fn default() -> Self {
        Self {
            attempts: 20,
            keys: 5,
            within: Duration::from_secs(10),
            pause: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) },
        }
    }
}

/// Whether a failed attempt counts against its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    Counts,
    /// It counts, and it was the one too many.
    Opens,
    /// The circuit was open.
    Free,
}

/// The circuit of one pool.
#[derive(Debug)]
pub(crate) struct Failing {
    options: FailingCircuit,
    /// True while attempts fail: lets successes skip the lock in normal times.
    is_disturbed: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// When the last failures in a row were; at most `attempts` of them.
    failures: VecDeque<Instant>,
    /// The keys they were of and when each failed last; at most `keys` of them.
    keys: Vec<(u64, Instant)>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    next_try: Instant,
    tries: u32,
    cause: String,
}

impl Failing {
    pub(crate) fn new(options: FailingCircuit) -> Self {
        Self { options, is_disturbed: AtomicBool::new(false), inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a lane that has work may do: `Go` or `At`. While the circuit is open, `Go` is for one call.
    pub(crate) fn leave(&self, now: Instant, random: u64) -> Leave {
        if !self.is_disturbed.load(Ordering::Acquire) {
            return Leave::Go;
        }
        match &mut self.lock().open {
            Some(open) if open.next_try > now => Leave::At(open.next_try),
            Some(open) => {
                open.tries = open.tries.saturating_add(1);
                open.next_try = later(now, self.options.pause.wait(open.tries.saturating_add(1), random));
                Leave::Go
            }
            None => Leave::Go,
        }
    }

    /// An attempt of a job that stood alone failed.
    pub(crate) fn failed(&self, key: u64, cause: &str, now: Instant, random: u64) -> Attempt {
        let mut inner = self.lock();
        if let Some(open) = &mut inner.open {
            cause.clone_into(&mut open.cause);
            return Attempt::Free;
        }
        self.is_disturbed.store(true, Ordering::Release);
        inner.enter(key, now, &self.options);
        if !inner.is_too_much(now, &self.options) {
            return Attempt::Counts;
        }
        let next_try = later(now, self.options.pause.wait(1, random));
        *inner = Inner { open: Some(Open { next_try, tries: 0, cause: cause.to_owned() }), ..Inner::default() };
        Attempt::Opens
    }

    /// A call was done: not every attempt fails. True if that closed the circuit.
    pub(crate) fn succeeded(&self) -> bool {
        if !self.is_disturbed.load(Ordering::Acquire) {
            return false;
        }
        let mut inner = self.lock();
        let was_open = inner.open.is_some();
        *inner = Inner::default();
        self.is_disturbed.store(false, Ordering::Release);
        was_open
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_disturbed.load(Ordering::Acquire) && self.lock().open.is_some()
    }

    /// The state, and what failed last.
    pub(crate) fn state(&self) -> (CircuitState, Option<String>) {
        match &self.lock().open {
            Some(open) => (CircuitState::Open, Some(open.cause.clone())),
            None => (CircuitState::Closed, None),
        }
    }
}

impl Inner {
    fn enter(&mut self, key: u64, now: Instant, options: &FailingCircuit) {
        if self.failures.len() >= options.attempts.max(1) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        if let Some(known) = self.keys.iter_mut().find(|known| known.0 == key) {
            known.1 = now;
        } else {
            if self.keys.len() >= options.keys.max(1) {
                let oldest = self.keys.iter().enumerate().min_by_key(|(_, known)| known.1).map(|(at, _)| at);
                oldest.map(|at| self.keys.swap_remove(at));
            }
            self.keys.push((key, now));
        }
    }

    fn is_too_much(&self, now: Instant, options: &FailingCircuit) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) <= options.within;
        self.failures.len() >= options.attempts
            && self.failures.front().is_some_and(|at| is_recent(*at))
            && self.keys.iter().filter(|(_, at)| is_recent(*at)).count() >= options.keys
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    fn circuit(attempts: usize, keys: usize) -> Failing {
        let pause = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(8) };
        Failing::new(FailingCircuit { attempts, keys, within: WITHIN, pause })
    }

    /// Failures of these keys, a second after each other.
    fn fail(circuit: &Failing, keys: &[u64], from: Instant) -> Vec<Attempt> {
        keys.iter()
            .zip(0..)
            .map(|(&key, second)| circuit.failed(key, "planned", from + Duration::from_secs(second), 0))
            .collect()
    }

    #[test]
    fn opens_at_so_many_failures_in_a_row_of_so_many_keys_within_the_time() {
        use Attempt::{Counts, Opens};
        type Case = (&'static str, usize, usize, &'static [u64], &'static [Attempt]);
        let cases: &[Case] = &[
            ("enough of both", 3, 2, &[1, 1, 2], &[Counts, Counts, Opens]),
            ("too few keys, then enough", 3, 2, &[1, 1, 1, 1, 2], &[Counts, Counts, Counts, Counts, Opens]),
            ("one key that fails is a poison record", 3, 2, &[1; 9], &[Counts; 9]),
            ("too few attempts", 4, 2, &[1, 2, 3], &[Counts; 3]),
            ("too slow", 13, 2, &[1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2], &[Counts; 14]),
            ("zeros count as one", 0, 0, &[1], &[Opens]),
        ];
        for (name, attempts, keys, failures, expected) in cases {
            let circuit = circuit(*attempts, *keys);
            assert_eq!(fail(&circuit, failures, Instant::now()), *expected, "{name}");
        }
    }

    #[test]
    fn one_success_between_them_begins_the_count_anew() {
        let (circuit, now) = (circuit(3, 2), Instant::now());
        fail(&circuit, &[1, 2], now);
        assert!(!circuit.succeeded());
        assert_eq!(fail(&circuit, &[1, 2, 3], now), [Attempt::Counts, Attempt::Counts, Attempt::Opens]);
    }

    #[test]
    fn while_it_is_open_one_call_per_pause_tries_and_the_pauses_grow() {
        let (circuit, mut now) = (circuit(2, 2), Instant::now());
        assert_eq!(circuit.leave(now, 0), Leave::Go);
        fail(&circuit, &[1, 2], now);
        now += Duration::from_secs(1);
        let mut pauses_ms = vec![];
        for _ in 0..6 {
            let Leave::At(next) = circuit.leave(now, 0) else { panic!("must wait") };
            pauses_ms.push((next - now).as_millis());
            now = next;
            assert_eq!(circuit.leave(now, 0), Leave::Go, "the try");
            assert_eq!(circuit.failed(7, "still", now, 0), Attempt::Free);
        }
        assert_eq!(pauses_ms, [500, 1_000, 2_000, 4_000, 4_000, 4_000]);
        assert_eq!(circuit.state(), (CircuitState::Open, Some("still".to_owned())));
        assert!(circuit.succeeded());
        assert_eq!((circuit.leave(now, 0), circuit.state()), (Leave::Go, (CircuitState::Closed, None)));
    }

    proptest! {
        #[test]
        fn it_never_opens_without_so_many_failures_in_a_row(
            events in prop::collection::vec((prop::bool::weighted(0.8), 0_u64..6), 0..300),
        ) {
            let (circuit, now) = (circuit(8, 3), Instant::now());
            let mut in_a_row: Vec<u64> = vec![];
            for (fails, key) in events {
                if !fails {
                    circuit.succeeded();
                    in_a_row.clear();
                    continue;
                }
                let attempt = circuit.failed(key, "planned", now, 0);
                in_a_row.push(key);
                let mut keys = in_a_row.clone();
                keys.sort_unstable();
                keys.dedup();
                let is_enough = in_a_row.len() >= 8 && keys.len() >= 3;
                prop_assert_eq!(attempt != Attempt::Counts, is_enough, "{:?}", in_a_row);
                prop_assert_eq!(circuit.is_open(), is_enough);
            }
        }
    }
}
