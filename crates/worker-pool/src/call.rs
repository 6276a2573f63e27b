//! A handler call in flight and a batch that waits for its time: what a lane remembers of each.

use std::sync::Arc;

use tokio::time::Instant;

use crate::batch::{Batch, Jobs, Step};
use crate::failure::{BoxError, HandlerError};

/// What a call's future answers.
pub(crate) enum Answer<R> {
    Handled(Result<Vec<R>, HandlerError>),
    GivenUp(Result<(), BoxError>),
}

/// What the lane knows of a call in flight.
pub(crate) struct Call<T> {
    /// Shared with the future, so that the jobs survive a future that is dropped or panics.
    pub(crate) jobs: Arc<Jobs<T>>,
    pub(crate) step: Step,
    pub(crate) rest: Vec<Jobs<T>>,
    pub(crate) give_up_failures: u32,
    pub(crate) started: Instant,
    /// `None` once it has passed, and for a giving up, which has none.
    pub(crate) deadline: Option<Instant>,
    pub(crate) is_probe: bool,
}

impl<T> Call<T> {
    /// A call that begins, without a deadline yet.
    pub(crate) fn of(jobs: Arc<Jobs<T>>, is_probe: bool, started: Instant) -> Self {
        Self { jobs, step: Step::Handle, rest: Vec::new(), give_up_failures: 0, started, deadline: None, is_probe }
    }

    /// The batch, once the future is gone.
    pub(crate) fn into_batch(self) -> Batch<T> {
        Batch {
            jobs: Arc::into_inner(self.jobs).expect("the future, the only other owner of the jobs, is gone"),
            step: self.step,
            rest: self.rest,
            give_up_failures: self.give_up_failures,
        }
    }
}

/// A batch that waits for its time.
pub(crate) struct Delayed<T> {
    pub(crate) due: Instant,
    pub(crate) batch: Batch<T>,
}

impl<T> PartialEq for Delayed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl<T> Eq for Delayed<T> {}
impl<T> PartialOrd for Delayed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Delayed<T> {
    /// The earliest is the greatest: it comes first out of a heap.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.due.cmp(&self.due)
    }
}
