//! Check runs: one pass over a list of checks. Pure.

use contracts::ids::ProjectId;
use time::OffsetDateTime;
use uuid::Uuid;

use super::check::{Check, Finding};
use contracts::named;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunState {
    /// Waiting for a worker.
    Queued,
    /// At least one check has begun.
    Running,
    /// Every check has a result.
    Finished,
    /// The study ended before the run did.
    Cancelled,
}

named!(RunState, "state of a check run", {
    Queued => "QUEUED",
    Running => "RUNNING",
    Finished => "FINISHED",
    Cancelled => "CANCELLED",
});

/// A run to be queued.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id; ids rise with time.
    pub id: Uuid,
    /// The study.
    pub study: ProjectId,
    /// Version of the plan; 0 for a run asked for over HTTP.
    pub plan_version: i64,
    /// The event that caused it; empty for a run asked for over HTTP.
    pub event_id: String,
    /// Its checks, in order.
    pub checks: Vec<Check>,
    /// When it is queued.
    pub created_at: OffsetDateTime,
}

impl NewRun {
    /// A run that somebody asks for over HTTP: it follows no plan, and the life cycle of the study neither holds nor cancels it, since
    /// it only reads.
    #[must_use]
    pub fn asked_for(study: ProjectId, checks: Vec<Check>, created_at: OffsetDateTime) -> Self {
        Self { id: Uuid::now_v7(), study, plan_version: 0, event_id: String::new(), checks, created_at }
    }

    /// The first run of a plan, caused by the start of the study.
    #[must_use]
    pub fn first(
        study: ProjectId,
        plan_version: i64,
        event_id: &str,
        checks: Vec<Check>,
        created_at: OffsetDateTime,
    ) -> Self {
        Self { id: Uuid::now_v7(), study, plan_version, event_id: event_id.to_owned(), checks, created_at }
    }
}

/// A run as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: Uuid,
    /// The study.
    pub study: ProjectId,
    /// Version of the plan; 0 for a run asked for over HTTP.
    pub plan_version: i64,
    /// Where it is.
    pub state: RunState,
    /// The event that caused it; empty for a run asked for over HTTP.
    pub event_id: String,
    /// When it was queued.
    pub created_at: OffsetDateTime,
    /// When its first check began.
    pub started_at: Option<OffsetDateTime>,
    /// When its last check ended.
    pub finished_at: Option<OffsetDateTime>,
    /// Its checks in order, with what came out.
    pub items: Vec<Item>,
}

/// One check of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The check as it was when the run was queued.
    pub check: Check,
    /// What came out, once it did.
    pub finding: Option<Finding>,
}
