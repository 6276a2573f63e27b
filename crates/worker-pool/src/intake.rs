//! Intake (public face)

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::circuit::CircuitState;
use crate::failure::HandlerError;
use crate::intake_errors::{JobError, SubmitError};
use crate::options::OnTimeout;

/// Works on jobs of an intake: gets 1 to `max_batch` jobs, returns one result for each, in order (group commit: one transaction per call).
pub trait IntakeHandler<J, R>: Send + Sync + 'static {
    /// Does the jobs. `Ok` must have exactly `jobs.len()` results.
    fn handle(&self, jobs: &[J]) -> impl Future<Output = Result<Vec<R>, HandlerError>> + Send;
}

/// What to do with a job whose call failed with `HandlerError::Unavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenUnavailable {
    /// Answer the submitter at once with `JobError::Unavailable`.
    #[default]
    Answer,
    /// Keep the job until the environment is back.
    Wait,
}

/// Tuning of an intake.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IntakeOptions {
    /// Name in metrics and logs.
    pub name: String,
    /// Handler calls at once. Default 5. For group commit on one writer use 1.
    pub workers: usize,
    /// Jobs accepted and not yet started. Default 100.
    pub queue_capacity: usize,
    /// Jobs per handler call. Default 1.
    pub max_batch: usize,
    /// Attempts per job. Default 1.
    pub max_attempts: u32,
    /// Wait between attempts.
    pub backoff: Backoff,
    /// Pause after an error of the environment.
    pub circuit: Backoff,
    /// How long one call may take. Default 30 s.
    pub handler_timeout: Duration,
    /// What happens to a call past its timeout.
    pub on_timeout: OnTimeout,
    /// What happens to jobs when the environment fails.
    pub when_unavailable: WhenUnavailable,
}

impl IntakeOptions {
    /// Defaults under a name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            workers: 5,
            queue_capacity: 100,
            max_batch: 1,
            max_attempts: 1,
            backoff: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) },
            circuit: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) },
            handler_timeout: Duration::from_secs(30),
            on_timeout: OnTimeout::Drop,
            when_unavailable: WhenUnavailable::Answer,
        }
    }
}

/// A bounded queue in front of workers. Clones share it.
pub struct Intake<J, R> {
    shared: Arc<PhantomData<fn(J) -> R>>,
}

impl<J, R> Clone for Intake<J, R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<J, R> fmt::Debug for Intake<J, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}

impl<J: Send + Sync + 'static, R: Send + 'static> Intake<J, R> {
    /// Starts the workers on the current tokio runtime. Each job's result comes through its ticket.
    pub fn start<H: IntakeHandler<J, R>>(_options: IntakeOptions, _handler: H) -> Self {
        Self { shared: Arc::new(PhantomData) }
    }

    /// Accepts one job, waiting for room. Cancel safe: a dropped call accepted nothing.
    pub async fn submit(&self, _job: J) -> Result<Ticket<R>, SubmitError> {
        Err(SubmitError::Closed)
    }

    /// Accepts one job now or refuses it.
    pub fn try_submit(&self, _job: J) -> Result<Ticket<R>, SubmitError> {
        Err(SubmitError::Closed)
    }

    /// Accepts all jobs now or none of them.
    pub fn try_submit_many(&self, _jobs: Vec<J>) -> Result<Vec<Ticket<R>>, SubmitError> {
        Err(SubmitError::Closed)
    }

    /// The queue now.
    pub fn status(&self) -> IntakeStatus {
        IntakeStatus::default()
    }

    /// Closes the intake and waits until all accepted jobs are done, up to the deadline.
    pub async fn drain(&self, _deadline: Duration) -> DrainReport {
        DrainReport::default()
    }
}

impl<J: Send + Sync + 'static, R: Send + 'static> Intake<J, Collected<R>> {
    /// As `start`, but results go to one stream, which ends only after the workers did. Tickets resolve when the result is in the stream.
    pub fn start_collecting<H: IntakeHandler<J, R>>(_options: IntakeOptions, _handler: H) -> (Self, Results<J, R>) {
        (Self { shared: Arc::new(PhantomData) }, Results { jobs: PhantomData })
    }
}

/// In the place of a result that has gone to the stream.
#[derive(Debug)]
pub struct Collected<R>(PhantomData<fn() -> R>);

/// The results of an intake started with `start_collecting`.
#[derive(Debug)]
pub struct Results<J, R> {
    jobs: PhantomData<fn() -> (J, R)>,
}

impl<J, R> Results<J, R> {
    /// The next finished job with its result; `None` once the intake is drained and every worker has ended.
    pub async fn next(&mut self) -> Option<(J, Result<R, JobError>)> {
        None
    }
}

/// The result of one accepted job, to be awaited. Dropping it does not cancel the job.
#[derive(Debug)]
pub struct Ticket<R>(tokio::sync::oneshot::Receiver<Result<R, JobError>>);

impl<R> Future for Ticket<R> {
    type Output = Result<R, JobError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(JobError::Stopped)))
    }
}

/// An intake as it is now.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct IntakeStatus {
    /// Places in the queue.
    pub capacity: usize,
    /// Jobs accepted and not yet started.
    pub in_queue: usize,
    /// Jobs being worked on.
    pub running: usize,
    /// Whether an error of the environment has paused the workers.
    pub circuit: CircuitState,
    /// True once `drain` was called.
    pub closed: bool,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Jobs done over the intake's life.
    pub done: u64,
    /// Jobs that were accepted and not done by the deadline.
    pub undone: u64,
}
