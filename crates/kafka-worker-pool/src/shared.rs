//! What the pool's threads and its handles share: the status in the making, the counters of the report, and the ways to call each other.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka_ext::QueueHandle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::ahead::Known;
use crate::errors::PoolError;
use crate::record::TopicPartition;
use crate::report::{CircuitState, Ended, Phase, RunReport};

/// How a pool ended.
#[derive(Debug, Clone)]
pub(crate) enum Ending {
    /// After a stop; the last commit's failure, if it failed.
    Stopped { commit_failure: Option<String> },
    /// By itself.
    Failed(PoolError),
}

/// What is asked of the data thread.
pub(crate) enum Command {
    Assign {
        partitions: Vec<Assigned>,
        ack: SyncSender<()>,
    },
    Revoke {
        partitions: Vec<TopicPartition>,
        is_lost: bool,
        deadline: Instant,
        ack: SyncSender<()>,
    },
    Stop {
        deadline: Instant,
        ack: SyncSender<()>,
    },
    Release(Option<TopicPartition>),
    /// The user lets partitions stand still.
    Pause(Vec<TopicPartition>),
    /// The user lets them go on.
    Resume(Vec<TopicPartition>),
    Quit,
}

/// Where an assigned partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// At a position somebody kept.
    Kept(i64),
    /// At a position chosen by `Options::start` or `start_offsets`, because nobody kept one. It is kept at once: a restart before the first
    /// record must not choose again.
    Chosen(i64),
    /// At the earliest record.
    Fresh,
    /// Nobody could be asked: librdkafka asks Kafka for a commit, and reports it when there is none.
    Unknown,
}

/// A partition that was assigned.
#[derive(Debug)]
pub(crate) struct Assigned {
    pub(crate) name: TopicPartition,
    pub(crate) begin: Begin,
    pub(crate) known: Known,
}

/// A partition whose position the broker does not have, to be started anew by the event thread.
#[derive(Debug)]
pub(crate) struct Restart {
    pub(crate) partition: TopicPartition,
    pub(crate) had: Begin,
}

/// Restarts asked for and not carried out. Bounded by the partitions of this member.
#[derive(Debug, Default)]
pub(crate) struct Restarts(Mutex<Vec<Restart>>);

impl Restarts {
    pub(crate) fn add(&self, restart: Restart) {
        self.lock().push(restart);
    }

    pub(crate) fn take(&self) -> Option<Restart> {
        self.lock().pop()
    }

    /// These partitions have been taken away: an assignment to come must not be started anew for the sake of one that is over. Called once
    /// the data thread has ended their books, so that it adds no more.
    pub(crate) fn drop_of(&self, names: &[TopicPartition]) {
        self.lock().retain(|restart| !names.contains(&restart.partition));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Restart>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts of the status that change together.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pub(crate) phase: Phase,
    pub(crate) is_connected: bool,
    pub(crate) protocol: &'static str,
    pub(crate) assigned: Vec<TopicPartition>,
    pub(crate) missing_topics: Vec<String>,
    pub(crate) held: Vec<HeldSince>,
    pub(crate) paused: Vec<TopicPartition>,
    pub(crate) circuit: CircuitState,
    pub(crate) circuit_cause: Option<String>,
    pub(crate) failing_circuit: CircuitState,
    pub(crate) failing_circuit_cause: Option<String>,
    pub(crate) concurrency_limit: Option<usize>,
    pub(crate) oldest: Option<Instant>,
    pub(crate) last_error: Option<(&'static str, String)>,
}

#[derive(Debug, Clone)]
pub(crate) struct HeldSince {
    pub(crate) partition: TopicPartition,
    pub(crate) offset: i64,
    pub(crate) cause: String,
    pub(crate) since: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) handled: AtomicU64,
    pub(crate) dead_lettered: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) undone: AtomicU64,
    pub(crate) assignments: AtomicU64,
    pub(crate) in_flight: AtomicUsize,
    /// -1: not known.
    pub(crate) lag: AtomicI64,
}

