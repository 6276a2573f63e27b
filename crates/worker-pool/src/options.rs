//! Tuning of the engine, shared by all its sources.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::adaptive::AdaptiveConcurrency;
use crate::backoff::Backoff;
use crate::failing::FailingCircuit;

/// What happens to a handler call past its timeout. Either way it is counted, and warned of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnTimeout {
    /// The future is dropped and the call is a failed attempt. For handlers that own nothing whose outcome must be known.
    #[default]
    Drop,
    /// The future is polled to its end, and only then is the attempt over: `Ok` is a success, though late; an error is the failed
    /// attempt. For handlers that run their transaction in a task of its own and join it, so that no retry and no dead letter starts
    /// while an outcome is unknown. Such a handler bounds its transaction itself (a statement timeout below the handler's timeout).
    Await,
}

/// What to do with jobs whose call failed with `HandlerError::Unavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenUnavailable {
    /// Give the jobs up at once, so that somebody who waits gets an answer. The circuit stays closed: the next call tries again.
    #[default]
    Answer,
    /// Keep the jobs, open the circuit, and go on when the environment is back.
    Wait,
}

/// Threads for a handler that blocks where nothing else is said: beyond it the memory and switching of threads outweigh what they bring.
const BLOCKING_THREADS_MAX: usize = 512;

/// Tuning of a pool of lanes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolOptions {
    /// Name in metrics and logs.
    pub name: String,
    /// Lanes; each is one task. Default: one per core.
    pub lanes: usize,
    /// Handler calls in flight at once, over all lanes, rounded up to a multiple of `lanes`. Default 64.
    pub workers: usize,
    /// Threads for a handler that blocks: no more of its calls than that at once, rounded up to a multiple of `lanes`. Each is started when
    /// it is first needed. `None` (the default): one for each of `workers`, 512 at most.
    pub blocking_threads: Option<usize>,
    /// Jobs accepted and not yet done. Whoever feeds the pool keeps to it; lanes size their inboxes by it. Default 8,192.
    pub queue_capacity: usize,
    /// Jobs a handler may get in one call. Default 1.
    pub max_batch: usize,
    /// Attempts of one job before it is given up. Default 5.
    pub max_attempts: u32,
    /// The wait between attempts of one job. Default 100 ms doubling to 10 s.
    pub backoff: Backoff,
    /// The pause after an error of the environment. Default 100 ms doubling to 5 s.
    pub circuit: Backoff,
    /// Lets the number of calls at once follow how long they take. Default: `None`, `workers` alone bounds them.
    pub adaptive: Option<AdaptiveConcurrency>,
    /// Stops the pool while every attempt fails. Default: `None`, each failing job goes its own way.
    pub failing_circuit: Option<FailingCircuit>,
    /// A source may call the handler itself while calls end at once and take no longer than this on average: see `Pool::direct`. Zero:
    /// never. Default 800 ns, about what giving a job to a lane and hearing of its end costs.
    pub direct_below: Duration,
    /// How long a handler call may take. Default 30 s.
    pub handler_timeout: Duration,
    /// What happens to a call past its timeout. One that blocks is always awaited.
    pub on_timeout: OnTimeout,
    /// What happens to jobs when the environment fails. Default here: `Wait`.
    pub when_unavailable: WhenUnavailable,
}

impl PoolOptions {
    /// Defaults under a name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            lanes: std::thread::available_parallelism().map_or(1, usize::from),
            workers: 64,
            blocking_threads: None,
            queue_capacity: 8_192,
            max_batch: 1,
            max_attempts: 5,
            backoff: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) },
            circuit: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) },
            adaptive: None,
            failing_circuit: None,
            direct_below: Duration::from_nanos(800),
            handler_timeout: Duration::from_secs(30),
            on_timeout: OnTimeout::Drop,
            when_unavailable: WhenUnavailable::Wait,
        }
    }

    /// The bounds with zeros raised to one (a pool of nothing could only hang), and the capacity lowered to what a channel can have.
    pub(crate) fn at_least_one(mut self) -> Self {
        for bound in [&mut self.lanes, &mut self.workers, &mut self.queue_capacity, &mut self.max_batch] {
            *bound = (*bound).max(1);
        }
        self.queue_capacity = self.queue_capacity.min(Semaphore::MAX_PERMITS);
        self.max_attempts = self.max_attempts.max(1);
        self
    }

    /// What holds for a handler that blocks: a thread for every call, and no call is dropped.
    pub(crate) fn for_blocking(mut self) -> Self {
        self.workers = self.workers.min(self.blocking_threads.unwrap_or(BLOCKING_THREADS_MAX).max(1));
        self.on_timeout = OnTimeout::Await;
        self
    }

    /// Handler calls in flight at once in one lane.
    pub(crate) fn slots_per_lane(&self) -> usize {
        self.workers.div_ceil(self.lanes)
    }
}
