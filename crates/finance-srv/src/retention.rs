//! Forgets old answers to request ids, so that the log stays bounded. Several instances may do it at once.

use std::time::Duration;

use outbox::db::{self, Database};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_hours(1);

/// Prunes once an hour, until `stop`.
pub(crate) async fn run(db: Database, keep: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let pruned = tokio::select! {
            // What was pruned until then stays pruned.
            () = stop.cancelled() => return Ok(()),
            pruned = outbox::requests::prune(&db, db::now() - keep) => pruned,
        };
        match pruned {
            Ok(0) => {}
            Ok(pruned) => tracing::info!(pruned, "forgot old answers to request ids"),
            // Nothing depends on it; the next hour tries again.
            Err(error) => tracing::warn!(%error, "old answers to request ids could not be forgotten"),
        }
    }
}
