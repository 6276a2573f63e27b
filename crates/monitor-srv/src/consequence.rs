//! Does what a change of a monitoring brings: queues the first run of the plan, or cancels runs. It must not know who asks.

use outbox::db::{DbErr, Tx};
use time::OffsetDateTime;

use crate::domain::monitoring::{Consequence, Monitoring};
use crate::domain::run::NewRun;
use crate::store::{plan, run};

/// Does it in the transaction of the change; the monitoring is locked.
pub(crate) async fn settle(
    tx: &Tx,
    monitoring: &Monitoring,
    consequence: Consequence,
    now: OffsetDateTime,
) -> Result<(), DbErr> {
    match (consequence, &monitoring.start) {
        (Consequence::QueueFirstRun, Some(start)) => {
            let (study, version) = (&monitoring.study, monitoring.plan_version);
            let checks = plan::checks(tx, study, version).await?;
            run::insert(tx, &NewRun::first(study.clone(), version, &start.event_id, checks, now), None).await
        }
        (Consequence::CancelRuns, _) => run::cancel(tx, &monitoring.study).await.map(drop),
        (Consequence::None | Consequence::QueueFirstRun, _) => Ok(()),
    }
}
