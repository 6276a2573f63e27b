//! Whether a lane may start a call now, and what its end says of calls to come: the circuit on the environment always, the adaptive limit and
//! the circuit on failing handlers where they were asked for.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::adaptive::Outcome;
use crate::batch::{Batch, Jobs, Step};
use crate::call::{Answer, Call};
use crate::calls::Panicked;
use crate::circuit::Leave;
use crate::failing::{Attempt, Failing};
use crate::failure::HandlerError;
use crate::job::Work;
use crate::lane::{Lane, Shared};
use crate::limit::Limit;
use crate::options::PoolOptions;

/// What was asked for beside the circuit on the environment.
pub(crate) struct Admission {
    pub(crate) limit: Option<Limit>,
    pub(crate) failing: Option<Failing>,
}

impl Admission {
    /// `None` where nothing was asked for: then it costs a look at this per call.
    pub(crate) fn of(options: &PoolOptions) -> Option<Self> {
        let slots = options.slots_per_lane().saturating_mul(options.lanes);
        let limit = options.adaptive.map(|adaptive| Limit::new(&options.name, adaptive, options.lanes, slots));
        let failing = options.failing_circuit.map(Failing::new);
        (limit.is_some() || failing.is_some()).then_some(Self { limit, failing })
    }
}

impl<W> Shared<W> {
    fn failing(&self) -> Option<&Failing> {
        self.admission.as_ref()?.failing.as_ref()
    }

    fn limit(&self) -> Option<&Limit> {
        self.admission.as_ref()?.limit.as_ref()
    }

    fn wake(&self, lanes: Vec<usize>) {
        for lane in lanes {
            self.links[lane].wakes.wake_lane();
        }
    }
}

impl<T, W, F, M> Lane<T, W, F, M>
where
    T: Send + Sync + 'static,
    W: Work<T>,
    F: Future<Output = Answer<W::Output>>,
    M: Fn(Arc<Jobs<T>>, &Step) -> F,
{
    /// Whether this lane, which has work, may start its next call. `Go` and `Probe` must be followed by a call, and that by
    /// [`note_end`](Self::note_end).
    pub(crate) fn admit(&mut self, now: Instant) -> Leave {
        let shared = Arc::clone(&self.shared);
        let Some(admission) = &shared.admission else {
            return shared.circuit.leave(now);
        };
        if let Some(limit) = &admission.limit
            && !limit.enter(self.index)
        {
            return Leave::OnNews;
        }
        let mut leave = shared.circuit.leave(now);
        if let (Leave::Go, Some(failing)) = (leave, &admission.failing) {
            if !failing.is_open() {
                self.schedule.recall_put_off();
            } else if !self.schedule.gives_up_next() {
                leave = failing.leave(now, self.jitter.draw());
            }
        }
        if let (Leave::At(_) | Leave::OnNews, Some(limit)) = (leave, &admission.limit) {
            shared.wake(limit.put_back());
        }
        leave
    }

    /// The lane starts nothing more now.
    pub(crate) fn note_idle(&self, has_ended: bool) {
        if let Some(limit) = self.shared.limit() {
            self.shared.wake(limit.return_given(self.index, has_ended));
        }
    }

    /// A call has ended, with this answer.
    pub(crate) fn note_end(&self, call: &Call<T>, answer: &Result<Answer<W::Output>, Panicked>, now: Instant) {
        let Some(admission) = &self.shared.admission else {
            return;
        };
        let is_done = matches!(answer, Ok(Answer::Handled(Ok(_))));
        if let Some(failing) = &admission.failing
            && is_done
            && failing.succeeded()
        {
            self.meters.failing_circuit_open.set(0.0);
            tracing::info!(
                pool = self.shared.options.name,
                "a call was done: the circuit on failing handlers is closed"
            );
            self.shared.wake_all();
        }
        if let Some(limit) = &admission.limit {
            let took = now.saturating_duration_since(call.started);
            let outcome = match answer {
                Ok(Answer::Handled(Err(HandlerError::Unavailable { .. }))) => Outcome::Unavailable,
                _ if is_done || is_overdue(call, took, self.shared.options.handler_timeout) => Outcome::Took(took),
                _ => Outcome::Nothing,
            };
            self.shared.wake(limit.leave(call.jobs.tags.len(), outcome));
        }
    }

    /// Whether a failed attempt of a job that stood alone counts. While the circuit on failing handlers is open it does not, and the batch
    /// waits behind all others.
    pub(crate) fn charge(&mut self, batch: Batch<T>, cause: &str, now: Instant) -> Option<Batch<T>> {
        let shared = Arc::clone(&self.shared);
        let Some(failing) = shared.failing() else {
            return Some(batch);
        };
        match failing.failed(batch.jobs.tags[0].key, cause, now, self.jitter.draw()) {
            Attempt::Counts => Some(batch),
            Attempt::Opens => {
                self.meters.failing_circuit_open.set(1.0);
                self.meters.failing_circuit_opened.increment(1);
                tracing::warn!(
                    pool = shared.options.name,
                    cause,
                    "every attempt fails: the circuit on failing handlers is open, the pool waits"
                );
                Some(batch)
            }
            Attempt::Free => {
                self.schedule.put_off(batch);
                None
            }
        }
    }
}

fn is_overdue<T>(call: &Call<T>, took: Duration, timeout: Duration) -> bool {
    call.step == Step::Handle && took >= timeout
}
