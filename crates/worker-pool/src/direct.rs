//! Calls on the source's own thread while the handler is short. To give a job to a lane, wake it and hear of its end costs a few hundred
//! nanoseconds, most of them for two cores to meet; a handler that takes less than that is called where its job is.
//!
//! It begins only after thousands of calls in a row that the lanes saw end at once, each within [`PoolOptions::direct_below`](crate::PoolOptions::direct_below), and it ends with the first
//! call that does not: one that is pending or has failed goes on in its lane as if it had begun there, and so do all jobs after it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::batch::Jobs;
use crate::call::Answer;
use crate::calls::{Panicked, Slot};
use crate::job::Job;
use crate::meters::Meters;
use crate::pace::{Looked, Pace};

/// Short calls in a row before the source's thread makes them.
const STREAK: u64 = 4_096;
/// Where a call has held up its thread, so many more are asked for each time, up to a number that takes minutes.
const STREAK_GROWTH: u64 = 8;
const STREAK_MAX: u64 = 1 << 30;

/// How short the handler's calls are, as lanes see them.
#[derive(Debug)]
pub(crate) struct Shortness {
    /// Calls of this mean length are short.
    short: Duration,
    streak: AtomicU64,
}

impl Shortness {
    pub(crate) fn new(short: Duration) -> Self {
        Self { short, streak: AtomicU64::new(0) }
    }

    /// Calls that ended at once.
    pub(crate) fn ended(&self, looked: Looked) {
        if looked.took <= self.short * looked.ended {
            self.streak.fetch_add(u64::from(looked.ended), Ordering::Relaxed);
        } else {
            // One thread that was interrupted says nothing of the handler; one look after the other does.
            self.streak.store(self.streak() / 2, Ordering::Relaxed);
        }
    }

    /// A call that did not simply succeed at once.
    pub(crate) fn end(&self) {
        self.streak.store(0, Ordering::Relaxed);
    }

    fn streak(&self) -> u64 {
        self.streak.load(Ordering::Relaxed)
    }
}

pub(crate) type Boxed<R> = Pin<Box<dyn Future<Output = Answer<R>> + Send>>;

/// Where a call stands after its first poll.
pub(crate) enum Went<R> {
    Pending(Boxed<R>),
    Ended(Result<Answer<R>, Panicked>),
}

/// A call that has begun on the source's thread and goes on in the lane of its job. Dropping it drops the call.
pub struct BegunCall<T, R> {
    pub(crate) jobs: Arc<Jobs<T>>,
    pub(crate) started: Instant,
    pub(crate) went: Went<R>,
}

/// What became of a job.
#[derive(Debug)]
#[must_use = "a call that goes on belongs to its lane"]
pub enum Called<T, R> {
    /// The handler is done with it.
    Done(R),
    /// Give it to [`Pool::go_on`](crate::Pool::go_on): it does not count as ended.
    GoesOn(BegunCall<T, R>),
}

/// Makes calls on the thread that owns it. It takes jobs of idle keys only, and never runs two calls at once; both bounds on what runs beside
/// it, in lanes, are the source's to keep: no job of the same key, and fewer calls than [`Pool::slots_per_lane`](crate::Pool::slots_per_lane).
pub struct Direct<T, R> {
    first_poll: Box<dyn FnMut(Job<T>) -> Polled<T, R> + Send>,
    shortness: Arc<Shortness>,
    streak: u64,
    pace: Pace,
    /// Whether the calls of the last look were long: a thread that was interrupted once is no reason to stop.
    was_long: bool,
    meters: Meters,
}

enum Polled<T, R> {
    Done(R),
    Went(Arc<Jobs<T>>, Went<R>),
}

