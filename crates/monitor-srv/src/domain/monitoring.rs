//! Where the monitoring of a study stands, and how the project's life cycle and its plan move it. Pure.

use contracts::ids::ProjectId;
use time::OffsetDateTime;

use contracts::named;

/// State of a monitoring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The study has not started.
    Pending,
    /// Running: check runs are done.
    Active,
    /// Paused: no check run starts.
    Suspended,
    /// Over. Final.
    Closed,
}

named!(State, "state of a monitoring", {
    Pending => "PENDING",
    Active => "ACTIVE",
    Suspended => "SUSPENDED",
    Closed => "CLOSED",
});

/// The monitoring of one study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitoring {
    /// The study.
    pub study: ProjectId,
    /// Where it stands.
    pub state: State,
    /// Version of the plan in use; 0 while none is set.
    pub plan_version: i64,
    /// The start of the study, once it was told.
    pub start: Option<Start>,
    /// Whether the first run of the plan was queued, whatever became of it.
    pub is_first_run_queued: bool,
    /// The event that last changed the state, and when it was applied.
    pub last_event: Option<(String, OffsetDateTime)>,
}

/// The start of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// When it started.
    pub at: OffsetDateTime,
    /// The event that said so.
    pub event_id: String,
}

/// What happened to the project, as far as a monitoring cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// The study started at this instant.
    Started(OffsetDateTime),
    /// It was paused.
    Suspended,
    /// It went on, at this instant.
    Resumed(OffsetDateTime),
    /// It was completed or terminated.
    Ended,
}

/// An event of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its id.
    pub id: &'a str,
    /// What happened.
    pub what: Lifecycle,
    /// When it is applied.
    pub applied_at: OffsetDateTime,
}

/// What else a change brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    None,
    /// The first run of the plan is queued, caused by the start.
    QueueFirstRun,
    /// Runs of the plan that are not finished are cancelled.
    CancelRuns,
}

/// Why a plan is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the monitoring of study {study} is CLOSED; SetMonitoringPlan needs it to be open")]
pub struct Closed {
    /// The study.
    pub study: ProjectId,
}

impl Monitoring {
    /// What is known of a study on first sight.
    #[must_use]
    pub fn new(study: ProjectId) -> Self {
        Self {
            study,
            state: State::Pending,
            plan_version: 0,
            start: None,
            is_first_run_queued: false,
            last_event: None,
        }
    }

    /// The monitoring after `event`, and what that brings; `None` when it changes nothing.
    ///
    /// A start moves only a pending monitoring: a plain record sent again never reopens what was paused or ended. An event whose start was
    /// discarded by an operator still counts: a resume then stands for the start. Runs wait while the study is paused, and go on by
    /// themselves, so a resume brings a run only where the plan came during the pause.
    #[must_use]
    pub fn after(mut self, event: Event<'_>) -> Option<(Self, Consequence)> {
        let (to, started_at) = match (self.state, event.what) {
            (State::Pending, Lifecycle::Started(at) | Lifecycle::Resumed(at))
            | (State::Suspended, Lifecycle::Resumed(at)) => (State::Active, Some(at)),
            (State::Pending | State::Active, Lifecycle::Suspended) => (State::Suspended, None),
            (State::Pending | State::Active | State::Suspended, Lifecycle::Ended) => (State::Closed, None),
            (State::Active | State::Suspended | State::Closed, Lifecycle::Started(_))
            | (State::Active | State::Closed, Lifecycle::Resumed(_))
            | (State::Suspended | State::Closed, Lifecycle::Suspended)
            | (State::Closed, Lifecycle::Ended) => return None,
        };
        self.state = to;
        self.last_event = Some((event.id.to_owned(), event.applied_at));
        if self.start.is_none() {
            self.start = started_at.map(|at| Start { at, event_id: event.id.to_owned() });
        }
        let consequence = if to == State::Closed { Consequence::CancelRuns } else { self.first_run() };
        Some((self, consequence))
    }

    /// The monitoring with the next version of its plan, and what that brings.
    ///
    /// # Errors
    /// A closed monitoring takes no plan.
    pub fn with_next_plan(mut self) -> Result<(Self, Consequence), Closed> {
        if self.state == State::Closed {
            return Err(Closed { study: self.study });
        }
        self.plan_version += 1;
        let consequence = self.first_run();
        Ok((self, consequence))
    }

    fn first_run(&mut self) -> Consequence {
        let is_due = self.state == State::Active && self.plan_version > 0 && self.start.is_some();
        if !is_due || self.is_first_run_queued {
            return Consequence::None;
        }
        self.is_first_run_queued = true;
        Consequence::QueueFirstRun
    }
}

#[cfg(test)]
#[path = "monitoring_tests.rs"]
mod tests;
