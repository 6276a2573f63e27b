//! A lane: one task that takes jobs, starts handler calls while it has slots, polls those that were woken, and settles what ended. It is a
//! plain state machine with one `poll`; what it runs next is in `start.rs`, what follows from an outcome in `settle.rs`.
//!
//! While there are slots, a job whose key is idle is called as it comes: if the call ends at once, the job has been in no queue of the lane.
//! Only when all slots are taken, or the key is busy, does a job go into the schedule.

use std::collections::{BinaryHeap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::Either;
use tokio::sync::mpsc;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep};

use crate::admit::Admission;
use crate::backoff::Jitter;
use crate::batch::{Batch, Jobs, Step};
use crate::call::{Answer, Call, Delayed};
use crate::calls::Calls;
use crate::circuit::Circuit;
use crate::direct::{BegunCall, Boxed, Shortness};
use crate::job::{Job, Work};
use crate::link::{Link, Order};
use crate::meters::{Meters, as_f64};
use crate::options::PoolOptions;
use crate::pace::Pace;
use crate::schedule::{Pushed, Schedule};

/// Calls started in one poll of a lane before other tasks of the runtime get their turn.
const CALLS_PER_POLL: usize = 256;
/// Finished jobs are handed over at this many, or when the lane has nothing to do.
pub(crate) const ENDED_PER_FLUSH: usize = 128;
/// How often the oldest call's age is shown while calls are in flight.
const AGE_INTERVAL: Duration = Duration::from_secs(1);

/// What all lanes of a pool share.
pub(crate) struct Shared<W> {
    pub(crate) work: Arc<W>,
    pub(crate) options: PoolOptions,
    pub(crate) circuit: Circuit,
    pub(crate) admission: Option<Admission>,
    pub(crate) links: Vec<Link>,
    /// How short calls are that end at once.
    pub(crate) shortness: Arc<Shortness>,
}

/// What a source tells a lane.
pub(crate) enum Message<T, R> {
    Jobs(Vec<Job<T>>),
    /// A call that the source began.
    Begun(Box<BegunCall<T, R>>),
}

impl<W> Shared<W> {
    /// The circuit changed: every lane looks again.
    pub(crate) fn wake_all(&self) {
        for link in &self.links {
            link.wakes.wake_lane();
        }
    }
}

pub(crate) struct Lane<T, W: Work<T>, F, M> {
    pub(crate) shared: Arc<Shared<W>>,
    pub(crate) index: usize,
    pub(crate) start: M,
    pub(crate) inbox: mpsc::Receiver<Message<T, W::Output>>,
    pub(crate) inbox_open: bool,
    /// What is left of the last message from the inbox.
    pub(crate) fresh: std::vec::IntoIter<Job<T>>,
    pub(crate) schedule: Schedule<T>,
    pub(crate) calls: Calls<Either<F, Boxed<W::Output>>, Call<T>>,
    /// Calls that the source began, until they have slots. Their keys are busy.
    pub(crate) adopted: VecDeque<BegunCall<T, W::Output>>,
    /// Places for the jobs of calls to come: at most one for each slot.
    pub(crate) spare: Vec<Arc<Jobs<T>>>,
    pub(crate) delayed: BinaryHeap<Delayed<T>>,
    pub(crate) held: Vec<Batch<T>>,
    pub(crate) gathered: W::Gathered,
    /// Jobs that have ended since the last hand-over, and those of them that were handled.
    pub(crate) ended: usize,
    pub(crate) handled: usize,
    pub(crate) pace: Pace,
    alarm: Pin<Box<Sleep>>,
    /// When the lane has to look by itself; an alarm that rings too early only costs one look.
    alarm_at: Option<Instant>,
    alarm_is_moved: bool,
    pub(crate) jitter: Jitter,
    pub(crate) meters: Meters,
    woken: Vec<usize>,
    warned_of_poll: Option<Instant>,
}

