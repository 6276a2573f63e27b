//! A running pool, seen from outside.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::time::Instant;

use crate::errors::{PoolError, StopError};
use crate::record::TopicPartition;
use crate::report::{Ended, Held, Phase, RunReport, Status};
use crate::shared::{Command, Ending, Shared};

/// A running pool. Dropping it stops the pool in the background, with nobody to hear how it ended: call [`Handle::stop`].
#[derive(Debug)]
pub struct Handle {
    monitor: Monitor,
    thread: Option<JoinHandle<()>>,
}

/// A view of a running pool that can be cloned and outlives it: for readiness checks and operators' commands.
#[derive(Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>, thread: JoinHandle<()>) -> Self {
        Self { monitor: Monitor { shared }, thread: Some(thread) }
    }

    fn shared(&self) -> &Shared {
        &self.monitor.shared
    }

    /// Waits for the first assignment, which may be empty. An error if the pool ends before. Cancel safe.
    pub async fn ready(&self) -> Result<(), PoolError> {
        let mut phase = self.shared().phase.subscribe();
        let reached = phase.wait_for(|phase| matches!(phase, Phase::Running | Phase::Stopped));
        // The guard of the value does not live over the next wait: a task that waits may move between threads.
        let is_running = reached.await.is_ok_and(|phase| *phase == Phase::Running);
        if is_running { Ok(()) } else { self.finished().await }
    }

    /// The pool now.
    pub fn status(&self) -> Status {
        self.monitor.status()
    }

    /// A view that can be cloned.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Stops dispatching, waits for what is in hand up to `drain_timeout`, commits, leaves the group. When the call is dropped the stop
    /// goes on, but nobody hears how it ended.
    pub async fn stop(mut self) -> Result<RunReport, StopError> {
        let asked = Instant::now();
        self.shared().stop_asked.store(true, Ordering::Release);
        let mut ending = self.shared().ending.subscribe();
        let ended = ending.wait_for(Option::is_some).await;
        let ended = ended.ok().and_then(|ending| ending.clone());
        if let Some(thread) = self.thread.take() {
            // It has told its ending as its last act.
            thread.join().ok();
        }
        let mut report = self.shared().report(asked);
        let wordless = || Ending::Failed(PoolError::Invariant("the pool's thread ended without a word".to_owned()));
        match ended.unwrap_or_else(wordless) {
            Ending::Failed(error) => {
                report.ended = Ended::Failed;
                Err(StopError::Pool { error, report })
            }
            Ending::Stopped { commit_failure: Some(cause) } => {
                report.ended = Ended::Uncommitted;
                Err(StopError::Commit { cause, report })
            }
            Ending::Stopped { .. } if report.undone > 0 => {
                report.ended = Ended::AtDeadline;
                Err(StopError::Deadline(report))
            }
            Ending::Stopped { .. } => Ok(report),
        }
    }

    /// Waits until the pool has ended: `Ok` after a stop, an error when it ended by itself. Cancel safe; select on it.
    pub async fn finished(&self) -> Result<(), PoolError> {
        let mut ending = self.shared().ending.subscribe();
        match ending.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ending::Failed(error))) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Lets a held partition go on: its held records are handed to the handler again.
    pub fn release(&self, partition: &TopicPartition) {
        self.monitor.release(partition);
    }

    /// Lets all held partitions go on.
    pub fn release_all(&self) {
        self.monitor.release_all();
    }

    /// Stops dispatching new records; those in hand go on, the group is not left.
    pub fn pause(&self) {
        self.monitor.pause();
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.monitor.resume();
    }

    /// Lets these partitions stand still: what was dispatched of them goes on, no more is dispatched or fetched; other partitions go on and
    /// the group is not left. A pause outlives rebalances: a partition that goes to another member and comes back is still paused here.
    /// Pausing a partition that is not this member's counts from when it is.
    pub fn pause_partitions(&self, partitions: impl IntoIterator<Item = TopicPartition>) {
        self.monitor.pause_partitions(partitions);
    }

    /// Ends a [`pause_partitions`](Self::pause_partitions) of these partitions. A hold stays: see [`release`](Self::release).
    pub fn resume_partitions(&self, partitions: impl IntoIterator<Item = TopicPartition>) {
        self.monitor.resume_partitions(partitions);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared().stop_asked.store(true, Ordering::Release);
    }
}

impl Monitor {
    #[cfg(feature = "testing")]
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The pool now. Renewed every 50 ms.
    pub fn status(&self) -> Status {
        let counters = &self.shared.counters;
        let lag = counters.lag.load(Ordering::Relaxed);
        let board = self.shared.board();
        Status {
            phase: board.phase,
            is_connected: board.is_connected,
            protocol: board.protocol,
            assigned: board.assigned.clone(),
            missing_topics: board.missing_topics.clone(),
            circuit: board.circuit,
            circuit_cause: board.circuit_cause.clone(),
            failing_circuit: board.failing_circuit,
            failing_circuit_cause: board.failing_circuit_cause.clone(),
            concurrency_limit: board.concurrency_limit,
            held: board
                .held
                .iter()
                .map(|held| Held {
                    partition: held.partition.clone(),
                    offset: held.offset,
                    cause: held.cause.clone(),
                    age: held.since.elapsed(),
                })
                .collect(),
            paused_partitions: board.paused.clone(),
            paused: self.shared.is_paused.load(Ordering::Relaxed),
            in_flight: counters.in_flight.load(Ordering::Relaxed),
            oldest_in_flight: board.oldest.map(|at| at.elapsed()),
            lag: (lag >= 0).then_some(lag),
            last_error: board.last_error.as_ref().map(|(source, error)| format!("{source}: {error}")),
        }
    }

    /// See [`Handle::release`].
    pub fn release(&self, partition: &TopicPartition) {
        self.shared.command(Command::Release(Some(partition.clone())));
    }

    /// See [`Handle::release_all`].
    pub fn release_all(&self) {
        self.shared.command(Command::Release(None));
    }

    /// See [`Handle::pause`].
    pub fn pause(&self) {
        self.shared.is_paused.store(true, Ordering::Release);
    }

    /// See [`Handle::resume`].
    pub fn resume(&self) {
        self.shared.is_paused.store(false, Ordering::Release);
    }

    /// See [`Handle::pause_partitions`].
    pub fn pause_partitions(&self, partitions: impl IntoIterator<Item = TopicPartition>) {
        self.shared.command(Command::Pause(partitions.into_iter().collect()));
    }

    /// See [`Handle::resume_partitions`].
    pub fn resume_partitions(&self, partitions: impl IntoIterator<Item = TopicPartition>) {
        self.shared.command(Command::Resume(partitions.into_iter().collect()));
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("status", &self.status()).finish()
    }
}
