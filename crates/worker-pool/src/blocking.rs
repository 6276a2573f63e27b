//! Handlers that block: they run on threads of the pool's own, by the same rules of order, batches, failures and drain as all others.
//!
//! One rule differs, because a thread cannot be interrupted: a call past its timeout is counted and warned of, and goes on. Its slot stays
//! taken, its key waits, a drain waits for it up to its deadline. When it ends, its answer counts: late success is success, a late error
//! is the failed attempt (`OnTimeout::Await`, whatever the options say). So two calls of one key never overlap, and no job is tried again
//! or given up while an outcome of it is unknown. A call that outlives the deadline of a drain runs to its end, and its outcome is ignored.

use std::future::{Future, ready};
use std::sync::Arc;

use crate::failure::HandlerError;
use crate::intake_work::IntakeHandler;
use crate::job::Tag;

/// [`Work::run`](crate::Work::run) for handlers that block.
pub trait BlockingWork<T, R>: Send + Sync {
    /// Works on 1 to `max_batch` jobs, on one of the pool's blocking threads; otherwise as [`Work::run`](crate::Work::run). The tokio runtime
    /// of the pool is entered: `Handle::current().block_on(..)` works.
    fn run_blocking(&self, items: &[T], tags: &[Tag]) -> Result<Vec<R>, HandlerError>;
}

/// Works on jobs of an intake and blocks while it does. Closures `Fn(&[J]) -> Result<Vec<R>, HandlerError>` are such handlers.
pub trait BlockingIntakeHandler<J, R>: Send + Sync + 'static {
    /// As [`IntakeHandler::handle`], on one of the intake's blocking threads.
    fn handle_blocking(&self, jobs: &[J]) -> Result<Vec<R>, HandlerError>;
}

impl<J, R, F> BlockingIntakeHandler<J, R> for F
where
    F: Fn(&[J]) -> Result<Vec<R>, HandlerError> + Send + Sync + 'static,
{
    fn handle_blocking(&self, jobs: &[J]) -> Result<Vec<R>, HandlerError> {
        self(jobs)
    }
}

impl<J, R, H: BlockingIntakeHandler<J, R>> BlockingIntakeHandler<J, R> for Arc<H> {
    fn handle_blocking(&self, jobs: &[J]) -> Result<Vec<R>, HandlerError> {
        H::handle_blocking(self, jobs)
    }
}

/// A handler for [`Intake::start`](crate::Intake::start) that blocks: on a disk, a lock, a C library, the CPU. Its calls run on threads of the
/// intake's own, at most [`IntakeOptions::blocking_threads`](crate::IntakeOptions::blocking_threads) of them.
///
/// A call past its timeout cannot be cancelled: it is counted and warned of, keeps its place, and its answer counts when it comes.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use worker_pool::{Intake, IntakeOptions, blocking};
///
/// let sizes = Intake::start(
///     IntakeOptions::new("sizes"),
///     blocking(|paths: &[String]| {
///         paths.iter().map(|path| Ok(std::fs::metadata(path).map_err(worker_pool::HandlerError::reject)?.len())).collect()
///     }),
/// );
/// let size: u64 = sizes.try_submit("/etc/hosts".to_owned())?.await?;
/// # Ok(()) }
/// ```
pub fn blocking<H>(handler: H) -> Blocking<H> {
    Blocking(handler)
}

/// What [`blocking`] returns.
#[derive(Debug, Clone)]
pub struct Blocking<H>(H);

impl<J, R: Send, H: BlockingIntakeHandler<J, R>> IntakeHandler<J, R> for Blocking<H> {
    /// Blocks whoever calls it. An intake does not: it takes [`as_blocking`](IntakeHandler::as_blocking).
    fn handle(&self, jobs: &[J]) -> impl Future<Output = Result<Vec<R>, HandlerError>> + Send {
        ready(self.0.handle_blocking(jobs))
    }

    fn as_blocking(&self) -> Option<&dyn BlockingIntakeHandler<J, R>> {
        Some(&self.0)
    }
}
