//! The pool's circuit: an error of the environment pauses the whole pool, one call tries the environment after the pause, and its success
//! ends it. Pure but for a lock: time and randomness are arguments, waking lanes is the caller's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::backoff::{Backoff, later};

/// Whether the environment lets the pool work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CircuitState {
    /// Work goes on.
    #[default]
    Closed,
    /// The environment failed: the pool pauses.
    Open,
    /// The pause is over and one call tries the environment.
    Probing,
}

/// What a lane may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Start calls.
    Go,
    /// Start one call, marked as the probe.
    Probe,
    /// Come back then.
    At(Instant),
    /// Another call is the probe: wait to be woken.
    OnNews,
}

#[derive(Debug)]
enum Inner {
    Closed,
    Open { until: Instant },
    Probing,
}

/// The circuit of one pool.
#[derive(Debug)]
pub(crate) struct Circuit {
    backoff: Backoff,
    /// True unless `Closed`: lets lanes skip the lock in normal times.
    disturbed: AtomicBool,
    inner: Mutex<(Inner, u32, Option<String>)>,
}

impl Circuit {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, disturbed: AtomicBool::new(false), inner: Mutex::new((Inner::Closed, 0, None)) }
    }

    /// What a lane that has work may do. Answering `Probe` makes the caller responsible for one call and its verdict.
    pub(crate) fn leave(&self, now: Instant) -> Leave {
        if !self.disturbed.load(Ordering::Acquire) {
            return Leave::Go;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.0 {
            Inner::Closed => Leave::Go,
            Inner::Probing => Leave::OnNews,
            Inner::Open { until } if until > now => Leave::At(until),
            Inner::Open { .. } => {
                inner.0 = Inner::Probing;
                Leave::Probe
            }
        }
    }

    /// The environment failed. Opens a closed circuit, or opens it again for longer when the probe found it failing; a straggler from
    /// before the pause changes nothing. True if the circuit opened from closed.
    pub(crate) fn failed(&self, cause: &str, was_probe: bool, now: Instant, random: u64) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let was_closed = matches!(inner.0, Inner::Closed);
        if was_closed || was_probe {
            inner.1 = if was_closed { 1 } else { inner.1.saturating_add(1) };
            inner.0 = Inner::Open { until: later(now, self.backoff.wait(inner.1, random)) };
            inner.2 = Some(cause.to_owned());
            self.disturbed.store(true, Ordering::Release);
        }
        was_closed
    }

    /// The probe reached the environment, whatever it then said of the job.
    pub(crate) fn probe_succeeded(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        *inner = (Inner::Closed, 0, None);
        self.disturbed.store(false, Ordering::Release);
    }

    /// The state, and what opened it.
    pub(crate) fn state(&self) -> (CircuitState, Option<String>) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let state = match inner.0 {
            Inner::Closed => CircuitState::Closed,
            Inner::Open { .. } => CircuitState::Open,
            Inner::Probing => CircuitState::Probing,
        };
        (state, inner.2.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn circuit() -> Circuit {
        Circuit::new(Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) })
    }

    #[test]
    fn opens_probes_once_and_closes() {
        let (circuit, start) = (circuit(), Instant::now());
        assert_eq!(circuit.leave(start), Leave::Go);
        assert!(circuit.failed("database away", false, start, 0));
        let Leave::At(until) = circuit.leave(start) else { panic!("must pause") };
        assert_eq!(until, start + Duration::from_millis(50));
        assert_eq!(circuit.leave(until), Leave::Probe);
        assert_eq!(circuit.leave(until), Leave::OnNews, "one probe at a time");
        circuit.probe_succeeded();
        assert_eq!(circuit.leave(until), Leave::Go);
        assert_eq!(circuit.state(), (CircuitState::Closed, None));
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_its_bound() {
        let (circuit, mut now) = (circuit(), Instant::now());
        assert!(circuit.failed("away", false, now, 0));
        let mut pauses_ms = vec![];
        for _ in 0..6 {
            let Leave::At(until) = circuit.leave(now) else { panic!("must pause") };
            pauses_ms.push((until - now).as_millis());
            now = until;
            assert_eq!(circuit.leave(now), Leave::Probe);
            assert!(!circuit.failed("still away", true, now, 0));
        }
        assert_eq!(pauses_ms, [50, 100, 200, 400, 500, 500]);
    }

    #[test]
    fn stragglers_do_not_prolong_the_pause() {
        let (circuit, start) = (circuit(), Instant::now());
        circuit.failed("away", false, start, 0);
        let before = circuit.leave(start);
        circuit.failed("away too", false, start + Duration::from_millis(40), 0);
        assert_eq!(circuit.leave(start), before);
    }
}
