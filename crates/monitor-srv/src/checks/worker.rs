//! Does one check: begins its run if nobody has, takes the dataset's text, evaluates the rule. It must not write results.

use outbox::db::{self, Database, DbErr};
use worker_pool::{HandlerError, IntakeHandler};

use super::claims::Claims;
use super::contents::Contents;
use super::job::{CheckJob, Done};
use crate::domain::check::{self, Finding};
use crate::store::claim;

/// Texts above this are read on a thread of their own: a megabyte takes about a millisecond.
const INLINE_BYTES: usize = 256 * 1024;

/// The handler of the pool.
#[derive(Debug)]
pub(super) struct Worker {
    db: Database,
    claims: Claims,
    contents: Contents,
}

impl Worker {
    pub(super) fn new(db: Database, claims: Claims) -> Self {
        Self { contents: Contents::new(db.clone()), db, claims }
    }

    async fn check(&self, job: &CheckJob) -> Result<Done, HandlerError> {
        if !job.run.may_work(|| self.begin(job)).await.map_err(failure)? {
            return Ok(Done::StoodDown);
        }
        let (study, name) = (&job.run.study, &job.check.dataset);
        let Some(content) = self.contents.of(study, name).await.map_err(failure)? else {
            let remedy = format!("upload it with PUT /studies/{study}/datasets/{name}");
            return Ok(Done::Found(Finding::error(format!("there is no dataset '{name}'; {remedy}"))));
        };
        let rule = job.check.rule.clone();
        if content.bytes().len() <= INLINE_BYTES {
            return Ok(Done::Found(check::evaluate(&rule, content.bytes())));
        }
        let evaluation = tokio::task::spawn_blocking(move || check::evaluate(&rule, content.bytes()));
        // A panic of the evaluation is a failed attempt of this check, and of nothing else.
        evaluation.await.map(Done::Found).map_err(HandlerError::retry)
    }

    async fn begin(&self, job: &CheckJob) -> Result<bool, DbErr> {
        let (by, run, study) = (self.claims.by(), job.run.id, job.run.study.clone());
        self.db.transaction(move |tx| Box::pin(async move { claim::begin(tx, by, run, &study, db::now()).await })).await
    }
}

impl IntakeHandler<CheckJob, Done> for Worker {
    async fn handle(&self, jobs: &[CheckJob]) -> Result<Vec<Done>, HandlerError> {
        let mut done = Vec::with_capacity(jobs.len());
        for job in jobs {
            done.push(self.check(job).await?);
        }
        Ok(done)
    }
}

fn failure(error: DbErr) -> HandlerError {
    if db::is_environment(&error) { HandlerError::unavailable(error) } else { HandlerError::retry(error) }
}
