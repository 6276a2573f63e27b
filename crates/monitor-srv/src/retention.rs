//! Forgets what is kept for a time only: answers to request ids, and results of checks asked for over HTTP. Several instances may do it at
//! once.

use std::time::Duration;

use outbox::db::{self, Database, DbErr};
use tokio_util::sync::CancellationToken;

use crate::config::MonitorArgs;
use crate::store::run;

const EVERY: Duration = Duration::from_hours(1);

/// Prunes once an hour, until `stop`.
pub(crate) async fn run(db: Database, args: MonitorArgs, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        tokio::select! {
            // What was pruned until then stays pruned.
            () = stop.cancelled() => return Ok(()),
            () = prune(&db, &args) => {}
        }
    }
}

async fn prune(db: &Database, args: &MonitorArgs) {
    let now = db::now();
    tell("answers to request ids", outbox::requests::prune(db, now - args.request_retention).await);
    tell("results of checks", run::prune(db, now - args.check_retention).await);
}

fn tell(what: &str, pruned: Result<u64, DbErr>) {
    match pruned {
        Ok(0) => {}
        Ok(pruned) => tracing::info!(pruned, "forgot old {what}"),
        // Nothing depends on it; the next hour tries again.
        Err(error) => tracing::warn!(%error, "old {what} could not be forgotten"),
    }
}
