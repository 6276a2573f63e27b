//! The one transaction behind every mutation by a caller: lock the study, look the request id up, decide, write, log the answer, commit.
//! It knows neither gRPC messages nor the rules.

use std::sync::Arc;

use contracts::ids::ProjectId;
use contracts::reasons;
use outbox::db::{self, Database, DbErr, Tx};
use outbox::requests::{self, Lookup};
use service_kit::status::{ApiError, Precondition};
use time::{Date, OffsetDateTime};
use tokio::sync::Notify;

use crate::domain::campaign::State;
use crate::domain::plan::Subject;
use crate::domain::push::Channel;
use crate::domain::schedule::{self as rules, Schedule};
use crate::generation;
use crate::store::campaign::{self, Campaign};
use crate::store::{assignment, notification, schedule, subject};

/// One name for all RPCs in the request log: an id that was used for one of them is not free for another.
const REQUEST_LOG: &str = "ctms.epro.v1.EproService";

/// How often a mutation begins again after another one won the race for its request id. The winner has committed by then, so the second round
/// finds its answer; more rounds mean a broken table.
const MAX_ROUNDS: u32 = 3;

/// What makes a call repeatable.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Empty: no idempotency.
    pub(crate) request_id: String,
    /// Of RPC and body.
    pub(crate) request_hash: Vec<u8>,
}

/// What a caller wants.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Publish a schedule under a version; 0 is the next one.
    Publish { asked_version: i64, schedule: Schedule },
    /// Enrol a subject; None is today.
    Enrol { subject_id: String, site_id: String, enrolled_on: Option<Date> },
}

/// What was done.
#[derive(Debug, Clone)]
pub(crate) enum Done {
    /// A schedule is in use.
    Published { study: ProjectId, version: i64, schedule: Schedule, assignments_created: i64 },
    /// A subject is enrolled.
    Enrolled { study: ProjectId, subject: Subject, at: OffsetDateTime, assignments_created: i64 },
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

/// Everything mutations need; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Mutations {
    db: Database,
    channel: Channel,
    pushes_planned: Arc<Notify>,
}

impl Mutations {
    /// Pushes planned by mutations take `channel`; `pushes_planned` is told after the commit.
    pub(crate) fn new(db: Database, channel: Channel, pushes_planned: Arc<Notify>) -> Self {
        Self { db, channel, pushes_planned }
    }

    /// Does what `command` wants of a study, once, and gives the answer that `encode` makes of it.
    ///
    /// Dropping the future abandons the answer, never the transaction, which runs in a task of its own.
    pub(crate) async fn run(
        &self,
        call: Call,
        study: ProjectId,
        command: Command,
        encode: fn(Done) -> Vec<u8>,
    ) -> Result<Vec<u8>, ApiError> {
        for round in 1.. {
            let (call, study, command, channel) = (call.clone(), study.clone(), command.clone(), self.channel);
            let attempt = self.db.transaction(move |tx| {
                Box::pin(async move { Transaction { tx, channel }.run(&call, &study, command, encode).await })
            });
            match attempt.await {
                Ok(answer) => {
                    self.pushes_planned.notify_one();
                    return Ok(answer);
                }
                Err(Failure::Database(error)) if db::is_unique_violation(&error) && round < MAX_ROUNDS => {}
                Err(Failure::Database(error)) => return Err(error.into()),
                Err(Failure::Api(error)) => return Err(error),
            }
        }
        unreachable!("the last round returns")
    }
}

/// One round of one mutation.
struct Transaction<'t> {
    tx: &'t Tx,
    channel: Channel,
}

impl Transaction<'_> {
    async fn run(
        &self,
        call: &Call,
        study: &ProjectId,
        command: Command,
        encode: fn(Done) -> Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        let campaign = campaign::lock(self.tx, study, db::now()).await?;
        match requests::lookup(self.tx, REQUEST_LOG, &call.request_id, &call.request_hash).await? {
            Lookup::Fresh => {}
            Lookup::Replay(answer) => return Ok(answer),
            Lookup::Conflict => return Err(ApiError::request_id_reused(call.request_id.as_str()).into()),
        }
        if campaign.state == State::Closed {
            return Err(closed(study).into());
        }
        let done = match command {
            Command::Publish { asked_version, schedule } => self.publish(campaign, asked_version, schedule).await?,
            Command::Enrol { subject_id, site_id, enrolled_on } => {
                let enrolled_on = enrolled_on.unwrap_or_else(|| db::now().date());
                self.enrol(&campaign, Subject { id: subject_id, site_id, enrolled_on }).await?
            }
        };
        let answer = encode(done);
        requests::store(self.tx, REQUEST_LOG, &call.request_id, &call.request_hash, &answer).await?;
        Ok(answer)
    }

    async fn publish(&self, mut campaign: Campaign, asked_version: i64, schedule: Schedule) -> Result<Done, Failure> {
        let now = db::now();
        let version = rules::version_after(campaign.schedule_version, asked_version).map_err(|refusal| {
            let about = Precondition::new("SCHEDULE_VERSION", campaign.study.as_str(), refusal.to_string());
            ApiError::failed_precondition(reasons::WRONG_STATE, "the schedule cannot be published", vec![about])
        })?;
        schedule::insert(self.tx, &campaign.study, version, &schedule, now).await?;
        campaign::use_schedule(self.tx, &mut campaign, version).await?;
        assignment::cancel_future(self.tx, &campaign.study, now.date()).await?;
        notification::cancel_needless(self.tx, &campaign.study).await?;
        let assignments_created = generation::for_all(self.tx, &campaign, self.channel, now).await?;
        Ok(Done::Published { study: campaign.study, version, schedule, assignments_created })
    }

    async fn enrol(&self, campaign: &Campaign, subject: Subject) -> Result<Done, Failure> {
        let now = db::now();
        if !subject::insert(self.tx, &campaign.study, &subject, now).await? {
            return Err(
                ApiError::already_exists("subject", subject.id, "it is enrolled; use another subject_id").into()
            );
        }
        let assignments_created = generation::for_one(self.tx, campaign, subject.clone(), self.channel, now).await?;
        Ok(Done::Enrolled { study: campaign.study.clone(), subject, at: now, assignments_created })
    }
}

fn closed(study: &ProjectId) -> ApiError {
    let about =
        Precondition::new("CAMPAIGN_STATE", study.as_str(), "the study was completed or terminated; this is final");
    ApiError::failed_precondition(reasons::WRONG_STATE, "the campaign is CLOSED", vec![about])
}
