//! Tuning of an intake.

use std::time::Duration;

use crate::adaptive::AdaptiveConcurrency;
use crate::backoff::Backoff;
use crate::options::{OnTimeout, PoolOptions, WhenUnavailable};

/// Tuning of an intake.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IntakeOptions {
    /// Name in metrics and logs.
    pub name: String,
    /// Handler calls at once. Default 5. For group commit on one writer use 1, so that batches form.
    pub workers: usize,
    /// Threads for a handler that blocks, see [`blocking`](crate::blocking): no more calls than that at once. `None` (the default): one for
    /// each of `workers`, 512 at most.
    pub blocking_threads: Option<usize>,
    /// Jobs accepted and not yet started. Default 100.
    pub queue_capacity: usize,
    /// Jobs per handler call. Default 1.
    pub max_batch: usize,
    /// Attempts per job. Default 1: whoever waits for the answer tries again better than the queue.
    pub max_attempts: u32,
    /// The wait between attempts. Default 100 ms doubling to 10 s.
    pub backoff: Backoff,
    /// The pause after an error of the environment, under `WhenUnavailable::Wait`. Default 100 ms doubling to 5 s.
    pub circuit: Backoff,
    /// Lets the number of calls at once follow how long they take. Default: `None`, `workers` alone bounds them.
    pub adaptive: Option<AdaptiveConcurrency>,
    /// How long one call may take. Default 30 s.
    pub handler_timeout: Duration,
    /// What happens to a call past its timeout. Default: it is dropped.
    pub on_timeout: OnTimeout,
    /// What happens to jobs when the environment fails. Default: their submitters are answered at once.
    pub when_unavailable: WhenUnavailable,
}

impl IntakeOptions {
    /// Defaults under a name.
    pub fn new(name: impl Into<String>) -> Self {
        let pool = PoolOptions::new(name);
        Self {
            name: pool.name,
            workers: 5,
            blocking_threads: None,
            queue_capacity: 100,
            max_batch: pool.max_batch,
            max_attempts: 1,
            backoff: pool.backoff,
            circuit: pool.circuit,
            adaptive: None,
            handler_timeout: pool.handler_timeout,
            on_timeout: pool.on_timeout,
            when_unavailable: WhenUnavailable::Answer,
        }
    }

    /// One lane: an intake's handlers wait for something else most of the time, and one lane forms the fullest batches.
    pub(crate) fn pool(self) -> PoolOptions {
        PoolOptions {
            direct_below: Duration::ZERO,
            name: self.name,
            lanes: 1,
            workers: self.workers,
            blocking_threads: self.blocking_threads,
            queue_capacity: self.queue_capacity,
            max_batch: self.max_batch,
            max_attempts: self.max_attempts,
            backoff: self.backoff,
            circuit: self.circuit,
            adaptive: self.adaptive,
            failing_circuit: None,
            handler_timeout: self.handler_timeout,
            on_timeout: self.on_timeout,
            when_unavailable: self.when_unavailable,
        }
    }
}
