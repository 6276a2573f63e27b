//! Pushes that were planned for a webhook while none is set any more: they wait, and readiness says so. It must not send.

use std::time::Duration;

use outbox::db::{self, Database};
use service_kit::Component;
use tokio_util::sync::CancellationToken;

use crate::store::push as store;

/// Between two looks: an operator reads it, nobody waits for it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Keeps the component true until `stop`.
///
/// # Errors
/// None: the database has a component of its own.
pub(crate) async fn watch(db: Database, component: Component, stop: CancellationToken) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        match store::due_for_webhook(db.reader(), db::now()).await {
            Ok(0) => component.set_ok(),
            Ok(pushes) => component.set_degraded(detail(pushes)),
            Err(error) => tracing::debug!(%error, "the pushes that wait could not be counted"),
        }
        let _ = tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await;
    }
    Ok(())
}

fn detail(pushes: i64) -> String {
    let pushes = if pushes < store::COUNTED_AT_MOST { pushes.to_string() } else { format!("{pushes} or more") };
    format!(
        "{pushes} pushes were planned for a webhook and wait, since none is set; start epro-srv with --webhook-url (CTMS_WEBHOOK_URL) to send them"
    )
}
