//! The intake's side of the engine: hands jobs to the user's handler, keeps the books of who waits for which answer, and brings the answers.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::blocking::{BlockingIntakeHandler, BlockingWork};
use crate::failure::{BoxError, HandlerError};
use crate::intake_errors::JobError;
use crate::job::{Finished, GaveUp, GiveUpReason, Tag, Work};

/// Works on jobs of an intake.
///
/// A call gets 1 to `max_batch` jobs and returns one result for each, in order: with one transaction per call that is group commit. What
/// the domain has to say of a job (invalid, conflict) belongs into `R`; an error says that nothing of the call took effect, and is
/// handled as [`HandlerError`] describes: a batch that fails is called again in halves until the culprit stands alone.
pub trait IntakeHandler<J, R>: Send + Sync + 'static {
    /// Does the jobs. `Ok` has exactly `jobs.len()` results.
    fn handle(&self, jobs: &[J]) -> impl Future<Output = Result<Vec<R>, HandlerError>> + Send;

    /// For handlers that block, see [`blocking`](crate::blocking): `Some` makes the intake call this on its blocking threads, and never
    /// `handle`. A handler that wraps another passes it on.
    fn as_blocking(&self) -> Option<&dyn BlockingIntakeHandler<J, R>> {
        None
    }
}

impl<J, R, H: IntakeHandler<J, R>> IntakeHandler<J, R> for std::sync::Arc<H> {
    fn handle(&self, jobs: &[J]) -> impl Future<Output = Result<Vec<R>, HandlerError>> + Send {
        H::handle(self, jobs)
    }

    fn as_blocking(&self) -> Option<&dyn BlockingIntakeHandler<J, R>> {
        H::as_blocking(self)
    }
}

/// One accepted job that is not over.
struct Waiting<R> {
    reply: oneshot::Sender<Result<R, JobError>>,
    is_queued: bool,
}

/// Who waits for what, and how many places are taken. Shared by an intake's clones and its workers.
pub(crate) struct Books<R> {
    /// One permit per place in the queue; a job gives its own back when it starts.
    pub(crate) places: Semaphore,
    waiting: Mutex<HashMap<u64, Waiting<R>>>,
    next_ticket: AtomicU64,
    done: AtomicU64,
}

impl<R> Books<R> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            places: Semaphore::new(capacity),
            waiting: Mutex::new(HashMap::new()),
            next_ticket: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiting<R>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an accepted job.
    pub(crate) fn enter(&self) -> (u64, oneshot::Receiver<Result<R, JobError>>) {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.lock().insert(ticket, Waiting { reply, is_queued: true });
        (ticket, answer)
    }

    fn started(&self, tags: &[Tag]) {
        let mut waiting = self.lock();
        let started = tags
            .iter()
            .filter(|tag| waiting.get_mut(&tag.ticket).is_some_and(|job| std::mem::replace(&mut job.is_queued, false)))
            .count();
        drop(waiting);
        self.places.add_permits(started);
    }

    /// Jobs accepted and not over.
    pub(crate) fn open(&self) -> usize {
        self.lock().len()
    }

    /// Jobs over with a result or an error.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// The workers have ended: whoever still waits learns `Stopped`.
    pub(crate) fn close(&self) -> usize {
        std::mem::take(&mut *self.lock()).len()
    }
}

/// What becomes of a result: goes to the submitter, or to the stream and a mark to the submitter.
pub(crate) type Route<J, A, R> = Box<dyn Fn(J, Result<A, JobError>) -> Result<R, JobError> + Send + Sync>;

pub(crate) struct IntakeWork<J, A, R, H> {
    pub(crate) handler: H,
    pub(crate) books: std::sync::Arc<Books<R>>,
    pub(crate) route: Route<J, A, R>,
}

impl<J, A, R, H> Work<J> for IntakeWork<J, A, R, H>
where
    J: Send + Sync + 'static,
    A: Send + 'static,
    R: Send + 'static,
    H: IntakeHandler<J, A>,
{
    type Output = A;
    type Gathered = ();

    async fn run(&self, items: &[J], tags: &[Tag]) -> Result<Vec<A>, HandlerError> {
        self.books.started(tags);
        self.handler.handle(items).await.map_err(without_hold)
    }

    fn as_blocking(&self) -> Option<&dyn BlockingWork<J, A>> {
        self.handler.as_blocking().map(|_| self as &dyn BlockingWork<J, A>)
    }

    async fn give_up(&self, _item: &J, _gave_up: &GaveUp) -> Result<(), BoxError> {
        // The submitter waits for the answer: telling it is all there is to do, and `finished` does.
        Ok(())
    }

    fn finished(&self, job: Finished<J, A>, _gathered: &mut ()) {
        let answer = (self.route)(job.item, job.result.map_err(job_error));
        self.books.done.fetch_add(1, Ordering::Relaxed);
        let waiting = self.books.lock().remove(&job.tag.ticket);
        if let Some(waiting) = waiting {
            // An error means that the submitter has gone; the job is done all the same.
            waiting.reply.send(answer).ok();
        }
    }

    fn hand_over(&self, _gathered: &mut ()) {}

    fn held(&self, tag: Tag, cause: String) {
        tracing::error!(ticket = tag.ticket, cause, "an intake's job was held; holds are turned into rejections");
    }
}

impl<J, A, R, H> BlockingWork<J, A> for IntakeWork<J, A, R, H>
where
    J: Send + Sync + 'static,
    A: Send + 'static,
    R: Send + 'static,
    H: IntakeHandler<J, A>,
{
    fn run_blocking(&self, items: &[J], tags: &[Tag]) -> Result<Vec<A>, HandlerError> {
        self.books.started(tags);
        let handler = self.handler.as_blocking().expect("a handler that blocks does so for good");
        handler.handle_blocking(items).map_err(without_hold)
    }
}

/// Nobody could release a held job: an intake has no groups.
fn without_hold(error: HandlerError) -> HandlerError {
    match error {
        HandlerError::Hold { cause } => HandlerError::Reject { cause },
        error => error,
    }
}

fn job_error(gave_up: GaveUp) -> JobError {
    let GaveUp { reason, cause, attempts } = gave_up;
    match reason {
        GiveUpReason::Rejected => JobError::Rejected { cause },
        GiveUpReason::Exhausted => JobError::Failed { attempts, cause },
        GiveUpReason::Unavailable => JobError::Unavailable { cause },
    }
}
