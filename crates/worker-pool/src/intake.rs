//! An intake: a bounded queue in front of workers, with an answer for each job. Full means an error at once; several jobs are taken all or
//! none; results end only after the workers did.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, TryAcquireError, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::circuit::CircuitState;
use crate::hash::mix;
use crate::intake_errors::{JobError, SubmitError};
use crate::intake_options::IntakeOptions;
use crate::intake_work::{Books, IntakeHandler, IntakeWork, Route};
use crate::job::{Job, Tag, Work};
use crate::pool::Pool;

/// A bounded queue in front of workers. Clones share it. Dropping the last clone without [`Intake::drain`] ends the workers at once.
pub struct Intake<J, R> {
    shared: Arc<Shared<J, R>>,
}

struct Shared<J, R> {
    books: Arc<Books<R>>,
    /// Results made and not yet taken, when there is a stream: a slow collector fills the queue instead of memory.
    uncollected: Option<Arc<Semaphore>>,
    capacity: usize,
    /// `None` once a drain has begun.
    engine: Mutex<Option<Box<dyn Engine<J>>>>,
    /// Held by the drain under way: whoever drains meanwhile waits for its end.
    end: tokio::sync::Mutex<End>,
}

/// How far the end of an intake has come.
#[derive(Default)]
struct End {
    /// The workers ending; goes on when the drain that began it is dropped.
    closing: Option<JoinHandle<()>>,
    report: Option<DrainReport>,
}

/// The pool without the type of its handler.
trait Engine<J>: Send + Sync {
    fn offer(&self, jobs: Vec<Job<J>>) -> bool;
    fn circuit(&self) -> CircuitState;
    fn close(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl<J, W> Engine<J> for Pool<J, W>
where
    J: Send + Sync + 'static,
    W: Work<J>,
{
    fn offer(&self, jobs: Vec<Job<J>>) -> bool {
        Pool::offer(self, 0, jobs).is_ok()
    }

    fn circuit(&self) -> CircuitState {
        Pool::circuit(self).0
    }

    fn close(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(Pool::close(*self))
    }
}

impl<J: Send + Sync + 'static, R: Send + 'static> Intake<J, R> {
    /// Starts the workers on the current tokio runtime. Each job's result comes through its ticket.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start<H: IntakeHandler<J, R>>(options: IntakeOptions, handler: H) -> Self {
        Self::build(options, handler, Box::new(|_, result| result), None)
    }

    fn build<A: Send + 'static, H: IntakeHandler<J, A>>(
        options: IntakeOptions,
        handler: H,
        route: Route<J, A, R>,
        uncollected: Option<Arc<Semaphore>>,
    ) -> Self {
        let capacity = options.queue_capacity.clamp(1, Semaphore::MAX_PERMITS);
        let books = Arc::new(Books::new(capacity));
        let work = IntakeWork { handler, books: Arc::clone(&books), route };
        let pool = Pool::start(options.pool(), Arc::new(work), &Handle::current());
        let engine: Mutex<Option<Box<dyn Engine<J>>>> = Mutex::new(Some(Box::new(pool)));
        Self { shared: Arc::new(Shared { books, uncollected, capacity, engine, end: tokio::sync::Mutex::default() }) }
    }

    /// Accepts one job, waiting for room. Cancel safe: a call that is dropped has accepted nothing.
    pub async fn submit(&self, job: J) -> Result<Ticket<R>, SubmitError> {
        let closed = |_| SubmitError::Closed;
        let place = self.shared.books.places.acquire().await.map_err(closed)?;
        if let Some(uncollected) = &self.shared.uncollected {
            uncollected.acquire().await.map_err(closed)?.forget();
        }
        place.forget();
        let mut tickets = self.accept(vec![job])?;
        tickets.pop().ok_or(SubmitError::Closed)
    }

    /// Accepts one job now or refuses it.
    pub fn try_submit(&self, job: J) -> Result<Ticket<R>, SubmitError> {
        let mut tickets = self.try_submit_many(vec![job])?;
        tickets.pop().ok_or(SubmitError::Closed)
    }

    /// Accepts all jobs now or none of them. Tickets are in the order of the jobs.
    pub fn try_submit_many(&self, jobs: Vec<J>) -> Result<Vec<Ticket<R>>, SubmitError> {
        let capacity = self.shared.capacity;
        let wanted = match u32::try_from(jobs.len()) {
            Ok(wanted) if jobs.len() <= capacity => wanted,
            _ => {
                return Err(SubmitError::TooLarge { submitted: jobs.len(), limit: capacity });
            }
        };
        let refused = |error| match error {
            TryAcquireError::Closed => SubmitError::Closed,
            TryAcquireError::NoPermits => SubmitError::Full { capacity, in_queue: self.in_queue() },
        };
        let places = self.shared.books.places.try_acquire_many(wanted).map_err(refused)?;
        if let Some(uncollected) = &self.shared.uncollected {
            uncollected.try_acquire_many(wanted).map_err(refused)?.forget();
        }
        places.forget();
        self.accept(jobs)
    }

