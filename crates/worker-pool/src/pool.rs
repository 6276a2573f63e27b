//! A pool of lanes: starts them, feeds them, passes orders on, ends them. It keeps no jobs itself.

use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::admit::Admission;
use crate::batch::{Jobs, Step};
use crate::call::Answer;
use crate::circuit::{Circuit, CircuitState};
use crate::direct::{BegunCall, Direct, Shortness};
use crate::failing::Failing;
use crate::failure::{HandlerError, in_words};
use crate::job::{Job, Work};
use crate::lane::{Lane, Message, Shared};
use crate::limit::Limit;
use crate::link::{Link, Order};
use crate::options::PoolOptions;
use crate::threads::Threads;

/// Running lanes. Dropping it ends them at once, with what they hold.
pub struct Pool<T, W: Work<T>> {
    shared: Arc<Shared<W>>,
    inboxes: Vec<mpsc::Sender<Message<T, W::Output>>>,
    lanes: Vec<JoinHandle<()>>,
    /// Of handlers that block.
    threads: Option<Arc<Threads>>,
}

/// Jobs a lane did not take, handed back.
#[derive(Debug)]
pub struct Refused<T>(pub Vec<Job<T>>);

impl<T, W> Pool<T, W>
where
    T: Send + Sync + 'static,
    W: Work<T>,
{
    /// Starts the lanes on this runtime.
    pub fn start(options: PoolOptions, work: Arc<W>, runtime: &Handle) -> Self {
        let mut options = options.at_least_one();
        let threads = work.as_blocking().is_some().then(|| {
            options = options.clone().for_blocking();
            let max = options.slots_per_lane().saturating_mul(options.lanes);
            Arc::new(Threads::new(&options.name, max, runtime.clone()))
        });
        let _inside = runtime.enter();
        let links = (0..options.lanes).map(|_| Link::new(options.slots_per_lane())).collect();
        let admission = Admission::of(&options);
        let shortness = Arc::new(Shortness::new(options.direct_below));
        let shared =
            Arc::new(Shared { work, circuit: Circuit::new(options.circuit), admission, options, links, shortness });
        let (mut inboxes, mut lanes) = (Vec::new(), Vec::new());
        for index in 0..shared.options.lanes {
            // Every message holds at least one job, so a source that keeps to `queue_capacity` never finds an inbox full. Memory is
            // taken as it is used.
            let (inbox, jobs) = mpsc::channel(shared.options.queue_capacity);
            inboxes.push(inbox);
            let work = Arc::new(LaneWork(Arc::clone(&shared.work)));
            let seed = RandomState::new().hash_one(index);
            let shared = Arc::clone(&shared);
            lanes.push(match threads.clone() {
                None => {
                    let start = move |jobs, step: &Step| answer(Arc::clone(&work), jobs, step.clone());
                    let mut lane = Lane::new(shared, index, jobs, start, seed);
                    runtime.spawn(async move { poll_fn(|context| lane.poll(context)).await })
                }
                Some(threads) => {
                    let start = move |jobs, step: &Step| {
                        answer_blocking(Arc::clone(&work), jobs, step.clone(), Arc::clone(&threads))
                    };
                    let mut lane = Lane::new(shared, index, jobs, start, seed);
                    runtime.spawn(async move { poll_fn(|context| lane.poll(context)).await })
                }
            });
        }
        Self { shared, inboxes, lanes, threads }
    }

    /// How many lanes there are. A job belongs into lane `lane_of(job.tag.key, lanes())`.
    pub fn lanes(&self) -> usize {
        self.inboxes.len()
    }

    /// Gives jobs to a lane. Refused when its inbox is full, which a source that keeps to `queue_capacity` never sees, or the lane has
    /// ended.
    pub fn offer(&self, lane: usize, jobs: Vec<Job<T>>) -> Result<(), Refused<T>> {
        self.inboxes[lane].try_send(Message::Jobs(jobs)).map_err(|refused| match refused.into_inner() {
            Message::Jobs(jobs) => Refused(jobs),
            Message::Begun(_) => unreachable!("what comes back is what was sent"),
        })
    }

    /// For a source that calls short handlers itself. `None` where it cannot: handlers that block or take batches, and where calls are counted one by one (the adaptive limit,
    /// the circuit on failing handlers).
    pub fn direct(&self) -> Option<Direct<T, W::Output>> {
        let options = &self.shared.options;
        let is_counted = self.threads.is_some() || self.shared.admission.is_some();
        if is_counted || options.max_batch > 1 || options.direct_below.is_zero() {
            return None;
        }
        let work = Arc::new(LaneWork(Arc::clone(&self.shared.work)));
        let start = move |jobs| answer(Arc::clone(&work), jobs, Step::Handle);
        Some(Direct::new(&self.shared.options.name, Arc::clone(&self.shared.shortness), start))
    }

    /// Gives a call that the source began to its job's lane. False if the lane has ended: then the call is dropped.
    pub fn go_on(&self, lane: usize, begun: BegunCall<T, W::Output>) -> bool {
        self.inboxes[lane].try_send(Message::Begun(Box::new(begun))).is_ok()
    }

    /// Handler calls in flight at once in one lane.
    pub fn slots_per_lane(&self) -> usize {
        self.shared.options.slots_per_lane()
    }

    /// Drops all jobs of this group up to this generation that are not running; running ones end, and are reported or not retried.
    pub fn forget(&self, group: u32, generation: u32) {
        self.order(Order::Forget { group, generation });
    }

    /// Hands the held jobs of this group to the handler again.
    pub fn release(&self, group: u32) {
        self.order(Order::Release { group });
    }

    fn order(&self, order: Order) {
        for link in &self.shared.links {
            link.give(order);
        }
    }

    /// Whether the environment lets the pool work, and what failed if not.
    pub fn circuit(&self) -> (CircuitState, Option<String>) {
        self.shared.circuit.state()
    }

    /// Whether the circuit on failing handlers is open, and what failed last if it is. Closed where it was not asked for.
    pub fn failing_circuit(&self) -> (CircuitState, Option<String>) {
        let failing = self.shared.admission.as_ref().and_then(|admission| admission.failing.as_ref());
        failing.map_or((CircuitState::Closed, None), Failing::state)
    }

    /// Calls that may run at once by the adaptive limit. `None` where it was not asked for.
    pub fn concurrency_limit(&self) -> Option<usize> {
        self.shared.admission.as_ref()?.limit.as_ref().map(Limit::now)
    }

    /// True while every lane runs. A lane that has ended before the pool was closed is a bug; nothing it held will finish.
    pub fn is_whole(&self) -> bool {
        self.lanes.iter().all(|lane| !lane.is_finished())
    }

    /// Closes the inboxes and waits until everything in hand is over. Not cancel safe: dropping the call ends the lanes at once.
    pub async fn close(mut self) {
        self.inboxes.clear();
        for lane in &mut self.lanes {
            join(lane).await;
        }
        self.end_threads().await;
    }

    /// Ends the lanes at once and waits until their futures are dropped. Calls that block cannot be dropped: waits until they are over, or,
    /// when this call is dropped, leaves them to run to their end, their outcome ignored.
    pub async fn abort(mut self) {
        for lane in &mut self.lanes {
            lane.abort();
            join(lane).await;
        }
        self.end_threads().await;
    }

    async fn end_threads(&self) {
        if let Some(threads) = &self.threads {
            threads.close();
            threads.join().await;
        }
    }
}

