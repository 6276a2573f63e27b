//! Takes the checks of a POST /check: all or none, stored before they are answered for.

use contracts::ids::{DatasetName, ProjectId};
use outbox::db::{self, DbErr, Tx};
use tokio::sync::watch;
use uuid::Uuid;
use worker_pool::SubmitError;

use super::Checks;
use super::job::{Admission, CheckJob, HeldRun};
use crate::domain::check::Check;
use crate::domain::run::NewRun;
use crate::store::claim::Claim;
use crate::store::{dataset, run};

/// A run that was accepted.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) run: Uuid,
    pub(crate) count: usize,
}

/// Why checks were not taken; none of them was.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// By the pool: full, or too many for it.
    Pool(SubmitError),
    /// The study has no such dataset.
    NoDataset(DatasetName),
    /// The database failed. When it was on the way to commit, the run may be done all the same.
    Database(DbErr),
}

impl From<DbErr> for Refusal {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

impl Checks {
    /// Most checks that can be asked for at once.
    pub(crate) fn capacity(&self) -> usize {
        self.intake.status().capacity
    }

    /// Takes all `checks` or none, and stores them as a run.
    ///
    /// Their places in the pool are taken first, so that a refusal costs no transaction; the workers wait until the run is stored. A caller
    /// who goes away meanwhile leaves a run that is done later, or nothing.
    pub(crate) async fn ask(&self, study: ProjectId, checks: Vec<Check>) -> Result<Asked, Refusal> {
        let run = NewRun::asked_for(study, checks, db::now());
        let (admit, admission) = watch::channel(Admission::Pending);
        let held = self.claims.hold(HeldRun::new(run.id, run.study.clone(), admission));
        let jobs: Vec<_> = (0..)
            .zip(run.checks.clone())
            .map(|(position, check)| CheckJob { run: held.clone(), position, check, _place: None })
            .collect();
        let asked = Asked { run: run.id, count: jobs.len() };
        // Results go to the collector: nobody waits for the tickets.
        self.intake.try_submit_many(jobs).map(drop).map_err(Refusal::Pool)?;
        let claim = self.claims.claim();
        self.db.transaction(move |tx| Box::pin(async move { store(tx, &run, &claim).await })).await?;
        admit.send_replace(Admission::Stored);
        Ok(asked)
    }
}

async fn store(tx: &Tx, new: &NewRun, claim: &Claim) -> Result<(), Refusal> {
    let mut names: Vec<&DatasetName> = new.checks.iter().map(|check| &check.dataset).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        if !dataset::exists(tx, &new.study, name).await? {
            return Err(Refusal::NoDataset(name.clone()));
        }
    }
    Ok(run::insert(tx, std::slice::from_ref(new), Some(claim)).await?)
}