    /// Hands jobs on for which places are taken. Refused only after `drain`, when places no longer matter.
    fn accept(&self, jobs: Vec<J>) -> Result<Vec<Ticket<R>>, SubmitError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let engine = self.shared.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = engine.as_ref().ok_or(SubmitError::Closed)?;
        let entered = jobs.into_iter().map(|item| {
            let (ticket, answer) = self.shared.books.enter();
            let tag = Tag { key: mix(ticket), group: 0, generation: 1, ticket, attempts: 0 };
            (Job { tag, item }, Ticket(answer))
        });
        let (jobs, tickets): (Vec<_>, Vec<_>) = entered.unzip();
        if engine.offer(jobs) { Ok(tickets) } else { Err(SubmitError::Closed) }
    }

    fn in_queue(&self) -> usize {
        self.shared.capacity.saturating_sub(self.shared.books.places.available_permits())
    }

    /// The queue now.
    pub fn status(&self) -> IntakeStatus {
        let engine = self.shared.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let in_queue = self.in_queue();
        IntakeStatus {
            capacity: self.shared.capacity,
            in_queue,
            running: self.shared.books.open().saturating_sub(in_queue),
            circuit: engine.as_ref().map_or(CircuitState::Closed, |engine| engine.circuit()),
            is_closed: self.shared.books.places.is_closed(),
        }
    }

    /// Closes the intake and waits until every accepted job is over, up to the deadline; what is not over then is dropped, and its
    /// submitter learns `JobError::Stopped`. The results stream, if any, ends after this. A second call waits for the end of the first and
    /// tells the same. A call that is dropped leaves the workers draining without a deadline, until the next call gives them one.
    pub async fn drain(&self, deadline: Duration) -> DrainReport {
        self.shared.books.places.close();
        if let Some(uncollected) = &self.shared.uncollected {
            uncollected.close();
        }
        let mut end = self.shared.end.lock().await;
        if let Some(report) = end.report {
            return report;
        }
        let engine = self.shared.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(engine) = engine {
            // A task of its own, because a pool that is dropped half-way ends its lanes, and this call may be dropped.
            end.closing = Some(tokio::spawn(engine.close()));
        }
        if let Some(closing) = &mut end.closing
            && tokio::time::timeout(deadline, &mut *closing).await.is_err()
        {
            closing.abort();
            closing.await.ok();
        }
        let undone = self.shared.books.close() as u64;
        *end.report.insert(DrainReport { done: self.shared.books.done(), undone })
    }
}

impl<J: Send + Sync + 'static, R: Send + 'static> Intake<J, Collected<R>> {
    /// As [`Intake::start`], but every job comes back with its result on one stream, which ends only after the workers did. A ticket
    /// resolves when the result is in the stream. Results not yet taken count against the queue: a slow collector makes it full.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start_collecting<H: IntakeHandler<J, R>>(options: IntakeOptions, handler: H) -> (Self, Results<J, R>) {
        let running = options.workers.max(1).saturating_mul(options.max_batch.max(1));
        let room = options.queue_capacity.max(1).saturating_mul(2).saturating_add(running).min(Semaphore::MAX_PERMITS);
        let uncollected = Arc::new(Semaphore::new(room));
        let (collector, results) = mpsc::channel(room);
        let route: Route<J, R, Collected<R>> = Box::new(move |job, result| {
            let mark = result.as_ref().map(|_| Collected(PhantomData)).map_err(Clone::clone);
            // There is room, as each result has a permit of `uncollected`. Nobody there: the collector has gone.
            if collector.try_send((job, result)).is_err() {
                tracing::debug!("a result came after its collector had gone");
            }
            mark
        });
        let intake = Self::build(options, handler, route, Some(Arc::clone(&uncollected)));
        (intake, Results { results, uncollected })
    }
}

impl<J, R> Clone for Intake<J, R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<J, R> fmt::Debug for Intake<J, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("capacity", &self.shared.capacity).finish_non_exhaustive()
    }
}

/// In the place of a result that has gone to the stream.
pub struct Collected<R>(PhantomData<fn() -> R>);

impl<R> fmt::Debug for Collected<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collected")
    }
}

/// The results of an intake started with [`Intake::start_collecting`], in the order in which jobs ended.
#[derive(Debug)]
pub struct Results<J, R> {
    results: mpsc::Receiver<(J, Result<R, JobError>)>,
    uncollected: Arc<Semaphore>,
}

impl<J, R> Results<J, R> {
    /// The next job with its result; `None` once the intake is drained and every worker has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<(J, Result<R, JobError>)> {
        let result = self.results.recv().await?;
        self.uncollected.add_permits(1);
        Some(result)
    }
}

/// The result of one accepted job, to be awaited. Dropping it does not cancel the job.
#[derive(Debug)]
pub struct Ticket<R>(oneshot::Receiver<Result<R, JobError>>);

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
    /// Jobs started and not over.
    pub running: usize,
    /// Whether an error of the environment has paused the workers.
    pub circuit: CircuitState,
    /// True once `drain` was called.
    pub is_closed: bool,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Jobs over in the intake's life, with a result or an error.
    pub done: u64,
    /// Jobs accepted and not over by the deadline.
    pub undone: u64,
}
