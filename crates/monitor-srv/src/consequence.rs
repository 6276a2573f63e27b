//! Does what changes of monitorings bring: queues the first runs of plans, or cancels runs. It must not know who asks.

use contracts::ids::ProjectId;
use outbox::db::{DbErr, Tx};
use time::OffsetDateTime;

use crate::domain::monitoring::{Consequence, Monitoring};
use crate::domain::run::NewRun;
use crate::store::{plan, run};

/// First runs to be queued, gathered over several changes so that they are written in few statements.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    first_runs: Vec<FirstRun>,
}

#[derive(Debug)]
struct FirstRun {
    study: ProjectId,
    plan_version: i64,
    event_id: String,
}

impl Queue {
    /// Does what a change brings, in its transaction; the monitoring is locked. Runs are there after [`Queue::write`].
    pub(crate) async fn settle(
        &mut self,
        tx: &Tx,
        monitoring: &Monitoring,
        consequence: Consequence,
        now: OffsetDateTime,
    ) -> Result<(), DbErr> {
        match (consequence, &monitoring.start) {
            (Consequence::QueueFirstRun, Some(start)) => {
                let (study, plan_version) = (monitoring.study.clone(), monitoring.plan_version);
                self.first_runs.push(FirstRun { study, plan_version, event_id: start.event_id.clone() });
                Ok(())
            }
            (Consequence::CancelRuns, _) => {
                // The run to be cancelled may be among them.
                self.write(tx, now).await?;
                run::cancel(tx, &monitoring.study).await.map(drop)
            }
            (Consequence::None | Consequence::QueueFirstRun, _) => Ok(()),
        }
    }

    /// Writes the runs.
    pub(crate) async fn write(&mut self, tx: &Tx, now: OffsetDateTime) -> Result<(), DbErr> {
        let gathered = std::mem::take(&mut self.first_runs);
        let plans: Vec<(&ProjectId, i64)> = gathered.iter().map(|first| (&first.study, first.plan_version)).collect();
        let mut checks = plan::checks(tx, &plans).await?;
        let mut runs = Vec::with_capacity(gathered.len());
        for FirstRun { study, plan_version, event_id } in gathered {
            let checks = checks.remove(&(study.clone(), plan_version)).ok_or_else(|| {
                DbErr::RecordNotFound(format!("plan version {plan_version} of {study} is not stored"))
            })?;
            runs.push(NewRun::first(study, plan_version, &event_id, checks, now));
        }
        run::insert(tx, &runs, None).await
    }
}
