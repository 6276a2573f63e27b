//! The one transaction behind every mutation: lock, decide, write state, audit, event and answer, commit. It knows neither gRPC messages nor
//! the rules.
//!
//! The lock on the project row makes event order commit order, and lets the second of two calls with one request id find the first one's
//! answer. Nearly every call is the first with its id, so the answers are searched only where the id shows to be known: the rules refuse
//! what was done already, or the request log refuses the id a second time and the transaction begins again.

use contracts::envelope::CloudEvent;
use contracts::ids::{ProjectId, SiteId};
use contracts::reasons;
use outbox::db::{self, Database, DbErr, Tx};
use outbox::requests::{self, Lookup};
use outbox::{AppendError, NewEvent};
use service_kit::status::{ApiError, Precondition};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{self, Command, Fact, Item, Occurrence, Profile, Project, Refusal, Site};
use crate::store::{self, NewEntry};

/// One name for all RPCs in the request log: an id that was used for one of them is not free for another.
const REQUEST_LOG: &str = "ctms.project.v1.ProjectService";

/// `ce_source` of every event: consumers count sequences per source.
const SOURCE: &str = "ctms/project-srv";

/// How often a mutation begins again after the request log refused its request id. Whoever used the id has committed by then, so the second
/// round finds the answer; more rounds mean a broken table.
const MAX_ROUNDS: u32 = 3;

/// Who calls, and under which request id.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The name of the RPC.
    pub(crate) action: &'static str,
    /// Empty: no idempotency.
    pub(crate) request_id: String,
    /// Of RPC and body.
    pub(crate) request_hash: Vec<u8>,
    /// Who.
    pub(crate) actor: String,
    /// Why; may be empty.
    pub(crate) reason: String,
    /// The trace that the event continues.
    pub(crate) traceparent: Option<String>,
}

/// What a call wants.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    /// A new project; without an id the service chooses one.
    Create { id: Option<ProjectId>, profile: Profile, sites: Vec<(SiteId, Site)> },
    /// A change of a project that exists; an empty etag skips the check.
    Change { id: ProjectId, etag: String, command: Command },
}

/// How a mutation ended well.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Committed now; the encoded answer and the project's new version.
    Done { answer: Vec<u8>, id: ProjectId, version: i64 },
    /// Committed before under the same request id; the answer of then.
    Replayed { answer: Vec<u8> },
}

/// Everything mutations need; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Mutations {
    db: Database,
    topic: String,
    epoch: i64,
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

impl Mutations {
    /// New projects begin in `epoch`: consumers may know the same id from before a restore.
    pub(crate) fn new(db: Database, topic: String, epoch: i64) -> Self {
        Self { db, topic, epoch }
    }

    /// Does what `call` wants, once. `answer` encodes the response for the project as it is then.
    ///
    /// Dropping the future abandons the answer, never the transaction, which runs in a task of its own.
    pub(crate) async fn run(
        &self,
        call: Call,
        wish: Wish,
        answer: fn(&Project) -> Vec<u8>,
    ) -> Result<Outcome, ApiError> {
        let mut round = 1;
        loop {
            let (call, wish, topic, epoch) = (call.clone(), wish.clone(), self.topic.clone(), self.epoch);
            let attempt = self.db.transaction(move |tx| {
                Box::pin(async move {
                    let writes = db::Writes::new(db::kind_of(tx));
                    let is_known = round > 1;
                    Transaction { tx, writes, call: &call, topic: &topic, epoch, is_known, answer }.run(wish).await
                })
            });
            match attempt.await {
                Ok(outcome) => return Ok(outcome),
                Err(Failure::Database(error)) if db::is_unique_violation(&error) && round < MAX_ROUNDS => round += 1,
                Err(Failure::Database(error)) => return Err(error.into()),
                Err(Failure::Api(error)) => return Err(error),
            }
        }
    }
}

/// One round of one mutation.
struct Transaction<'t> {
    tx: &'t Tx,
    /// What is written at the end, together.
    writes: db::Writes,
    call: &'t Call,
    topic: &'t str,
    epoch: i64,
    /// Whether the request id was used before, as the round before this one found out.
    is_known: bool,
    answer: fn(&Project) -> Vec<u8>,
}

