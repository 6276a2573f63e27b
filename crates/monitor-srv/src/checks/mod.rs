//! The bounded pool that does the checks, and the ways in and out of it: asked for over HTTP, or fed from the runs that events left in the
//! database; results through one collector. It must not know gRPC or HTTP.
//!
//! Nothing accepted lives in memory alone. A run is a row before it is answered for; the instance that does it has claimed it for a while
//! and renews that; results are written as they come. After a crash the claim runs out, and whoever looks next does the checks that have
//! no result yet. A check that was done twice by that has one result: the first.

mod ask;
mod claims;
mod collector;
mod contents;
mod feeder;
mod job;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use outbox::db::Database;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use worker_pool::{Collected, Intake, IntakeOptions, Results, WhenUnavailable};

pub(crate) use ask::Refusal;
pub(crate) use claims::Claims;

use crate::config::MonitorArgs;
use job::{CheckJob, Done};
use worker::Worker;

/// Attempts of a check that fails by itself; an absent database counts no attempt.
const MAX_ATTEMPTS: u32 = 3;

/// The pool of this instance; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Checks {
    db: Database,
    intake: Intake<CheckJob, Collected<Done>>,
    claims: Claims,
    /// Places that runs from the database may take: the rest of the queue is left to those who ask over HTTP and wait for an answer.
    fed: Arc<Semaphore>,
}

/// The results of the pool, to be collected.
#[derive(Debug)]
pub(crate) struct Outcomes {
    results: Results<CheckJob, Done>,
}

impl Checks {
    /// Starts the workers on the current runtime.
    pub(crate) fn start(db: Database, args: &MonitorArgs) -> (Self, Outcomes) {
        let claims = Claims::new(args.check_lease);
        let mut options = IntakeOptions::new("checks");
        options.workers = args.check_workers;
        options.queue_capacity = args.check_queue;
        options.max_attempts = MAX_ATTEMPTS;
        options.handler_timeout = args.check_timeout;
        // The run is stored: it waits until the database is back.
        options.when_unavailable = WhenUnavailable::Wait;
        let (intake, results) = Intake::start_collecting(options, Worker::new(db.clone(), claims.clone()));
        let fed = Arc::new(Semaphore::new(args.check_queue.div_ceil(2)));
        (Self { db, intake, claims, fed }, Outcomes { results })
    }

    /// For those who leave runs in the database: wakes the feeder.
    pub(crate) fn claims(&self) -> Claims {
        self.claims.clone()
    }

    /// Checks that wait for a worker.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.intake.status().in_queue
    }

    /// Feeds the pool with claimable runs until `stop`; looks for them every `poll` at least.
    pub(crate) async fn feed(self, poll: Duration, stop: CancellationToken) -> anyhow::Result<()> {
        feeder::run(self, poll, stop).await;
        Ok(())
    }

    /// Renews the claims of what is in the pool until `stop`.
    pub(crate) async fn keep_claims(self, stop: CancellationToken) -> anyhow::Result<()> {
        self.claims.keep(self.db, stop).await;
        Ok(())
    }

    /// At `stop` closes the pool and lets it finish what it has, up to `deadline`; what is left then is done after the next start.
    pub(crate) async fn drain(self, deadline: Duration, stop: CancellationToken) -> anyhow::Result<()> {
        stop.cancelled().await;
        let report = self.intake.drain(deadline).await;
        if report.undone > 0 {
            tracing::warn!(undone = report.undone, "checks are left for the next start; nothing accepted is lost");
        }
        Ok(())
    }

    /// Writes results until the workers have ended, then gives up what is still claimed; ends after `stop`.
    pub(crate) async fn collect(self, outcomes: Outcomes, stop: CancellationToken) -> anyhow::Result<()> {
        collector::run(&self.db, &self.claims, outcomes.results, &stop).await;
        stop.cancelled().await;
        Ok(())
    }
}
