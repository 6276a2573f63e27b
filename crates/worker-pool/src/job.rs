//! What goes into the engine and what comes out of it, and the one trait between engine and source. Knows no Kafka and no queue.

use std::future::Future;

use crate::blocking::BlockingWork;
use crate::failure::{BoxError, HandlerError};

/// What the engine knows of a job besides its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Hash of what orders jobs: two jobs with equal hashes never run at once and never swap. See [`crate::key_hash`].
    pub key: u64,
    /// What is held, released and forgotten together (a Kafka partition).
    pub group: u32,
    /// Which assignment of the group this job belongs to: it grows, and what was forgotten stays forgotten.
    pub generation: u32,
    /// The source's own mark, handed back as it came.
    pub ticket: u64,
    /// Failed attempts so far; 0 for a new job.
    pub attempts: u32,
}

/// One job.
#[derive(Debug)]
pub struct Job<T> {
    /// What the engine knows of it.
    pub tag: Tag,
    /// What the handler gets.
    pub item: T,
}

/// Why a job was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaveUp {
    /// Which rule ended it.
    pub reason: GiveUpReason,
    /// The last failure, in words.
    pub cause: String,
    /// How many times the handler tried it.
    pub attempts: u32,
}

/// Which rule ended a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUpReason {
    /// The handler said it can never work.
    Rejected,
    /// Every attempt failed.
    Exhausted,
    /// The environment failed and the pool answers such failures at once.
    Unavailable,
}

/// A job that is over.
#[derive(Debug)]
pub struct Finished<T, R> {
    /// What the engine knew of it.
    pub tag: Tag,
    /// Its content, handed back.
    pub item: T,
    /// The handler's result, or why it was given up.
    pub result: Result<R, GaveUp>,
}

/// What a source gives the engine: how to work, how to give up, and where news goes.
pub trait Work<T>: Send + Sync + 'static {
    /// The result of one job.
    type Output: Send + 'static;
    /// What a lane gathers of finished jobs between two hand-overs.
    type Gathered: Default + Send + 'static;

    /// Works on 1 to `max_batch` jobs; `Ok` has exactly one result for each, in order. Equal keys are neighbours in `items`; `tags` are
    /// theirs, at the same places.
    fn run(&self, items: &[T], tags: &[Tag]) -> impl Future<Output = Result<Vec<Self::Output>, HandlerError>> + Send;

    /// The same work for handlers that block. Asked once, at the start of the pool: `Some` means that every call goes to
    /// [`BlockingWork::run_blocking`] on one of the pool's blocking threads, and none to `run`.
    fn as_blocking(&self) -> Option<&dyn BlockingWork<T, Self::Output>> {
        None
    }

    /// Makes the giving up durable (a dead letter). An error is one of the environment: the key waits and this is called again, without
    /// end. There is no timeout: bound it yourself.
    fn give_up(&self, item: &T, gave_up: &GaveUp) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// This job has to wait: behind another of its key, for a retry or for a release. Lets go of memory it shares with jobs that do not
    /// wait. Called on the lane: must not block.
    fn keep(&self, item: &mut T) {
        // Most items share nothing.
        let _ = item;
    }

    /// Takes one finished job. Called on the lane: must not block.
    fn finished(&self, job: Finished<T, Self::Output>, gathered: &mut Self::Gathered);

    /// Takes the jobs of a call that succeeded, as [`finished`](Self::finished) does for each; what is left in `items` is dropped. To be
    /// overridden where items need not be moved out.
    fn done(&self, items: &mut Vec<T>, tags: &mut Vec<Tag>, outputs: Vec<Self::Output>, gathered: &mut Self::Gathered) {
        for ((item, tag), output) in items.drain(..).zip(tags.drain(..)).zip(outputs) {
            self.finished(Finished { tag, item, result: Ok(output) }, gathered);
        }
    }

    /// Hands over what was gathered, and leaves it empty: after a call that makes it 128 jobs or more, or when the lane has nothing to do.
    /// Called on the lane: must not block.
    fn hand_over(&self, gathered: &mut Self::Gathered);

    /// Learns that this job waits until its group is released. Called on the lane: must not block.
    fn held(&self, tag: Tag, cause: String);
}