impl Transaction<'_> {
    async fn run(self, wish: Wish) -> Result<Outcome, Failure> {
        match wish {
            Wish::Create { id, profile, sites } => self.create(id, profile, sites).await,
            Wish::Change { id, etag, command } => self.change(&id, &etag, &command).await,
        }
    }

    async fn create(
        mut self,
        id: Option<ProjectId>,
        profile: Profile,
        sites: Vec<(SiteId, Site)>,
    ) -> Result<Outcome, Failure> {
        if self.is_known
            && let Some(replayed) = self.replayed().await?
        {
            return Ok(replayed);
        }
        let id = id.unwrap_or_else(chosen_id);
        let occurrence = self.occurrence(None);
        let project = Project { stream_epoch: self.epoch, ..domain::create(id, profile, sites, &occurrence) };
        let fact = Fact::Created;
        let entry = NewEntry { from: None, action: self.call.action, fact: &fact, occurrence: &occurrence };
        if !store::insert(self.tx, &mut self.writes, &project, entry).await? {
            // Whoever took the id has committed: perhaps an equal call.
            let taken = ApiError::already_exists("project", project.id, "choose another project_id, or leave it empty");
            return self.replayed().await?.ok_or_else(|| taken.into());
        }
        self.finish(project, &fact, &occurrence).await
    }

    async fn change(mut self, id: &ProjectId, etag: &str, command: &Command) -> Result<Outcome, Failure> {
        let project = store::lock(self.tx, id).await?.ok_or_else(|| ApiError::not_found("project", id.as_str()))?;
        if self.is_known
            && let Some(replayed) = self.replayed().await?
        {
            return Ok(replayed);
        }
        let fact = match decide(&project, etag, command) {
            Ok(fact) => fact,
            // Perhaps because an equal call did it.
            Err(refusal) => return self.replayed().await?.ok_or_else(|| refusal.into()),
        };
        let occurrence = self.occurrence(Some(project.updated_at));
        let entry =
            NewEntry { from: Some(project.state), action: self.call.action, fact: &fact, occurrence: &occurrence };
        let project = domain::evolve(project, &fact, &occurrence);
        store::save(&mut self.writes, &project, entry)?;
        self.finish(project, &fact, &occurrence).await
    }

    async fn replayed(&self) -> Result<Option<Outcome>, Failure> {
        let Call { request_id, request_hash, .. } = self.call;
        match requests::lookup(self.tx, REQUEST_LOG, request_id, request_hash).await? {
            Lookup::Fresh => Ok(None),
            Lookup::Replay(answer) => Ok(Some(Outcome::Replayed { answer })),
            Lookup::Conflict => Err(ApiError::request_id_reused(request_id.as_str()).into()),
        }
    }

    /// The clock is read under the lock, and never goes back within a project, so that times rise with versions whatever
    /// the clocks of several instances say.
    fn occurrence(&self, not_before: Option<OffsetDateTime>) -> Occurrence {
        let now = db::now();
        Occurrence {
            at: not_before.map_or(now, |last| last.max(now)),
            actor: self.call.actor.clone(),
            reason: self.call.reason.clone(),
            event_id: Uuid::now_v7(),
        }
    }

    async fn finish(mut self, project: Project, fact: &Fact, occurrence: &Occurrence) -> Result<Outcome, Failure> {
        let event = self.event(&project, fact, occurrence);
        outbox::append_with(&mut self.writes, &event).map_err(not_appended)?;
        let answer = (self.answer)(&project);
        let Call { request_id, request_hash, .. } = self.call;
        requests::store_with(&mut self.writes, REQUEST_LOG, request_id, request_hash, &answer);
        self.writes.run(self.tx).await?;
        Ok(Outcome::Done { answer, version: project.version, id: project.id })
    }

    fn event(&self, project: &Project, fact: &Fact, occurrence: &Occurrence) -> NewEvent {
        let event = domain::event(project, fact, occurrence);
        let id = project.id.as_str();
        let envelope = CloudEvent {
            id: occurrence.event_id.to_string(),
            source: SOURCE.to_owned(),
            event_type: event.event_type().to_owned(),
            time: Some(occurrence.at),
            subject: id.to_owned(),
            sequence: Some(project.event_seq),
            stream_epoch: project.stream_epoch,
            partition_key: id.to_owned(),
            traceparent: self.call.traceparent.clone(),
        };
        NewEvent::of(self.topic, &envelope, event.to_json())
    }
}

fn decide(project: &Project, etag: &str, command: &Command) -> Result<Fact, ApiError> {
    let current = project.etag();
    if !etag.is_empty() && etag != current {
        return Err(ApiError::aborted("project", project.id.as_str(), etag, current));
    }
    domain::decide(project, command).map_err(|refusal| refused(&refusal))
}

fn not_appended(error: AppendError) -> Failure {
    match error {
        AppendError::Database(error) => Failure::Database(error),
        // Only names and sites make an event large.
        too_large => ApiError::invalid("sites", too_large.to_string()).into(),
    }
}

/// Refusals of the rules as errors of the API. The message of the error says it once; the violations name what it is about.
fn refused(refusal: &Refusal) -> ApiError {
    let message = refusal.to_string();
    let about = |kind: &'static str, subject: String| vec![Precondition::new(kind, subject, refusal.remedy())];
    let (reason, violations) = match refusal {
        Refusal::UnknownSite { site_id, .. } => return ApiError::not_found("site", site_id.as_str()),
        Refusal::ChecklistOpen { open, .. } => {
            let item = |item: &Item| Precondition::new("STARTUP_ITEM", item.as_str(), item.remedy());
            (reasons::STARTUP_INCOMPLETE, open.iter().map(item).collect())
        }
        Refusal::WrongState { project_id, .. } => (reasons::WRONG_STATE, about("STATE", project_id.to_string())),
        Refusal::ItemAlreadyCompleted { item, .. } => (reasons::WRONG_STATE, about("STARTUP_ITEM", item.to_string())),
        Refusal::SiteAlreadyActivated { site_id, .. } => (reasons::WRONG_STATE, about("SITE", site_id.to_string())),
        Refusal::TooManySites { project_id } => (reasons::WRONG_STATE, about("SITE_LIMIT", project_id.to_string())),
    };
    ApiError::failed_precondition(reason, message, violations)
}

/// UUIDv7, so that ids chosen here list in the order of their creation.
fn chosen_id() -> ProjectId {
    ProjectId::new(Uuid::now_v7().to_string()).expect("a UUID keeps the rule of ids")
}
