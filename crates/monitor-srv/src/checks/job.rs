//! What goes through the pool: one check of one run.

use std::fmt;
use std::sync::Arc;

use contracts::ids::ProjectId;
use outbox::db::DbErr;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, watch};
use uuid::Uuid;

use crate::domain::check::{Check, Finding};

/// One check in the pool.
#[derive(Debug)]
pub(super) struct CheckJob {
    pub(super) run: Arc<HeldRun>,
    pub(super) position: u64,
    pub(super) check: Check,
    /// The place it takes of those for runs from the database; given back when the job is over.
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

/// What became of a check.
#[derive(Debug)]
pub(super) enum Done {
    /// It has a result.
    Found(Finding),
    /// Its run may not begin now, or never came to be.
    StoodDown,
}

/// Whether the run of a check in the pool is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Not yet. When whoever says so is gone, it never will be.
    Pending,
    /// It is.
    Stored,
}

/// A run that this instance does: lives as long as one of its checks is in the pool, and its claim is renewed as long as it lives.
pub(super) struct HeldRun {
    pub(super) id: Uuid,
    pub(super) study: ProjectId,
    admission: watch::Receiver<Admission>,
    may_work: OnceCell<bool>,
}

impl HeldRun {
    pub(super) fn new(id: Uuid, study: ProjectId, admission: watch::Receiver<Admission>) -> Self {
        Self { id, study, admission, may_work: OnceCell::new() }
    }

    /// A run that was found in the database.
    pub(super) fn stored(id: Uuid, study: ProjectId) -> Self {
        Self::new(id, study, watch::channel(Admission::Stored).1)
    }

    /// Waits until the run is stored, then lets `begin` decide, once for all checks of the run.
    pub(super) async fn may_work<F>(&self, begin: impl FnOnce() -> F) -> Result<bool, DbErr>
    where
        F: Future<Output = Result<bool, DbErr>>,
    {
        let decide = || async {
            let mut admission = self.admission.clone();
            let is_stored = admission.wait_for(|admission| *admission == Admission::Stored).await.is_ok();
            if is_stored { begin().await } else { Ok(false) }
        };
        self.may_work.get_or_try_init(decide).await.copied()
    }
}

impl fmt::Debug for HeldRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldRun").field("id", &self.id).field("study", &self.study).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> (watch::Sender<Admission>, HeldRun) {
        let (admit, admission) = watch::channel(Admission::Pending);
        (admit, HeldRun::new(Uuid::now_v7(), "P-1".parse().unwrap(), admission))
    }

    #[tokio::test]
    async fn a_run_that_is_never_stored_never_begins() {
        let (admit, run) = pending();
        drop(admit);
        assert!(!run.may_work(async || panic!("begun")).await.unwrap());
    }

    #[tokio::test]
    async fn a_run_begins_once_when_it_is_stored() {
        let (admit, run) = pending();
        let begin = async || Ok(true);
        let (first, second, ()) = tokio::join!(run.may_work(begin), run.may_work(begin), async {
            admit.send_replace(Admission::Stored);
        });
        assert!(first.unwrap() && second.unwrap());
        assert!(run.may_work(async || panic!("begun twice")).await.unwrap());
    }

    #[tokio::test]
    async fn a_beginning_that_failed_is_tried_again() {
        let run = HeldRun::stored(Uuid::now_v7(), "P-1".parse().unwrap());
        assert!(run.may_work(async || Err(outbox::db::environment_error("away"))).await.is_err());
        assert!(run.may_work(async || Ok(true)).await.unwrap());
    }
}
