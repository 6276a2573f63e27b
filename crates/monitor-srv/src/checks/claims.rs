//! What this instance does: the name under which it claims runs, how long a claim lasts, and which runs are in its pool.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use outbox::db::{self, Database, DbErr};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::job::HeldRun;
use crate::store::claim::{self, Claim};

/// Renewals within one lease: two may fail before the run is lost.
const RENEWALS_PER_LEASE: u32 = 3;
/// Claims renewed in one statement: far below the number of bind variables that either database takes.
const RENEW_CHUNK: usize = 500;

/// The claims of this instance; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    by: Uuid,
    lease: Duration,
    held: Mutex<Vec<Weak<HeldRun>>>,
    runs_wait: Notify,
}

impl Claims {
    /// Under a new name: what an earlier process of this instance has claimed is its own no more.
    pub(crate) fn new(lease: Duration) -> Self {
        let shared = Shared { by: Uuid::now_v7(), lease, held: Mutex::default(), runs_wait: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Says that a run may be waiting in the database, or will be once the running transaction commits.
    pub(crate) fn wake(&self) {
        self.shared.runs_wait.notify_one();
    }

    /// Resolves at the next wake, or at once when one was missed. Cancel-safe.
    pub(super) async fn woken(&self) {
        self.shared.runs_wait.notified().await;
    }

    pub(super) fn by(&self) -> Uuid {
        self.shared.by
    }

    /// A claim from now on.
    pub(super) fn claim(&self) -> Claim {
        Claim { by: self.shared.by, until: db::now() + self.shared.lease }
    }

    /// From now on this run's claim is renewed, until the last of its checks is over.
    pub(super) fn hold(&self, run: HeldRun) -> Arc<HeldRun> {
        let run = Arc::new(run);
        self.shared.held.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&run));
        run
    }

    fn held(&self) -> Vec<Uuid> {
        let mut held = self.shared.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|run| run.strong_count() > 0);
        held.iter().filter_map(Weak::upgrade).map(|run| run.id).collect()
    }

    /// Renews what is held, until `stop`.
    pub(super) async fn keep(&self, db: Database, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.shared.lease / RENEWALS_PER_LEASE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.renew(&db).await {
                // The next tick tries again; at worst another instance does these checks as well, to the same results.
                tracing::warn!(%error, "claims of check runs could not be renewed");
            }
        }
    }

    async fn renew(&self, db: &Database) -> Result<(), DbErr> {
        for runs in self.held().chunks(RENEW_CHUNK) {
            let (claim, runs) = (self.claim(), runs.to_vec());
            db.transaction(move |tx| Box::pin(async move { claim::renew(tx, &claim, &runs, true).await })).await?;
        }
        Ok(())
    }

    /// Gives up one run, or all, so that nobody has to wait for the end of the lease.
    pub(super) async fn release(&self, db: &Database, run: Option<Uuid>) -> Result<(), DbErr> {
        let by = self.shared.by;
        db.transaction(move |tx| Box::pin(async move { claim::release(tx, by, run).await })).await?;
        Ok(())
    }
}
