//! Assignments. Must not decide which there should be.

use std::collections::{BTreeSet, HashMap, HashSet};

use contracts::ids::ProjectId;
use outbox::db::{self, ConnectionTrait, DbErr, QueryResult, Tx, Value};
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::{INSERT_CHUNK, parsed};
use crate::domain::plan::{Subject, Window};
use crate::domain::submission::AssignmentState;

/// A row to write.
#[derive(Debug, Clone)]
pub(crate) struct NewAssignment {
    /// Unique id.
    pub(crate) id: Uuid,
    /// Who is asked.
    pub(crate) subject_id: String,
    /// Their site.
    pub(crate) site_id: String,
    /// The visit.
    pub(crate) visit_id: String,
    /// The instrument.
    pub(crate) instrument_id: String,
    /// Open, or missed from the start.
    pub(crate) state: AssignmentState,
    /// Its days.
    pub(crate) window: Window,
}

/// What the assignments of one generation have in common.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    /// The study.
    pub(crate) study: ProjectId,
    /// Version of the schedule.
    pub(crate) schedule_version: i64,
    /// The event that started the study.
    pub(crate) event_id: String,
    /// Now.
    pub(crate) at: OffsetDateTime,
}

/// Writes assignments, each with its cause.
///
/// # Errors
/// The database's; a unique violation for a double.
pub(crate) async fn insert(tx: &Tx, assignments: &[(&Cause, NewAssignment)]) -> Result<(), DbErr> {
    let columns = [
        ("id", "uuid"),
        ("study_id", "text"),
        ("subject_id", "text"),
        ("site_id", "text"),
        ("visit_id", "text"),
        ("instrument_id", "text"),
        ("schedule_version", "bigint"),
        ("state", "text"),
        ("window_opens_on", "date"),
        ("due_on", "date"),
        ("window_closes_on", "date"),
        ("event_id", "text"),
        ("created_at", "timestamptz"),
    ];
    let row = |(cause, new): &(&Cause, NewAssignment)| -> [Value; 13] {
        [
            new.id.into(),
            cause.study.as_str().into(),
            new.subject_id.as_str().into(),
            new.site_id.as_str().into(),
            new.visit_id.as_str().into(),
            new.instrument_id.as_str().into(),
            cause.schedule_version.into(),
            new.state.as_str().into(),
            new.window.opens_on.into(),
            new.window.due_on.into(),
            new.window.closes_on.into(),
            cause.event_id.as_str().into(),
            cause.at.into(),
        ]
    };
    for chunk in assignments.chunks(INSERT_CHUNK) {
        db::insert(tx, "assignment", &columns, chunk.iter().map(row).collect(), "").await?;
    }
    Ok(())
}

/// `(study, subject, visit, instrument)` of each assignment of these studies' subjects that is not cancelled.
///
/// # Errors
/// The database's.
pub(crate) async fn asked(
    tx: &Tx,
    subjects: &[(ProjectId, Subject)],
) -> Result<HashSet<(ProjectId, String, String, String)>, DbErr> {
    if subjects.is_empty() {
        return Ok(HashSet::new());
    }
    let kind = db::kind_of(tx);
    let studies: BTreeSet<&str> = subjects.iter().map(|(study, _)| study.as_str()).collect();
    let (studies, mut values) = db::among(kind, 1, "text", studies.into_iter().map(Value::from).collect())?;
    let ids: BTreeSet<&str> = subjects.iter().map(|(_, subject)| subject.id.as_str()).collect();
    let (ids, more) = db::among(kind, values.len() + 1, "text", ids.into_iter().map(Value::from).collect())?;
    values.extend(more);
    let sql = format!(
        "SELECT study_id, subject_id, visit_id, instrument_id FROM assignment
         WHERE study_id {studies} AND state <> 'CANCELLED' AND subject_id {ids}"
    );
    let rows = db::query_all(tx, &sql, values).await?;
    rows.iter()
        .map(|row| {
            let visit = (row.try_get("", "visit_id")?, row.try_get("", "instrument_id")?);
            Ok((parsed(row, "study_id")?, row.try_get("", "subject_id")?, visit.0, visit.1))
        })
        .collect()
}

/// Cancels the open assignments whose window opens after `today`.
///
/// # Errors
/// The database's.
pub(crate) async fn cancel_future(tx: &Tx, study: &ProjectId, today: Date) -> Result<u64, DbErr> {
    let sql =
        "UPDATE assignment SET state = 'CANCELLED' WHERE study_id = $1 AND state = 'OPEN' AND window_opens_on > $2";
    db::exec(tx, sql, [study.as_str().into(), today.into()]).await
}

/// Cancels every open assignment.
///
/// # Errors
/// The database's.
pub(crate) async fn cancel_open(tx: &Tx, study: &ProjectId) -> Result<u64, DbErr> {
    let sql = "UPDATE assignment SET state = 'CANCELLED' WHERE study_id = $1 AND state = 'OPEN'";
    db::exec(tx, sql, [study.as_str().into()]).await
}

