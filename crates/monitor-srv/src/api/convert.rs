//! Domain types to messages. Nothing is decided or checked here.

use contracts::monitor::v1 as proto;
use prost_types::Timestamp;
use time::OffsetDateTime;

use crate::domain::check::{Check, Outcome, Rule};
use crate::domain::monitoring::{Monitoring, State};
use crate::domain::run::{Item, Run, RunState};
use crate::mutation::Plan;
use crate::store::monitoring::AppliedEvent;

pub(super) fn plan(plan: &Plan<'_>) -> proto::MonitoringPlan {
    proto::MonitoringPlan {
        study_id: plan.study.to_string(),
        version: version(plan.version),
        checks: plan.checks.iter().cloned().map(check).collect(),
        created_at: Some(timestamp(plan.created_at)),
    }
}

pub(super) fn monitoring(
    monitoring: &Monitoring,
    check_run_count: u64,
    check_runs: Vec<proto::CheckRun>,
    events: Vec<AppliedEvent>,
) -> proto::Monitoring {
    let (last_event_id, last_event_applied_at) = monitoring.last_event.clone().unzip();
    proto::Monitoring {
        study_id: monitoring.study.to_string(),
        state: state(monitoring.state).into(),
        plan_version: version(monitoring.plan_version),
        check_run_count: i64::try_from(check_run_count).unwrap_or(i64::MAX),
        check_runs,
        last_event_id: last_event_id.unwrap_or_default(),
        last_event_applied_at: last_event_applied_at.map(timestamp),
        started_at: monitoring.start.as_ref().map(|start| timestamp(start.at)),
        applied_events: events.into_iter().map(applied_event).collect(),
    }
}

fn applied_event(event: AppliedEvent) -> proto::AppliedEvent {
    proto::AppliedEvent {
        event_id: event.event_id,
        event_type: event.event_type,
        sequence: event.sequence.unwrap_or_default(),
        applied_at: Some(timestamp(event.applied_at)),
    }
}

pub(super) fn check_run(run: Run) -> proto::CheckRun {
    proto::CheckRun {
        check_run_id: run.id.to_string(),
        study_id: run.study.to_string(),
        plan_version: version(run.plan_version),
        state: run_state(run.state).into(),
        items: run.items.into_iter().map(item).collect(),
        event_id: run.event_id,
        created_at: Some(timestamp(run.created_at)),
        started_at: run.started_at.map(timestamp),
        finished_at: run.finished_at.map(timestamp),
    }
}

fn item(item: Item) -> proto::CheckItem {
    let (outcome, observed, message) = match item.finding {
        Some(finding) => (outcome(finding.outcome), finding.observed, finding.message),
        None => (proto::CheckOutcome::Unspecified, 0, String::new()),
    };
    proto::CheckItem {
        check: Some(check(item.check)),
        outcome: outcome.into(),
        observed: i64::try_from(observed).unwrap_or(i64::MAX),
        message,
    }
}

fn check(check: Check) -> proto::Check {
    let rule = match check.rule {
        Rule::RowCount { min } => {
            proto::check::Rule::RowCount(proto::RowCountRule { min: Some(i64::try_from(min).unwrap_or(i64::MAX)) })
        }
        Rule::Missing { column } => proto::check::Rule::Missing(proto::MissingRule { column }),
    };
    proto::Check { dataset: check.dataset.into(), rule: Some(rule) }
}

fn state(state: State) -> proto::MonitoringState {
    match state {
        State::Pending => proto::MonitoringState::Pending,
        State::Active => proto::MonitoringState::Active,
        State::Suspended => proto::MonitoringState::Suspended,
        State::Closed => proto::MonitoringState::Closed,
    }
}

fn run_state(state: RunState) -> proto::CheckRunState {
    match state {
        RunState::Queued => proto::CheckRunState::Queued,
        RunState::Running => proto::CheckRunState::Running,
        RunState::Finished => proto::CheckRunState::Finished,
        RunState::Cancelled => proto::CheckRunState::Cancelled,
    }
}

fn outcome(outcome: Outcome) -> proto::CheckOutcome {
    match outcome {
        Outcome::Passed => proto::CheckOutcome::Passed,
        Outcome::Failed => proto::CheckOutcome::Failed,
        Outcome::Error => proto::CheckOutcome::Error,
    }
}

/// Versions count up from 1, one call each.
fn version(version: i64) -> i32 {
    i32::try_from(version).unwrap_or(i32::MAX)
}

fn timestamp(at: OffsetDateTime) -> Timestamp {
    // Below a billion by the type's own rule, so the conversion always succeeds.
    let nanos = i32::try_from(at.nanosecond()).unwrap_or_default();
    Timestamp { seconds: at.unix_timestamp(), nanos }
}