impl<T, W, F, M> Lane<T, W, F, M>
where
    T: Send + Sync + 'static,
    W: Work<T>,
    F: Future<Output = Answer<W::Output>>,
    M: Fn(Arc<Jobs<T>>, &Step) -> F,
{
    pub(crate) fn new(
        shared: Arc<Shared<W>>,
        index: usize,
        inbox: mpsc::Receiver<Message<T, W::Output>>,
        start: M,
        seed: u64,
    ) -> Self {
        let calls = Calls::new(shared.options.slots_per_lane(), &shared.links[index].wakes);
        let meters = Meters::new(&shared.options.name, index);
        Self {
            shared,
            index,
            start,
            inbox,
            inbox_open: true,
            fresh: Vec::new().into_iter(),
            schedule: Schedule::new(),
            calls,
            spare: Vec::new(),
            adopted: VecDeque::new(),
            delayed: BinaryHeap::new(),
            held: Vec::new(),
            gathered: W::Gathered::default(),
            ended: 0,
            handled: 0,
            pace: Pace::new(Instant::now()),
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
            alarm_at: None,
            alarm_is_moved: false,
            jitter: Jitter::new(seed),
            meters,
            woken: Vec::new(),
            warned_of_poll: None,
        }
    }

    /// Ready once the inbox is closed and everything in hand is over.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut calls_left = CALLS_PER_POLL;
        self.link().wakes.register(context.waker());
        loop {
            self.obey();
            let now = Instant::now();
            let matured = self.mature(now);
            let started = self.start_calls(now, &mut calls_left, context);
            let polled = self.poll_woken();
            if calls_left == 0 || !has_budget_remaining() {
                // Without budget every tokio resource in a handler answers Pending and wakes at once: going on would spin.
                context.waker().wake_by_ref();
                break;
            }
            if matured || started || polled {
                continue;
            }
            if self.is_over() {
                self.flush();
                self.meters.show_busy(0);
                self.note_idle(true);
                return Poll::Ready(());
            }
            if self.alarm_rings(context) {
                continue;
            }
            break;
        }
        self.flush();
        self.meters.show_busy(self.calls.in_flight());
        Poll::Pending
    }

    fn link(&self) -> &Link {
        &self.shared.links[self.index]
    }

    fn is_over(&self) -> bool {
        !self.inbox_open
            && self.fresh.as_slice().is_empty()
            && self.adopted.is_empty()
            && self.schedule.is_idle()
            && self.delayed.is_empty()
            && self.held.is_empty()
            && self.calls.in_flight() == 0
    }

    fn obey(&mut self) {
        for order in self.link().take() {
            match order {
                Order::Forget { group, generation } => self.forget(group, generation),
                Order::Release { group } => {
                    let (released, held) =
                        std::mem::take(&mut self.held).into_iter().partition(|batch| batch.jobs.tags[0].group == group);
                    self.held = held;
                    for batch in released {
                        self.schedule.push_again(batch);
                    }
                }
            }
        }
    }

    fn forget(&mut self, group: u32, generation: u32) {
        // What is forgotten must not fill the inbox: its source counts it no longer.
        loop {
            while let Some(job) = self.fresh.next() {
                self.push(job);
            }
            match self.inbox.try_recv() {
                Ok(message) => self.received(message),
                Err(_) => break,
            }
        }
        let mut delayed = std::mem::take(&mut self.delayed).into_vec();
        let holder = |batch: &Batch<T>| (batch.jobs.tags[0].group, batch.jobs.tags[0].generation);
        let holders: Vec<_> = self.held.iter().map(holder).collect();
        let mut elsewhere: Vec<_> =
            delayed.iter_mut().map(|delayed| &mut delayed.batch).chain(&mut self.held).collect();
        self.schedule.forget(group, generation, &mut elsewhere);
        delayed.retain(|delayed| !delayed.batch.is_empty());
        for (batch, held_by) in std::mem::take(&mut self.held).into_iter().zip(holders) {
            match () {
                () if batch.is_empty() => {}
                () if holder(&batch) == held_by => self.held.push(batch),
                // Only waited behind the held job, of its key but of another group: nobody would ever release it.
                () => self.schedule.push_again(batch),
            }
        }
        self.delayed = delayed.into();
    }

    /// Takes a message from the inbox, once all jobs of the one before are looked at.
    pub(crate) fn received(&mut self, message: Message<T, W::Output>) {
        match message {
            Message::Jobs(jobs) => {
                self.meters.queue_depth.increment(as_f64(jobs.len()));
                self.fresh = jobs.into_iter();
            }
            Message::Begun(begun) => {
                self.meters.queue_depth.increment(1.0);
                self.schedule.occupy(begun.jobs.tags[0].key);
                self.adopted.push_back(*begun);
            }
        }
    }

    /// Puts a new job into the schedule.
    pub(crate) fn push(&mut self, job: Job<T>) {
        if let Pushed::Behind(item) = self.schedule.push(job) {
            self.shared.work.keep(item);
        }
    }

    /// Keeps a batch until its time.
    pub(crate) fn delay(&mut self, due: Instant, mut batch: Batch<T>) {
        batch.items_mut().for_each(|item| self.shared.work.keep(item));
        self.delayed.push(Delayed { due, batch });
        self.ring_at(due);
    }

    /// Moves what is due back to work, and ends calls past their timeout.
    fn mature(&mut self, now: Instant) -> bool {
        let mut matured = false;
        while self.delayed.peek().is_some_and(|delayed| delayed.due <= now) {
            if let Some(delayed) = self.delayed.pop() {
                self.schedule.push_again(delayed.batch);
                matured = true;
            }
        }
        if self.alarm_at.is_some_and(|at| at <= now) {
            self.alarm_at = None;
            matured |= self.end_overdue(now);
            let deadlines = self.calls.iter_mut().filter_map(|(_, call)| call.deadline);
            let due = deadlines.chain(self.delayed.peek().map(|delayed| delayed.due)).min();
            let age = (self.calls.in_flight() > 0).then(|| now + AGE_INTERVAL);
            due.into_iter().chain(age).for_each(|at| self.ring_at(at));
        }
        matured
    }

    fn end_overdue(&mut self, now: Instant) -> bool {
        let overdue: Vec<usize> = self
            .calls
            .iter_mut()
            .filter_map(|(slot, call)| call.deadline.take_if(|deadline| *deadline <= now).map(|_| slot))
            .collect();
        for &slot in &overdue {
            self.overdue(slot);
        }
        let oldest = self.calls.iter_mut().map(|(_, call)| call.started).min();
        self.meters.show_oldest(oldest.map_or(Duration::ZERO, |started| now - started));
        !overdue.is_empty()
    }

    fn overdue(&mut self, slot: usize) {
        self.meters.timeouts.increment(1);
        match self.shared.options.on_timeout {
            crate::OnTimeout::Drop => {
                if let Some(call) = self.calls.take(slot) {
                    self.timed_out(call);
                }
            }
            crate::OnTimeout::Await => tracing::warn!(
                pool = self.shared.options.name,
                timeout = ?self.shared.options.handler_timeout,
                "a handler call is past its timeout; waiting for its outcome"
            ),
        }
    }

    fn poll_woken(&mut self) -> bool {
        let mut woken = std::mem::take(&mut self.woken);
        self.link().wakes.take(&mut woken);
        if woken.is_empty() {
            self.woken = woken;
            return false;
        }
        let mut before = Instant::now();
        for slot in woken.drain(..) {
            let ended = self.calls.poll(slot);
            let after = Instant::now();
            self.check_poll(after - before, after);
            before = after;
            if let Some((call, answer)) = ended {
                self.end(call, answer, after);
            }
        }
        self.woken = woken;
        true
    }

    /// Counts polls that held up the lane, and warns of them.
    pub(crate) fn check_poll(&mut self, took: Duration, now: Instant) {
        if took > crate::LONG_POLL {
            self.warn_of_poll(took, now);
        }
    }

    fn warn_of_poll(&mut self, took: Duration, now: Instant) {
        self.meters.long_polls.increment(1);
        if self.warned_of_poll.is_none_or(|warned| now - warned > Duration::from_secs(10)) {
            self.warned_of_poll = Some(now);
            tracing::warn!(
                pool = self.shared.options.name,
                ?took,
                "a handler held its lane without yielding; move blocking work to spawn_blocking"
            );
        }
    }

    pub(crate) fn flush(&mut self) {
        let over = self.ended + self.schedule.take_dropped();
        if over > 0 {
            self.meters.queue_depth.decrement(as_f64(over));
        }
        if self.ended > 0 {
            self.meters.done.increment(self.handled as u64);
            (self.ended, self.handled) = (0, 0);
            self.shared.work.hand_over(&mut self.gathered);
        }
    }

    /// A call goes on in its slot: the lane looks again at its deadline, and shows its age.
    pub(crate) fn watch(&mut self, started: Instant, deadline: Option<Instant>) {
        self.ring_at(started + AGE_INTERVAL);
        if let Some(deadline) = deadline {
            self.ring_at(deadline);
        }
    }

    /// Moves the alarm to an earlier time.
    pub(crate) fn ring_at(&mut self, at: Instant) {
        if self.alarm_at.is_none_or(|set| at < set) {
            self.alarm_at = Some(at);
            self.alarm_is_moved = true;
        }
    }

    /// True if the alarm rings now.
    fn alarm_rings(&mut self, context: &mut Context<'_>) -> bool {
        let Some(at) = self.alarm_at else {
            return false;
        };
        if std::mem::take(&mut self.alarm_is_moved) {
            self.alarm.as_mut().reset(at);
        }
        self.alarm.as_mut().poll(context).is_ready()
    }
}
