//! Owns every long-running task of a service: one token, one JoinSet, one grace period.
//! Knows when tasks must end and in which order; must not know what they do.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::sentence;

/// How long aborted tasks may take to be dropped.
const ABORT_WAIT: Duration = Duration::from_secs(1);

/// When a task is asked to stop. A phase begins once every task of the phases before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Takes work in from callers: gRPC and HTTP servers stop accepting and drain.
    Intake,
    /// Takes work in from Kafka: drain, commit, leave the group.
    Consume,
    /// Works on what was taken in: pools, background loops, workers joined.
    Work,
    /// Carries results out: collectors, relay, producers flushed.
    Deliver,
    /// Answers questions about the others until the end.
    Admin,
}

impl Phase {
    const ORDER: [Self; 5] = [Self::Intake, Self::Consume, Self::Work, Self::Deliver, Self::Admin];
}

/// How one task went wrong.
#[derive(Debug)]
pub enum TaskFailure {
    /// It returned an error.
    Failed(anyhow::Error),
    /// It panicked, with this message.
    Panicked(String),
    /// It ended although nobody asked it to.
    EndedEarly,
}

/// Why the service did not stop cleanly: the tasks that failed, and those that still ran at the deadline.
#[derive(Debug)]
pub struct StopError {
    service: &'static str,
    failed: Vec<(&'static str, TaskFailure)>,
    still_running: Vec<&'static str>,
    grace: Duration,
}

impl StopError {
    /// Tasks that failed, first to last.
    #[must_use]
    pub fn failed(&self) -> &[(&'static str, TaskFailure)] {
        &self.failed
    }

    /// Tasks that were cut off at the deadline.
    #[must_use]
    pub fn still_running(&self) -> &[&'static str] {
        &self.still_running
    }
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} did not stop cleanly", self.service)?;
        for (task, failure) in &self.failed {
            match failure {
                TaskFailure::Failed(error) => write!(f, "; task {task:?} failed: {}", sentence(error))?,
                TaskFailure::Panicked(message) => write!(f, "; task {task:?} panicked: {message}")?,
                TaskFailure::EndedEarly => write!(f, "; task {task:?} ended although nobody asked it to stop")?,
            }
        }
        if !self.still_running.is_empty() {
            write!(
                f,
                "; still running after the grace of {:?} and cut off: {} (nothing accepted is lost; --shutdown-grace gives more time)",
                self.grace,
                self.still_running.join(", ")
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for StopError {}

/// Supervises the tasks of one service.
#[derive(Debug)]
pub struct Supervisor {
    service: &'static str,
    stopping: CancellationToken,
    grace: Duration,
    phases: HashMap<Phase, CancellationToken>,
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, (&'static str, Phase)>,
    failed: Vec<(&'static str, TaskFailure)>,
}

impl Supervisor {
    /// Stops when `shutdown` is cancelled; never cancels it itself, since others may share it.
    #[must_use]
    pub fn new(service: &'static str, shutdown: &CancellationToken, grace: Duration) -> Self {
        Self {
            service,
            stopping: shutdown.child_token(),
            grace,
            phases: Phase::ORDER.into_iter().map(|phase| (phase, CancellationToken::new())).collect(),
            tasks: JoinSet::new(),
            names: HashMap::new(),
            failed: Vec::new(),
        }
    }

    /// Cancelled as soon as the stop begins, by a signal or by a failed task.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Starts a task. Its token is cancelled when its phase begins; a task that ends before is a failure of the service.
    pub fn spawn<F, Fut>(&mut self, phase: Phase, name: &'static str, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let handle = self.tasks.spawn(task(self.phases[&phase].clone()));
        self.names.insert(handle.id(), (name, phase));
    }

    /// Runs until the stop is complete. Dropping the future aborts every task.
    ///
    /// # Errors
    /// [`StopError`] names each task that failed, panicked, ended early or still ran at the deadline.
    pub async fn run(mut self) -> Result<(), StopError> {
        loop {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => break,
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.record(ended);
                    self.stopping.cancel();
                }
            }
        }
        tracing::info!(service = self.service, grace = ?self.grace, "stopping");
        let in_time = timeout(self.grace, self.stop_in_order()).await.is_ok();
        let mut still_running: Vec<_> = self.names.values().map(|(name, _)| *name).collect();
        still_running.sort_unstable();
        // What is left is dropped before the caller closes what it uses; a task inside a blocking call cannot be, and must not hold the exit.
        let _ = timeout(ABORT_WAIT, self.tasks.shutdown()).await;
        if in_time && self.failed.is_empty() {
            tracing::info!(service = self.service, "stopped");
            return Ok(());
        }
        Err(StopError { service: self.service, failed: self.failed, still_running, grace: self.grace })
    }

    async fn stop_in_order(&mut self) {
        for phase in Phase::ORDER {
            self.phases[&phase].cancel();
            while self.names.values().any(|(_, of)| *of == phase) {
                match self.tasks.join_next_with_id().await {
                    Some(ended) => self.record(ended),
                    None => break,
                }
            }
            tracing::debug!(service = self.service, ?phase, "phase stopped");
        }
    }

    fn record(&mut self, ended: Result<(Id, anyhow::Result<()>), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some((name, phase)) = self.names.remove(&id) else { return };
        let failure = match ended {
            Ok((_, Ok(()))) if self.phases[&phase].is_cancelled() => None,
            Ok((_, Ok(()))) => Some(TaskFailure::EndedEarly),
            Ok((_, Err(error))) => Some(TaskFailure::Failed(error)),
            Err(error) => match error.try_into_panic() {
                Ok(payload) => Some(TaskFailure::Panicked(panic_message(payload.as_ref()))),
                Err(error) => Some(TaskFailure::Failed(error.into())),
            },
        };
        if let Some(failure) = failure {
            self.failed.push((name, failure));
        }
    }
}

/// The text of a panic's payload.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a payload without text".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::time::{Instant, sleep};

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    async fn until(stop: CancellationToken) -> anyhow::Result<()> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn a_stop_goes_through_the_phases_in_order_whatever_the_order_of_spawning() {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::new("test", &shutdown, GRACE);
        let order = Arc::new(Mutex::new(Vec::new()));
        for (phase, name) in [
            (Phase::Admin, "admin"),
            (Phase::Deliver, "relay"),
            (Phase::Intake, "grpc"),
            (Phase::Work, "pushes"),
            (Phase::Consume, "consumer"),
        ] {
            let order = order.clone();
            supervisor.spawn(phase, name, |stop| async move {
                stop.cancelled().await;
                order.lock().unwrap().push(name);
                Ok(())
            });
        }
        shutdown.cancel();
        supervisor.run().await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["grpc", "consumer", "pushes", "relay", "admin"]);
    }

    #[tokio::test]
    async fn a_panic_takes_the_service_down_and_is_named() {
        let mut supervisor = Supervisor::new("test", &CancellationToken::new(), GRACE);
        supervisor.spawn(Phase::Admin, "admin", until);
        supervisor.spawn(Phase::Work, "pushes", |_| async { panic!("index 3 out of range") });
        let error = supervisor.run().await.unwrap_err().to_string();
        assert!(error.contains("task \"pushes\" panicked: index 3 out of range"), "{error}");
        assert!(!error.contains("admin"), "{error}");
    }

    #[tokio::test]
    async fn a_task_that_ends_early_takes_the_service_down() {
        let mut supervisor = Supervisor::new("test", &CancellationToken::new(), GRACE);
        supervisor.spawn(Phase::Intake, "grpc", until);
        supervisor.spawn(Phase::Deliver, "relay", |_| async { Ok(()) });
        let error = supervisor.run().await.unwrap_err();
        assert!(matches!(error.failed(), [("relay", TaskFailure::EndedEarly)]), "{error}");
    }

    #[tokio::test]
    async fn an_error_keeps_its_cause_and_the_others_are_stopped_in_order() {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::new("test", &shutdown, GRACE);
        supervisor.spawn(Phase::Admin, "admin", until);
        supervisor.spawn(Phase::Consume, "consumer", |_| async {
            Err(anyhow::anyhow!("group is fenced").context("the consumer cannot go on"))
        });
        let error = supervisor.run().await.unwrap_err().to_string();
        assert!(error.contains("the consumer cannot go on: group is fenced"), "{error}");
        assert!(!shutdown.is_cancelled(), "a token shared with others is left alone");
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_deadline_the_tasks_still_running_are_named_and_dropped() {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::new("test", &shutdown, GRACE);
        let held = Arc::new(());
        let holds = held.clone();
        supervisor.spawn(Phase::Consume, "consumer", |_| async move {
            sleep(Duration::from_secs(3600)).await;
            drop(holds);
            Ok(())
        });
        supervisor.spawn(Phase::Admin, "admin", until);
        shutdown.cancel();
        let begun = Instant::now();
        let error = supervisor.run().await.unwrap_err();
        assert_eq!(error.still_running(), ["admin", "consumer"]);
        assert_eq!(begun.elapsed(), GRACE);
        assert_eq!(Arc::strong_count(&held), 1, "the aborted task let go");
    }
}