impl<T: Send + Sync + 'static, R: Send + 'static> Direct<T, R> {
    /// `start` makes a call's future.
    pub(crate) fn new<F>(
        pool: &str,
        shortness: Arc<Shortness>,
        start: impl Fn(Arc<Jobs<T>>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Answer<R>> + Send + 'static,
    {
        let mut slot: Slot<F, ()> = Slot::new(Waker::noop().clone());
        let mut spare: Option<Arc<Jobs<T>>> = None;
        let first_poll = move |job| {
            let mut jobs = spare.take().unwrap_or_else(|| Arc::new(Jobs::with_capacity(1)));
            Jobs::own(&mut jobs).push(job);
            match slot.begin(|| start(Arc::clone(&jobs))) {
                Poll::Ready(Ok(Answer::Handled(Ok(mut outputs)))) if outputs.len() == 1 => {
                    Jobs::own(&mut jobs).clear();
                    spare = Some(jobs);
                    Polled::Done(outputs.pop().expect("there is one"))
                }
                Poll::Ready(ended) => Polled::Went(jobs, Went::Ended(ended)),
                Poll::Pending => Polled::Went(jobs, Went::Pending(boxed(slot.take_future()))),
            }
        };
        Self {
            first_poll: Box::new(first_poll),
            shortness,
            streak: STREAK,
            pace: Pace::new(Instant::now()),
            was_long: false,
            meters: Meters::new(pool, 0),
        }
    }

    /// True while calls are short. To be asked before the calls of one drain of the source.
    pub fn begin(&mut self) -> bool {
        self.pace.begin(Instant::now());
        self.is_on()
    }

    /// True while calls are short.
    pub fn is_on(&self) -> bool {
        self.shortness.streak() >= self.streak
    }

    /// Calls the handler with a job.
    pub fn call(&mut self, job: Job<T>) -> Called<T, R> {
        match (self.first_poll)(job) {
            Polled::Done(output) => {
                if self.pace.ended() {
                    self.look();
                }
                Called::Done(output)
            }
            Polled::Went(jobs, went) => {
                let started = self.pace.since();
                self.look();
                self.shortness.end();
                Called::GoesOn(BegunCall { jobs, started, went })
            }
        }
    }

    /// The calls of a drain are over.
    pub fn end(&mut self) {
        self.look();
    }

    /// The lanes are not empty, and will not be soon: calls stay with them, for longer each time.
    pub fn put_off(&mut self) {
        self.shortness.end();
        self.ask_for_more();
    }

    fn ask_for_more(&mut self) {
        self.streak = self.streak.saturating_mul(STREAK_GROWTH).min(STREAK_MAX);
    }

    fn look(&mut self) {
        let looked = self.pace.look(Instant::now());
        if looked.ended > 0 {
            self.meters.done.increment(u64::from(looked.ended));
            self.meters.handler.record_many((looked.took / looked.ended).as_secs_f64(), looked.ended as usize);
            let was_long = std::mem::replace(&mut self.was_long, looked.took > 2 * self.shortness.short * looked.ended);
            if was_long && self.was_long {
                self.shortness.end();
            }
        }
        if looked.took > crate::LONG_POLL {
            self.meters.long_polls.increment(1);
            self.shortness.end();
            self.ask_for_more();
        }
    }
}

/// A future in its place, for whoever polls it next.
fn boxed<F, R>(mut place: Pin<Box<Option<F>>>) -> Boxed<R>
where
    F: Future<Output = Answer<R>> + Send + 'static,
{
    Box::pin(poll_fn(move |context| place.as_mut().as_pin_mut().map_or(Poll::Pending, |future| future.poll(context))))
}

impl<T, R> fmt::Debug for BegunCall<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BegunCall").field("tags", &self.jobs.tags).finish_non_exhaustive()
    }
}

impl<T, R> fmt::Debug for Direct<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct")
            .field("streak", &self.shortness.streak())
            .field("needed", &self.streak)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(ended: u32, each: Duration) -> Looked {
        Looked { ended, took: each * ended }
    }

    #[test]
    fn only_a_row_of_short_calls_counts_and_one_interruption_does_not_end_it() {
        let shortness = Shortness::new(Duration::from_nanos(800));
        for _ in 0..STREAK / 64 {
            shortness.ended(looked(64, Duration::from_nanos(100)));
        }
        assert_eq!(shortness.streak(), STREAK);
        shortness.ended(looked(64, Duration::from_micros(20)));
        assert_eq!(shortness.streak(), STREAK / 2);
        for _ in 0..10 {
            shortness.ended(looked(1, Duration::from_micros(20)));
        }
        assert!(shortness.streak() < 10, "a handler that takes its time is not short");
    }

    #[test]
    fn a_handler_that_holds_up_the_thread_is_not_called_there_again_soon() {
        let shortness = Arc::new(Shortness::new(Duration::from_nanos(800)));
        let calls = |_: Arc<Jobs<u32>>| std::future::ready(Answer::Handled(Ok(vec![()])));
        let mut direct = Direct::new("test", Arc::clone(&shortness), calls);
        shortness.ended(looked(u32::try_from(STREAK).unwrap(), Duration::ZERO));
        assert!(direct.begin());
        direct.pace.begin(Instant::now().checked_sub(Duration::from_millis(20)).unwrap());
        direct.end();
        shortness.ended(looked(u32::try_from(STREAK).unwrap(), Duration::ZERO));
        assert!(!direct.begin());
        shortness.ended(looked(u32::try_from(STREAK * STREAK_GROWTH).unwrap(), Duration::ZERO));
        assert!(direct.begin());
    }
}
