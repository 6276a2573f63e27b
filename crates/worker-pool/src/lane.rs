//! A lane: one task that takes jobs, starts handler calls while it has slots, polls those that were woken, and settles what ended. It is a
//! plain state machine with one `poll`; what follows from an outcome is in `settle.rs`.

use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep};

use crate::admit::Admission;
use crate::backoff::{Jitter, later};
use crate::batch::{Batch, Jobs, Step};
use crate::call::{Answer, Call, Delayed};
use crate::calls::Calls;
use crate::circuit::{Circuit, Leave};
use crate::job::{Finished, Job, Work};
use crate::link::{Link, Order};
use crate::meters::{Meters, as_f64};
use crate::options::PoolOptions;
use crate::schedule::Schedule;

/// Calls started in one poll of a lane before other tasks of the runtime get their turn.
const CALLS_PER_POLL: usize = 256;
/// Finished jobs are handed over at this many, or when the lane has nothing to do.
const FINISHED_PER_FLUSH: usize = 128;
/// How often the oldest call's age is shown while calls are in flight.
const AGE_INTERVAL: Duration = Duration::from_secs(1);

/// What all lanes of a pool share.
pub(crate) struct Shared<W> {
    pub(crate) work: Arc<W>,
    pub(crate) options: PoolOptions,
    pub(crate) circuit: Circuit,
    pub(crate) admission: Option<Admission>,
    pub(crate) links: Vec<Link>,
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
    start: M,
    inbox: mpsc::Receiver<Vec<Job<T>>>,
    inbox_open: bool,
    pub(crate) schedule: Schedule<T>,
    calls: Calls<F, Call<T>>,
    pub(crate) delayed: BinaryHeap<Delayed<T>>,
    pub(crate) held: Vec<Batch<T>>,
    pub(crate) finished: Vec<Finished<T, W::Output>>,
    alarm: Pin<Box<Sleep>>,
    alarm_at: Option<Instant>,
    /// When the circuit lets this lane look again.
    pause_until: Option<Instant>,
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
        inbox: mpsc::Receiver<Vec<Job<T>>>,
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
            schedule: Schedule::new(),
            calls,
            delayed: BinaryHeap::new(),
            held: Vec::new(),
            finished: Vec::new(),
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
            alarm_at: None,
            pause_until: None,
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
            let received = self.receive(context);
            let now = Instant::now();
            let matured = self.mature(now);
            let started = self.start_calls(now, &mut calls_left);
            let polled = self.poll_woken();
            if calls_left == 0 || !has_budget_remaining() {
                // Without budget every tokio resource in a handler answers Pending and wakes at once: going on would spin.
                context.waker().wake_by_ref();
                break;
            }
            if received || matured || started || polled {
                continue;
            }
            if self.is_over() {
                self.flush();
                self.meters.show_busy(0);
                self.note_idle(true);
                return Poll::Ready(());
            }
            if self.alarm_rings(now, context) {
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

    fn receive(&mut self, context: &mut Context<'_>) -> bool {
        let mut received = 0;
        while self.inbox_open {
            match self.inbox.poll_recv(context) {
                Poll::Pending => break,
                Poll::Ready(None) => self.inbox_open = false,
                Poll::Ready(Some(jobs)) => {
                    received += jobs.len();
                    for job in jobs {
                        self.schedule.push(job);
                    }
                }
            }
        }
        if received > 0 {
            self.meters.queue_depth.increment(as_f64(received));
        }
        received > 0
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

    fn start_calls(&mut self, now: Instant, calls_left: &mut usize) -> bool {
        let mut started = false;
        self.pause_until = None;
        while *calls_left > 0 && self.calls.has_room() && self.schedule.has_work() {
            let is_probe = match self.admit(now) {
                Leave::Go => false,
                Leave::Probe => true,
                Leave::At(until) => {
                    self.pause_until = Some(until);
                    break;
                }
                Leave::OnNews => break,
            };
            let Some(batch) = self.schedule.next(self.shared.options.max_batch) else {
                break;
            };
            *calls_left -= 1;
            started = true;
            self.call(batch, is_probe);
        }
        self.note_idle(false);
        started
    }

    fn call(&mut self, batch: Batch<T>, is_probe: bool) {
        let started = Instant::now();
        let deadline = match batch.step {
            Step::Handle => Some(later(started, self.shared.options.handler_timeout)),
            Step::GiveUp(_) => None,
        };
        let call = Call {
            jobs: Arc::new(batch.jobs),
            step: batch.step,
            rest: batch.rest,
            give_up_failures: batch.give_up_failures,
            started,
            deadline,
            is_probe,
        };
        let future = (self.start)(Arc::clone(&call.jobs), &call.step);
        let slot = self.calls.insert(call, future);
        self.poll_call(slot, started);
    }

    fn poll_woken(&mut self) -> bool {
        let mut woken = std::mem::take(&mut self.woken);
        self.link().wakes.take(&mut woken);
        let any = !woken.is_empty();
        for slot in woken.drain(..) {
            self.poll_call(slot, Instant::now());
        }
        self.woken = woken;
        any
    }

    fn poll_call(&mut self, slot: usize, before: Instant) {
        let ended = self.calls.poll(slot);
        let after = Instant::now();
        if after - before > crate::LONG_POLL {
            self.warn_of_poll(after - before, after);
        }
        if let Some((call, answer)) = ended {
            self.settle(call, answer, after);
            if self.finished.len() >= FINISHED_PER_FLUSH {
                self.flush();
            }
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

    fn flush(&mut self) {
        let over = self.finished.len() + self.schedule.take_dropped();
        if over > 0 {
            self.meters.queue_depth.decrement(as_f64(over));
        }
        if !self.finished.is_empty() {
            let jobs = std::mem::take(&mut self.finished);
            self.shared.work.finished(jobs);
        }
    }

    /// Sets the alarm to the next thing that has a time. True if that is now.
    fn alarm_rings(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let deadlines = self.calls.iter_mut().filter_map(|(_, call)| call.deadline);
        let due = deadlines.chain(self.delayed.peek().map(|delayed| delayed.due)).chain(self.pause_until).min();
        let ages = (self.calls.in_flight() > 0).then(|| now + AGE_INTERVAL);
        let Some(due) = due.into_iter().chain(ages).min() else {
            return false;
        };
        // An alarm that rings too early only costs one look; moving it later each time would cost more.
        if self.alarm_at.is_none_or(|at| due < at) {
            self.alarm.as_mut().reset(due);
            self.alarm_at = Some(due);
        }
        self.alarm.as_mut().poll(context).is_ready()
    }
}
