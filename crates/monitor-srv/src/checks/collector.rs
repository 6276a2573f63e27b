//! Takes the results of the workers and writes them, many in one transaction. Ends only after the workers did.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt as _;
use outbox::db::{self, Database, DbErr};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker_pool::{JobError, Results};

use super::claims::Claims;
use super::job::{CheckJob, Done};
use crate::domain::check::Finding;
use crate::store::claim::{self, CheckResult};

/// Results written in one transaction.
const BATCH: usize = 100;
/// The wait before results are written again.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Tries of a write that fails for a reason of its own. After them its checks are done again when the claim of their run has run out.
const MAX_TRIES: u32 = 5;

type Finished = (CheckJob, Result<Done, JobError>);

pub(super) async fn run(
    db: &Database,
    claims: &Claims,
    mut results: Results<CheckJob, Done>,
    stop: &CancellationToken,
) {
    while let Some(first) = results.next().await {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Some(Some(next)) = results.next().now_or_never()
        {
            batch.push(next);
        }
        let (found, given_up) = sort(&batch);
        write(db, found, stop).await;
        for run in given_up {
            // Without it the claim runs out by itself.
            if let Err(error) = claims.release(db, Some(run)).await {
                tracing::debug!(%error, %run, "a check run could not be given up at once");
            }
        }
    }
    if let Err(error) = claims.release(db, None).await {
        tracing::warn!(%error, "claims could not be given up; other instances wait until they run out");
    }
}

/// What to write, and the runs that this instance does not do after all.
fn sort(batch: &[Finished]) -> (Vec<CheckResult>, BTreeSet<Uuid>) {
    let (mut found, mut given_up) = (Vec::new(), BTreeSet::new());
    for (job, outcome) in batch {
        let finding = match outcome {
            Ok(Done::Found(finding)) => finding.clone(),
            Err(failed @ (JobError::Failed { .. } | JobError::Rejected { .. })) => {
                Finding::error(format!("the check could not be done: {failed}"))
            }
            Ok(Done::StoodDown) | Err(_) => {
                given_up.insert(job.run.id);
                continue;
            }
        };
        found.push(CheckResult { run: job.run.id, position: job.position, finding });
    }
    (found, given_up)
}

/// Writes until it is written, or until `stop`: then the checks are done again after the next start.
async fn write(db: &Database, found: Vec<CheckResult>, stop: &CancellationToken) {
    if found.is_empty() {
        return;
    }
    let (mut wait, mut own_failures) = (FIRST_WAIT, 0);
    loop {
        let Err(error) = claim::record(db, found.clone(), db::now()).await else { return };
        own_failures += u32::from(!is_passing(&error));
        if own_failures >= MAX_TRIES {
            tracing::error!(%error, results = found.len(), "results of checks cannot be written; they are done again");
            return;
        }
        tracing::warn!(%error, results = found.len(), "results of checks wait to be written");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn is_passing(error: &DbErr) -> bool {
    db::is_environment(error)
}
