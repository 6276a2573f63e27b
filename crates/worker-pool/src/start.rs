//! What a lane runs next, and the first poll of each call: in line, so that a call that ends at once takes no slot and no memory.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use tokio::time::Instant;

use crate::backoff::later;
use crate::batch::{Batch, Jobs, Step, distinct_keys};
use crate::call::{Answer, Call};
use crate::calls::{Begun, Panicked};
use crate::circuit::Leave;
use crate::direct::{BegunCall, Went};
use crate::job::{Job, Work};
use crate::lane::{ENDED_PER_FLUSH, Lane};
use crate::meters::as_f64;

/// Jobs a place has room for before it has to grow.
const PLACE_JOBS: usize = 64;

/// What may run now.
enum Next<T> {
    /// A batch that was here before.
    Again(Batch<T>),
    /// Jobs of the schedule that are the first of their keys.
    Ready,
    /// A new job whose key is idle, in no queue of the lane. It is in its place already: a job is large, and moved as little as can be.
    New(Arc<Jobs<T>>),
}

/// Whether the keys of a call are busy in the schedule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Busy,
    NotEntered,
}

impl<T, W, F, M> Lane<T, W, F, M>
where
    T: Send + Sync + 'static,
    W: Work<T>,
    F: Future<Output = Answer<W::Output>>,
    M: Fn(Arc<Jobs<T>>, &Step) -> F,
{
    /// Starts calls while there are slots and jobs, and the circuit lets them. True if any was started.
    pub(crate) fn start_calls(&mut self, now: Instant, calls_left: &mut usize, context: &mut Context<'_>) -> bool {
        let before = *calls_left;
        self.pace.begin(now);
        while *calls_left > 0
            && self.calls.has_room()
            && let Some(begun) = self.adopted.pop_front()
        {
            *calls_left -= 1;
            self.adopt(begun);
        }
        if self.shared.admission.is_some() {
            self.start_admitted(now, calls_left, context);
        }
        while *calls_left > 0
            && self.shared.admission.is_none()
            && self.calls.has_room()
            && let Some(next) = self.next(context)
        {
            let leave = self.shared.circuit.leave(now);
            let Some(is_probe) = self.may_leave(leave) else {
                self.put_back(next);
                break;
            };
            *calls_left -= 1;
            self.run(next, is_probe);
        }
        let started = *calls_left < before;
        if started {
            self.look();
        }
        if !self.calls.has_room() {
            // Whoever waits for a slot waits in turn with other keys, not behind all jobs of one.
            while let Some(job) = self.receive(context) {
                self.push(job);
            }
        }
        // A call that the source began may have come with the last message.
        started || (self.calls.has_room() && !self.adopted.is_empty())
    }

    /// As [`start_calls`](Self::start_calls) where more than the circuit on the environment has a say, which looks at the schedule: every job
    /// goes through it.
    fn start_admitted(&mut self, now: Instant, calls_left: &mut usize, context: &mut Context<'_>) {
        while *calls_left > 0 && self.calls.has_room() {
            while self.schedule.ready() < self.shared.options.max_batch
                && let Some(job) = self.receive(context)
            {
                self.push(job);
            }
            if !self.schedule.has_work() {
                break;
            }
            let leave = self.admit(now);
            let Some(is_probe) = self.may_leave(leave) else {
                break;
            };
            *calls_left -= 1;
            let next = self.next_scheduled().expect("the schedule has work");
            self.run(next, is_probe);
        }
        self.note_idle(false);
    }

    /// Whether a call may start, as the probe or not; if not yet, the lane looks again in time.
    fn may_leave(&mut self, leave: Leave) -> Option<bool> {
        match leave {
            Leave::Go => Some(false),
            Leave::Probe => Some(true),
            Leave::At(until) => {
                self.ring_at(until);
                None
            }
            Leave::OnNews => None,
        }
    }

    fn next_scheduled(&mut self) -> Option<Next<T>> {
        match self.schedule.next_again() {
            Some(batch) => Some(Next::Again(batch)),
            None if self.schedule.ready() > 0 => Some(Next::Ready),
            None => self.schedule.next_put_off().map(Next::Again),
        }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Option<Next<T>> {
        if let Some(batch) = self.schedule.next_again() {
            return Some(Next::Again(batch));
        }
        let max_batch = self.shared.options.max_batch;
        while self.schedule.ready() < max_batch
            && let Some(job) = self.receive(context)
        {
            if max_batch == 1 && self.schedule.is_free(&job.tag) {
                let mut jobs = self.place();
                Jobs::own(&mut jobs).push(job);
                return Some(Next::New(jobs));
            }
            self.push(job);
        }
        (self.schedule.ready() > 0).then_some(Next::Ready)
    }

    fn receive(&mut self, context: &mut Context<'_>) -> Option<Job<T>> {
        loop {
            if let Some(job) = self.fresh.next() {
                return Some(job);
            }
            if !self.inbox_open {
                return None;
            }
            match self.inbox.poll_recv(context) {
                Poll::Pending => return None,
                Poll::Ready(None) => self.inbox_open = false,
                Poll::Ready(Some(message)) => self.received(message),
            }
        }
    }

    /// Goes on with a call that the source began.
    fn adopt(&mut self, begun: BegunCall<T, W::Output>) {
        let call = Call::of(begun.jobs, false, begun.started);
        let begun = match begun.went {
            Went::Ended(answer) => Begun::Ended(answer),
            Went::Pending(future) => self.calls.begin(|| Either::Right(future)),
        };
        self.go_on(begun, call);
    }

    fn put_back(&mut self, next: Next<T>) {
        match next {
            Next::Again(batch) => self.schedule.push_again_first(batch),
            Next::Ready => {}
            Next::New(mut jobs) => {
                let place = Jobs::own(&mut jobs);
                for (tag, item) in place.tags.drain(..).zip(place.items.drain(..)) {
                    self.push(Job { tag, item });
                }
                self.spare.push(jobs);
            }
        }
    }

    fn run(&mut self, next: Next<T>, is_probe: bool) {
        match next {
            Next::Again(batch) => self.call_again(batch, is_probe),
            Next::Ready => {
                let mut jobs = self.place();
                self.schedule.fill(Jobs::own(&mut jobs), self.shared.options.max_batch);
                self.call_new(jobs, Keys::Busy, is_probe);
            }
            Next::New(jobs) => self.call_new(jobs, Keys::NotEntered, is_probe),
        }
    }

    /// A place for the jobs of a call.
    fn place(&mut self) -> Arc<Jobs<T>> {
        self.spare.pop().unwrap_or_else(|| Arc::new(Jobs::with_capacity(self.shared.options.max_batch.min(PLACE_JOBS))))
    }

    fn call_new(&mut self, jobs: Arc<Jobs<T>>, keys: Keys, is_probe: bool) {
        let start = &self.start;
        match self.calls.begin(|| Either::Left(start(Arc::clone(&jobs), &Step::Handle))) {
            Begun::Ended(Ok(Answer::Handled(Ok(outputs))))
                if !is_probe && self.shared.admission.is_none() && outputs.len() == jobs.tags.len() =>
            {
                self.done(jobs, outputs, keys);
                if self.pace.ended() {
                    self.look();
                }
                self.flush_if_full();
            }
            begun => {
                if keys == Keys::NotEntered {
                    jobs.tags.iter().for_each(|tag| self.schedule.occupy(tag.key));
                }
                self.go_on(begun, Call::of(jobs, is_probe, self.pace.since()));
            }
        }
    }

    fn call_again(&mut self, batch: Batch<T>, is_probe: bool) {
        let Batch { jobs, step, rest, give_up_failures } = batch;
        let call = Call { step, rest, give_up_failures, ..Call::of(Arc::new(jobs), is_probe, self.pace.since()) };
        let start = &self.start;
        let begun = self.calls.begin(|| Either::Left(start(Arc::clone(&call.jobs), &call.step)));
        self.go_on(begun, call);
    }

    /// A call that did not simply succeed at once, or is not a new one.
    fn go_on(&mut self, begun: Begun<Answer<W::Output>>, mut call: Call<T>) {
        let now = self.look();
        self.shared.shortness.end();
        match begun {
            Begun::Ended(answer) => self.end(call, answer, now),
            Begun::Pending(slot) => {
                call.deadline =
                    (call.step == Step::Handle).then(|| later(call.started, self.shared.options.handler_timeout));
                self.watch(call.started, call.deadline);
                self.calls.attach(slot, call);
            }
        }
    }

    /// Reads the clock for the calls since it was read last.
    fn look(&mut self) -> Instant {
        let now = Instant::now();
        let looked = self.pace.look(now);
        if looked.ended > 0 {
            let each = looked.took / looked.ended;
            self.meters.handler.record_many(each.as_secs_f64(), looked.ended as usize);
            self.shared.shortness.ended(looked);
        }
        self.check_poll(looked.took, now);
        now
    }

    /// Takes what a call in a slot, or one that failed at once, ended with.
    pub(crate) fn end(&mut self, call: Call<T>, answer: Result<Answer<W::Output>, Panicked>, now: Instant) {
        match answer {
            Ok(Answer::Handled(Ok(outputs)))
                if !call.is_probe
                    && call.rest.is_empty()
                    && self.shared.admission.is_none()
                    && outputs.len() == call.jobs.tags.len() =>
            {
                self.meters.handler.record((now - call.started).as_secs_f64());
                self.done(call.jobs, outputs, Keys::Busy);
            }
            answer => self.settle(call, answer, now),
        }
        self.flush_if_full();
    }

    /// All jobs of a call are handled: their keys' next jobs may run, and their place is free.
    fn done(&mut self, mut jobs: Arc<Jobs<T>>, outputs: Vec<W::Output>, keys: Keys) {
        let place = Jobs::own(&mut jobs);
        let count = place.tags.len();
        if self.shared.options.max_batch > 1 {
            self.meters.batch_jobs.record(as_f64(count));
        }
        if keys == Keys::Busy {
            distinct_keys(&place.tags).for_each(|key| self.schedule.release_key(key));
        }
        self.shared.work.done(&mut place.items, &mut place.tags, outputs, &mut self.gathered);
        place.clear();
        self.ended += count;
        self.handled += count;
        if self.spare.len() <= self.calls.in_flight() {
            self.spare.push(jobs);
        }
    }

    fn flush_if_full(&mut self) {
        if self.ended >= ENDED_PER_FLUSH {
            self.flush();
        }
    }
}
