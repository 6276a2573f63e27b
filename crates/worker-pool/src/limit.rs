//! The adaptive limit as lanes share it: places for calls, handed out in turn, so that a lane whose calls end does not take all of them again
//! while others wait. How many places there are is found out in `adaptive.rs`.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, counter, gauge};

use crate::adaptive::{AdaptiveConcurrency, Cause, Gradient, Outcome};
use crate::meters::as_f64;

/// The limit of one pool.
#[derive(Debug)]
pub(crate) struct Limit {
    inner: Mutex<Inner>,
}

struct Inner {
    gradient: Gradient,
    /// Places taken: by calls, and by lanes that were given one and have not looked yet.
    taken: usize,
    /// Lanes that found no place, in turn.
    waiting: VecDeque<usize>,
    lanes: Vec<Seat>,
    meters: Meters,
}

/// What one lane has of it.
#[derive(Debug, Clone, Copy, Default)]
struct Seat {
    is_waiting: bool,
    /// Places given to it when it was its turn.
    given: usize,
    has_ended: bool,
}

struct Meters {
    /// `worker_pool_concurrency_limit`: calls that may run at once.
    limit: Gauge,
    /// `worker_pool_concurrency_limit_changes_total` (`cause`): why it changed.
    headroom: Counter,
    latency: Counter,
    unavailable: Counter,
    probe: Counter,
}

impl Limit {
    /// No more places than `slots`, whatever the options say.
    pub(crate) fn new(pool: &str, options: AdaptiveConcurrency, lanes: usize, slots: usize) -> Self {
        let bounded = AdaptiveConcurrency { min: options.min.min(slots), max: options.max.min(slots), ..options };
        let change = |cause: &'static str| counter!("worker_pool_concurrency_limit_changes_total", "pool" => pool.to_owned(), "cause" => cause);
        let meters = Meters {
            limit: gauge!("worker_pool_concurrency_limit", "pool" => pool.to_owned()),
            headroom: change("headroom"),
            latency: change("latency"),
            unavailable: change("unavailable"),
            probe: change("probe"),
        };
        let gradient = Gradient::new(bounded);
        meters.limit.set(as_f64(gradient.limit()));
        let lanes = vec![Seat::default(); lanes];
        Self { inner: Mutex::new(Inner { gradient, taken: 0, waiting: VecDeque::new(), lanes, meters }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls that may run at once.
    pub(crate) fn now(&self) -> usize {
        self.lock().gradient.limit()
    }

    /// Takes a place for a call of this lane. Without one, the lane is named by a later [`leave`](Self::leave) when it is its turn.
    pub(crate) fn enter(&self, lane: usize) -> bool {
        let mut inner = self.lock();
        if inner.lanes[lane].given > 0 {
            inner.lanes[lane].given -= 1;
            return true;
        }
        if inner.waiting.is_empty() && inner.taken < inner.gradient.limit() {
            inner.taken += 1;
            return true;
        }
        if !inner.lanes[lane].is_waiting {
            inner.lanes[lane].is_waiting = true;
            inner.waiting.push_back(lane);
        }
        false
    }

    /// A call has ended. Returns the lanes whose turn it is, to be woken.
    pub(crate) fn leave(&self, jobs: usize, outcome: Outcome) -> Vec<usize> {
        let mut inner = self.lock();
        let in_flight = inner.taken;
        if let Some(cause) = inner.gradient.ended(jobs, outcome, in_flight) {
            inner.show(cause);
        }
        inner.taken -= 1;
        inner.give()
    }

    /// A place that was taken is not needed. As [`leave`](Self::leave), without a call.
    pub(crate) fn put_back(&self) -> Vec<usize> {
        let mut inner = self.lock();
        inner.taken -= 1;
        inner.give()
    }

    /// This lane has nothing to start now, or it `has_ended`: places it was given go to others.
    pub(crate) fn return_given(&self, lane: usize, has_ended: bool) -> Vec<usize> {
        let mut inner = self.lock();
        inner.lanes[lane].has_ended |= has_ended;
        let given = std::mem::take(&mut inner.lanes[lane].given);
        if given == 0 {
            return Vec::new();
        }
        inner.taken -= given;
        inner.give()
    }
}

impl Inner {
    fn give(&mut self) -> Vec<usize> {
        let mut lanes = Vec::new();
        while self.taken < self.gradient.limit()
            && let Some(lane) = self.waiting.pop_front()
        {
            let seat = &mut self.lanes[lane];
            seat.is_waiting = false;
            if !seat.has_ended {
                seat.given += 1;
                self.taken += 1;
                lanes.push(lane);
            }
        }
        lanes
    }

    fn show(&self, cause: Cause) {
        self.meters.limit.set(as_f64(self.gradient.limit()));
        match cause {
            Cause::Headroom => self.meters.headroom.increment(1),
            Cause::Latency => self.meters.latency.increment(1),
            Cause::Unavailable => self.meters.unavailable.increment(1),
            Cause::Probe => self.meters.probe.increment(1),
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("gradient", &self.gradient)
            .field("taken", &self.taken)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TOOK: Outcome = Outcome::Took(Duration::from_millis(1));

    fn limit(calls: usize, lanes: usize) -> Limit {
        Limit::new("test", AdaptiveConcurrency::between(calls, calls), lanes, 1_000)
    }

    #[test]
    fn places_go_round_among_lanes_that_wait() {
        let limit = limit(2, 3);
        assert!(limit.enter(0) && limit.enter(0));
        assert!(!limit.enter(1) && !limit.enter(2) && !limit.enter(1));
        assert_eq!(limit.leave(1, TOOK), [1]);
        assert!(!limit.enter(0), "it is not its turn");
        assert!(limit.enter(1));
        assert!(!limit.enter(1));
        assert_eq!(limit.leave(1, TOOK), [2]);
        assert!(limit.enter(2));
        assert_eq!(limit.leave(1, TOOK), [0]);
    }

    #[test]
    fn a_place_that_is_not_needed_goes_to_the_next() {
        let limit = limit(1, 3);
        assert!(limit.enter(0));
        assert!(!limit.enter(1) && !limit.enter(2));
        assert_eq!(limit.leave(1, TOOK), [1]);
        assert_eq!(limit.return_given(1, false), [2], "its work has gone");
        assert!(limit.enter(2));
        assert_eq!(limit.put_back(), [0_usize; 0]);
        assert!(limit.enter(0), "nobody waits");
    }

    #[test]
    fn a_lane_that_has_ended_keeps_no_place() {
        let limit = limit(1, 3);
        assert!(limit.enter(0));
        assert!(!limit.enter(1) && !limit.enter(2));
        assert_eq!(limit.return_given(1, true), [0_usize; 0]);
        assert_eq!(limit.leave(1, TOOK), [2]);
    }
}