/// Marks the open assignments whose window closed before `today` as missed.
///
/// # Errors
/// The database's.
pub(crate) async fn miss_closed(tx: &Tx, study: &ProjectId, today: Date) -> Result<u64, DbErr> {
    let sql = "UPDATE assignment SET state = 'MISSED' WHERE study_id = $1 AND state = 'OPEN' AND window_closes_on < $2";
    db::exec(tx, sql, [study.as_str().into(), today.into()]).await
}

/// Up to `limit` studies with an open assignment whose window closed before `today`.
///
/// # Errors
/// The database's.
pub(crate) async fn studies_to_close<C: ConnectionTrait>(
    conn: &C,
    today: Date,
    limit: i64,
) -> Result<Vec<ProjectId>, DbErr> {
    let sql = "SELECT DISTINCT study_id FROM assignment WHERE state = 'OPEN' AND window_closes_on < $1 LIMIT $2";
    let rows = db::query_all(conn, sql, [today.into(), limit.into()]).await?;
    rows.iter().map(|row| parsed(row, "study_id")).collect()
}

/// Marks assignments as answered.
///
/// # Errors
/// The database's.
pub(crate) async fn complete(tx: &Tx, ids: &[Uuid], now: OffsetDateTime) -> Result<(), DbErr> {
    let sql = format!(
        "UPDATE assignment SET state = 'COMPLETED', completed_at = $1 WHERE id IN ({})",
        db::list(2, ids.len())
    );
    db::exec(tx, &sql, std::iter::once(now.into()).chain(ids.iter().map(|id| (*id).into()))).await?;
    Ok(())
}

/// An assignment as stored.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    /// Unique id.
    pub(crate) id: Uuid,
    /// The study.
    pub(crate) study: ProjectId,
    /// Who is asked.
    pub(crate) subject_id: String,
    /// Their site.
    pub(crate) site_id: String,
    /// The visit.
    pub(crate) visit_id: String,
    /// The instrument.
    pub(crate) instrument_id: String,
    /// Version of the schedule it was generated from.
    pub(crate) schedule_version: i64,
    /// Where it is.
    pub(crate) state: AssignmentState,
    /// Its days.
    pub(crate) window: Window,
    /// The event that caused it.
    pub(crate) event_id: String,
    /// When it was generated.
    pub(crate) created_at: OffsetDateTime,
    /// When it was answered.
    pub(crate) completed_at: Option<OffsetDateTime>,
}

const COLUMNS: &str =
    "id, study_id, subject_id, site_id, visit_id, instrument_id, schedule_version, state, window_opens_on,
                       due_on, window_closes_on, event_id, created_at, completed_at";

fn of(row: &QueryResult) -> Result<Assignment, DbErr> {
    Ok(Assignment {
        id: row.try_get("", "id")?,
        study: parsed(row, "study_id")?,
        subject_id: row.try_get("", "subject_id")?,
        site_id: row.try_get("", "site_id")?,
        visit_id: row.try_get("", "visit_id")?,
        instrument_id: row.try_get("", "instrument_id")?,
        schedule_version: row.try_get("", "schedule_version")?,
        state: parsed(row, "state")?,
        window: Window {
            opens_on: row.try_get("", "window_opens_on")?,
            due_on: row.try_get("", "due_on")?,
            closes_on: row.try_get("", "window_closes_on")?,
        },
        event_id: row.try_get("", "event_id")?,
        created_at: row.try_get("", "created_at")?,
        completed_at: row.try_get("", "completed_at")?,
    })
}

/// Locks assignments in the order of their ids.
///
/// # Errors
/// The database's.
pub(crate) async fn lock(tx: &Tx, ids: &BTreeSet<Uuid>) -> Result<HashMap<Uuid, Assignment>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS} FROM assignment WHERE id IN ({}) ORDER BY id{}",
        db::list(1, ids.len()),
        db::lock_suffix(db::kind_of(tx))
    );
    let rows = db::query_all(tx, &sql, ids.iter().map(|id| (*id).into())).await?;
    rows.iter().map(|row| of(row).map(|assignment| (assignment.id, assignment))).collect()
}

/// Which assignments a reader wants.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// Of this study.
    pub(crate) study: ProjectId,
    /// Of this subject only.
    pub(crate) subject_id: Option<String>,
    /// In this state only.
    pub(crate) state: Option<AssignmentState>,
}

/// Up to `limit` assignments after an id, in the order of ids.
///
/// # Errors
/// The database's.
pub(crate) async fn list<C: ConnectionTrait>(
    conn: &C,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Assignment>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS} FROM assignment WHERE study_id = $1 AND id > $2 AND ($3 = '' OR subject_id = $3)
         AND ($4 = '' OR state = $4) ORDER BY id LIMIT $5"
    );
    let values: [Value; 5] = [
        filter.study.as_str().into(),
        after.unwrap_or(Uuid::nil()).into(),
        filter.subject_id.clone().unwrap_or_default().into(),
        filter.state.map_or("", AssignmentState::as_str).into(),
        limit.into(),
    ];
    let rows = db::query_all(conn, &sql, values).await?;
    rows.iter().map(of).collect()
}