/// One pool's common ground.
pub(crate) struct Shared {
    board: Mutex<Board>,
    pub(crate) counters: Counters,
    pub(crate) started: Instant,
    pub(crate) is_paused: AtomicBool,
    pub(crate) stop_asked: AtomicBool,
    commands: Sender<Command>,
    pub(crate) queue: OnceLock<QueueHandle>,
    pub(crate) restarts: Restarts,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) ending: watch::Sender<Option<Ending>>,
    failure: OnceLock<PoolError>,
    /// A commit failed since the data thread last looked: what stands beside positions that stand still has to be given once more.
    pub(crate) has_failed_commit: AtomicBool,
    /// The broker takes less beside a position than it was given: from now on it is given nothing.
    pub(crate) is_metadata_refused: AtomicBool,
    /// Why partitions were let go during a stop without their last positions committed.
    pub(crate) commit_failure: OnceLock<String>,
}

impl Shared {
    pub(crate) fn new(commands: Sender<Command>) -> Self {
        let counters = Counters::default();
        counters.lag.store(-1, Ordering::Relaxed);
        Self {
            board: Mutex::default(),
            counters,
            started: Instant::now(),
            is_paused: AtomicBool::new(false),
            stop_asked: AtomicBool::new(false),
            commands,
            queue: OnceLock::new(),
            restarts: Restarts::default(),
            phase: watch::Sender::new(Phase::Connecting),
            ending: watch::Sender::new(None),
            failure: OnceLock::new(),
            has_failed_commit: AtomicBool::new(false),
            is_metadata_refused: AtomicBool::new(false),
            commit_failure: OnceLock::new(),
        }
    }

    /// What was done so far, as a stop that was asked for then reports it.
    pub(crate) fn report(&self, stop_asked: Instant) -> RunReport {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RunReport {
            handled: count(&self.counters.handled),
            dead_lettered: count(&self.counters.dead_lettered),
            retried: count(&self.counters.retried),
            undone: count(&self.counters.undone),
            assignments: count(&self.counters.assignments),
            ran_for: self.started.elapsed(),
            stop_took: stop_asked.elapsed(),
            ended: Ended::Stopped,
        }
    }

    /// The pool cannot go on; the event thread ends it. The first failure counts.
    pub(crate) fn fail(&self, error: PoolError) {
        tracing::error!(%error, "the pool ends");
        self.failure.set(error).ok();
    }

    /// Partitions were let go uncommitted. During a stop nobody will make up for it, so the stop was not clean.
    pub(crate) fn commit_failed(&self, cause: String) {
        if self.should_stop() {
            self.commit_failure.set(cause).ok();
        }
    }

    /// A commit failed. One that is too large would fail again and again, and positions with it.
    pub(crate) fn note_failed_commit(&self, code: Option<RDKafkaErrorCode>) {
        self.has_failed_commit.store(true, Ordering::Release);
        if code == Some(RDKafkaErrorCode::OffsetMetadataTooLarge)
            && !self.is_metadata_refused.swap(true, Ordering::AcqRel)
        {
            tracing::warn!(
                "the broker refuses commits with what is done above their positions: after a crash it will be done again; \
                 set Options::commit_metadata_bytes to the broker's offset.metadata.max.bytes or less"
            );
        }
    }

    pub(crate) fn failure(&self) -> Option<PoolError> {
        self.failure.get().cloned()
    }

    /// Shows an error until its source has success.
    pub(crate) fn set_error(&self, source: &'static str, error: &str) {
        self.board().last_error = Some((source, error.to_owned()));
    }

    /// Success of a source: its error is shown no longer.
    pub(crate) fn clear_error(&self, source: &'static str) {
        let mut board = self.board();
        if board.last_error.as_ref().is_some_and(|(shown, _)| *shown == source) {
            board.last_error = None;
        }
    }

    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.board().phase = phase;
        self.phase.send_replace(phase);
    }

    /// Asks the data thread and wakes it. False if it has ended.
    pub(crate) fn command(&self, command: Command) -> bool {
        let sent = self.commands.send(command).is_ok();
        if let Some(queue) = self.queue.get() {
            queue.yield_now();
        }
        sent
    }

    pub(crate) fn should_stop(&self) -> bool {
        self.stop_asked.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_does_not_outlive_the_assignment_it_was_asked_for() {
        let restarts = Restarts::default();
        let names = [0, 1].map(|partition| TopicPartition::new("t", partition));
        for partition in names.clone() {
            restarts.add(Restart { partition, had: Begin::Fresh });
        }
        restarts.drop_of(&names[..1]);
        assert_eq!(restarts.take().map(|restart| restart.partition), Some(names[1].clone()));
        assert!(restarts.take().is_none(), "partition 0 was taken away, and comes back with its books opened anew");
    }
}
