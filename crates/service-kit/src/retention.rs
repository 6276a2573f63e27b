//! Forgets what is kept for a time only, so that tables stay bounded. Several instances may do it at once.

use std::{future::Future, time::Duration};

use outbox::db::{self, Database, DbErr};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Between two rounds. Nothing depends on one: the next does what it missed.
const EVERY: Duration = Duration::from_hours(1);

/// Prunes once an hour, the first time at once, until `stop`. `prune` returns how many rows it removed; what it removed before the stop stays
/// removed. `what` names them in the log.
///
/// # Errors
/// None: a failed round is told in the log.
pub async fn run<F>(what: &'static str, mut prune: impl FnMut() -> F, stop: CancellationToken) -> anyhow::Result<()>
where
    F: Future<Output = Result<u64, DbErr>>,
{
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(rounds.tick()).await.is_some() {
        match stop.run_until_cancelled(prune()).await {
            None | Some(Ok(0)) => {}
            Some(Ok(pruned)) => tracing::info!(pruned, "forgot old {what}"),
            Some(Err(error)) => tracing::warn!(%error, "old {what} could not be forgotten"),
        }
    }
    Ok(())
}

/// Forgets answers to request ids that are older than `keep`.
///
/// # Errors
/// None: a failed round is told in the log.
pub async fn requests(db: Database, keep: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    run("answers to request ids", || outbox::requests::prune(&db, db::now() - keep), stop).await
}
