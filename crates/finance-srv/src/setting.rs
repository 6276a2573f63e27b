//! The one transaction behind SetFeeSchedule: lock the account, look the request id up, decide, write the schedule, what arises from it and the
//! answer, commit. It knows neither gRPC messages nor the rules.

use contracts::ids::ProjectId;
use contracts::reasons;
use outbox::db::{self, Database, DbErr, Tx};
use outbox::requests::{self, Lookup};
use service_kit::status::{ApiError, Precondition};
use uuid::Uuid;

use crate::domain::{self, FeeSchedule, Refusal, Terms};
use crate::store;

/// One name for all mutations in the request log: an id that was used for one of them is not free for another.
const REQUEST_LOG: &str = "ctms.finance.v1.FinanceService";

/// How often a call begins again after one for another study won the race for its request id. The winner has committed by then, so the second
/// round finds its answer; more rounds mean a broken table.
const MAX_ROUNDS: u32 = 3;

/// A schedule to set.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) study: ProjectId,
    pub(crate) terms: Terms,
    /// Who sets it.
    pub(crate) actor: String,
    /// Empty: no idempotency.
    pub(crate) request_id: String,
    /// Of RPC and body.
    pub(crate) request_hash: Vec<u8>,
}

/// Encodes the answer: the study, its new schedule, and how many payables arose.
pub(crate) type Answer = fn(&ProjectId, &FeeSchedule, usize) -> Vec<u8>;

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

/// Sets the schedule, once, and returns the encoded answer.
///
/// Dropping the future abandons the answer, never the transaction, which runs in a task of its own.
pub(crate) async fn set(db: &Database, setting: Setting, answer: Answer) -> Result<Vec<u8>, ApiError> {
    for round in 1.. {
        let setting = setting.clone();
        let attempt = db.transaction(move |tx| Box::pin(async move { set_in(tx, &setting, answer).await }));
        match attempt.await {
            Ok(encoded) => return Ok(encoded),
            Err(Failure::Database(error)) if db::is_unique_violation(&error) && round < MAX_ROUNDS => {}
            Err(Failure::Database(error)) => return Err(error.into()),
            Err(Failure::Api(error)) => return Err(error),
        }
    }
    unreachable!("the last round returns")
}

async fn set_in(tx: &Tx, setting: &Setting, answer: Answer) -> Result<Vec<u8>, Failure> {
    let Setting { study, request_id, request_hash, .. } = setting;
    let now = db::now();
    let account = store::account::lock(tx, study, now).await?;
    match requests::lookup(tx, REQUEST_LOG, request_id, request_hash).await? {
        Lookup::Fresh => {}
        Lookup::Replay(encoded) => return Ok(encoded),
        Lookup::Conflict => return Err(ApiError::request_id_reused(request_id.as_str()).into()),
    }
    let schedule = FeeSchedule {
        id: Uuid::now_v7(),
        terms: setting.terms.clone(),
        created_at: now,
        created_by: setting.actor.clone(),
    };
    let admission = domain::admit(&account, schedule.clone()).map_err(|refusal| refused(&refusal))?;
    store::fee_schedule::insert(tx, study, &schedule).await?;
    let arising: Vec<_> = admission.arising.iter().map(|payable| (study, payable)).collect();
    store::arise(tx, &arising, now).await?;
    let encoded = answer(study, &schedule, admission.arising.len());
    requests::store(tx, REQUEST_LOG, request_id, request_hash, &encoded).await?;
    Ok(encoded)
}

fn refused(refusal: &Refusal) -> ApiError {
    let (kind, subject) = match refusal {
        Refusal::Closed { study } => ("STATE", study.to_string()),
        Refusal::Overlap { other, .. } => ("FEE_SCHEDULE", other.to_string()),
        Refusal::TooMany { study } | Refusal::TooManySiteFees { study } => ("FEE_SCHEDULE_LIMIT", study.to_string()),
    };
    let violation = Precondition::new(kind, subject, refusal.remedy());
    ApiError::failed_precondition(reasons::WRONG_STATE, refusal.to_string(), vec![violation])
}
