//! Feeds the pool with runs from the database: those that events queued, and those that an instance left behind. Safe with several instances.

use std::time::Duration;

use outbox::db::{self, DbErr};
use tokio::sync::AcquireError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Checks;
use super::job::{CheckJob, HeldRun};
use crate::store::claim::{self, ClaimedRow};

/// Runs claimed in one transaction.
const CLAIM_BATCH: u64 = 16;
/// After a wake, when to look. A wake comes from inside the transaction that queues the run, so the first look may come too early.
const LOOKS_AFTER_WAKE: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(3), Duration::from_millis(10), Duration::from_millis(30)];

/// The pool takes no more checks.
struct Closed;

impl From<AcquireError> for Closed {
    fn from(_: AcquireError) -> Self {
        Self
    }
}

pub(super) async fn run(checks: Checks, poll: Duration, stop: CancellationToken) {
    let feeding = async {
        loop {
            let woken = tokio::select! {
                () = checks.claims.woken() => true,
                () = sleep(poll) => false,
            };
            let looks = if woken { &LOOKS_AFTER_WAKE[..] } else { &LOOKS_AFTER_WAKE[..1] };
            for wait in looks {
                sleep(*wait).await;
                match feed_all(&checks).await {
                    Ok(Fed::Some) => break,
                    Ok(Fed::Nothing) => {}
                    Ok(Fed::Closed) => return,
                    Err(error) => {
                        // The database's own readiness component reports an outage; the poll tries again.
                        tracing::debug!(%error, "queued check runs could not be claimed");
                        break;
                    }
                }
            }
        }
    };
    tokio::select! {
        // Dropped midway, a run that is claimed and not fed is given up with the others when the pool has ended.
        () = stop.cancelled() => {}
        () = feeding => stop.cancelled().await,
    }
}

enum Fed {
    Nothing,
    Some,
    Closed,
}

/// Feeds until no run can be claimed.
async fn feed_all(checks: &Checks) -> Result<Fed, DbErr> {
    let mut fed = Fed::Nothing;
    while claim::is_any(checks.db.reader(), db::now()).await? {
        let claim = checks.claims.claim();
        let taken = checks
            .db
            .transaction(move |tx| Box::pin(async move { claim::take(tx, db::now(), &claim, CLAIM_BATCH).await }))
            .await?;
        if taken.is_empty() {
            break;
        }
        fed = Fed::Some;
        // Held all at once: the claims of those that wait for room are renewed as well.
        let runs: Vec<_> = taken.into_iter().map(|row| hold(checks, row)).collect();
        for jobs in runs {
            if feed(checks, jobs).await.is_err() {
                return Ok(Fed::Closed);
            }
        }
    }
    Ok(fed)
}

fn hold(checks: &Checks, row: ClaimedRow) -> Vec<CheckJob> {
    let run = checks.claims.hold(HeldRun::stored(row.id, row.study));
    row.open.into_iter().map(|(position, check)| CheckJob { run: run.clone(), position, check, _place: None }).collect()
}

/// Puts the checks of a run into the pool, waiting for room.
async fn feed(checks: &Checks, jobs: Vec<CheckJob>) -> Result<(), Closed> {
    for job in jobs {
        let place = checks.fed.clone().acquire_owned().await?;
        checks.intake.submit(CheckJob { _place: Some(place), ..job }).await.map_err(|_| Closed)?;
    }
    Ok(())
}
