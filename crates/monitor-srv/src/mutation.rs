//! The transaction behind SetMonitoringPlan: lock, look the request id up, decide, write plan, monitoring, first run and answer, commit.
//! It knows neither gRPC messages nor the rules.

use contracts::ids::ProjectId;
use contracts::reasons;
use outbox::db::{self, Database, DbErr, Tx};
use outbox::requests::{self, Lookup};
use service_kit::status::{ApiError, Precondition};
use time::OffsetDateTime;

use crate::checks::Claims;
use crate::consequence::Queue;
use crate::domain::check::Check;
use crate::domain::monitoring::Closed;
use crate::store::{monitoring, plan};

/// One name for all RPCs in the request log: an id that was used for one of them is not free for another.
const REQUEST_LOG: &str = "ctms.monitor.v1.MonitorService";

/// How often a mutation begins again after a call for another study won the race for its request id. The winner has committed by then, so
/// the second round finds its answer; more rounds mean a broken table.
const MAX_ROUNDS: u32 = 3;

/// A plan to be set, and under which request id.
#[derive(Debug, Clone)]
pub(crate) struct NewPlan {
    pub(crate) study: ProjectId,
    pub(crate) checks: Vec<Check>,
    /// Empty: no idempotency.
    pub(crate) request_id: String,
    /// Of RPC and body.
    pub(crate) request_hash: Vec<u8>,
}

/// A version of a plan as it was set.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) study: &'a ProjectId,
    pub(crate) version: i64,
    pub(crate) checks: &'a [Check],
    pub(crate) created_at: OffsetDateTime,
}

/// A database error stays visible until the transaction is over, since a lost race is decided by it.
enum Failure {
    Api(ApiError),
    Database(DbErr),
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// Sets the next version of a plan, once; returns the encoded answer, that of the first call where this one repeats it.
///
/// Dropping the future abandons the answer, never the transaction, which runs in a task of its own.
pub(crate) async fn set_plan(
    db: &Database,
    claims: &Claims,
    new: NewPlan,
    answer: fn(&Plan<'_>) -> Vec<u8>,
) -> Result<Vec<u8>, ApiError> {
    for round in 1.. {
        let new = new.clone();
        match db.transaction(move |tx| Box::pin(async move { set(tx, &new, answer).await })).await {
            Ok(answer) => {
                // Perhaps it queued a run.
                claims.wake();
                return Ok(answer);
            }
            Err(Failure::Database(error)) if db::is_unique_violation(&error) && round < MAX_ROUNDS => {}
            Err(Failure::Database(error)) => return Err(error.into()),
            Err(Failure::Api(error)) => return Err(error),
        }
    }
    unreachable!("the last round returns")
}

async fn set(tx: &Tx, new: &NewPlan, answer: fn(&Plan<'_>) -> Vec<u8>) -> Result<Vec<u8>, Failure> {
    let NewPlan { study, checks, request_id, request_hash } = new;
    let locked = monitoring::lock(tx, study).await?;
    match requests::lookup(tx, REQUEST_LOG, request_id, request_hash).await? {
        Lookup::Fresh => {}
        Lookup::Replay(answer) => return Ok(answer),
        Lookup::Conflict => return Err(ApiError::request_id_reused(request_id.as_str()).into()),
    }
    let (changed, consequence) = locked.with_next_plan().map_err(|closed| refused(&closed))?;
    let now = db::now();
    plan::insert(tx, study, changed.plan_version, checks, now).await?;
    monitoring::save(tx, &[&changed]).await?;
    let mut queue = Queue::default();
    queue.settle(tx, &changed, consequence, now).await?;
    queue.write(tx, now).await?;
    let answer = answer(&Plan { study, version: changed.plan_version, checks, created_at: now });
    requests::store(tx, REQUEST_LOG, request_id, request_hash, &answer).await?;
    Ok(answer)
}

fn refused(closed: &Closed) -> ApiError {
    let remedy = "the study was completed or terminated; its monitoring stays closed";
    let violation = Precondition::new("STATE", closed.study.as_str(), remedy);
    ApiError::failed_precondition(reasons::WRONG_STATE, closed.to_string(), vec![violation])
}