impl<T, W: Work<T>> Drop for Pool<T, W> {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.abort();
        }
        if let Some(threads) = &self.threads {
            threads.close();
        }
    }
}

impl<T, W: Work<T>> std::fmt::Debug for Pool<T, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.shared.options.name)
            .field("lanes", &self.inboxes.len())
            .finish_non_exhaustive()
    }
}

async fn join(lane: &mut JoinHandle<()>) {
    if let Err(error) = lane.await
        && error.is_panic()
    {
        tracing::error!(%error, "a lane panicked outside of any handler");
    }
}

/// The work as the calls of one lane own it. Every call counts as an owner while it runs: counted in one place, the lanes would slow each
/// other down.
struct LaneWork<W>(Arc<W>);

async fn answer<T, W: Work<T>>(work: Arc<LaneWork<W>>, jobs: Arc<Jobs<T>>, step: Step) -> Answer<W::Output> {
    match step {
        Step::Handle => Answer::Handled(work.0.run(&jobs.items, &jobs.tags).await.map_err(HandlerError::into_words)),
        Step::GiveUp(gave_up) => {
            let given_up = work.0.give_up(&jobs.items[0], &gave_up).await;
            Answer::GivenUp(given_up.map_err(|cause| in_words(&*cause).into()))
        }
    }
}

/// As [`answer`], with the handler's part on a thread. The thread lets go of the jobs before it tells that it has ended.
async fn answer_blocking<T, W>(
    work: Arc<LaneWork<W>>,
    jobs: Arc<Jobs<T>>,
    step: Step,
    threads: Arc<Threads>,
) -> Answer<W::Output>
where
    T: Send + Sync + 'static,
    W: Work<T>,
{
    if step != Step::Handle {
        return answer(work, jobs, step).await;
    }
    let call = move || {
        let blocking = work.0.as_blocking().expect("work that blocks does so for good");
        blocking.run_blocking(&jobs.items, &jobs.tags).map_err(HandlerError::into_words)
    };
    Answer::Handled(match threads.run(call).await {
        Ok(result) => result,
        Err(error) => Err(HandlerError::unavailable(error)),
    })
}
