//! The row of a study, its lock, and the events applied to it.

use std::collections::{BTreeMap, BTreeSet};

use contracts::ids::ProjectId;
use outbox::db::{self, ConnectionTrait, DbErr, Kind, Lockable, QueryResult, Tx, Value};
use time::OffsetDateTime;

use super::parsed;
use crate::domain::monitoring::{Monitoring, Start, State};

/// Most events that a read returns.
const MAX_EVENTS_READ: i64 = 1_000;

const COLUMNS: &str = "study_id, state, plan_version, started_at, start_event_id, is_first_run_queued, last_event_id, \
     last_event_applied_at";

const MONITORINGS: Lockable = Lockable { table: "monitoring", key: "study_id", columns: COLUMNS };

/// Writes the row on first sight and locks it: whoever changes anything of a study does this first.
pub(crate) async fn lock(tx: &Tx, study: &ProjectId) -> Result<Monitoring, DbErr> {
    let locked = lock_all(tx, &[study].into()).await?.remove(study);
    locked.ok_or_else(|| DbErr::RecordNotFound(format!("the monitoring of {study} vanished under its lock")))
}

/// The same for several studies, in few statements.
pub(crate) async fn lock_all(
    tx: &Tx,
    studies: &BTreeSet<&ProjectId>,
) -> Result<BTreeMap<ProjectId, Monitoring>, DbErr> {
    let columns =
        [("study_id", "text"), ("state", "text"), ("plan_version", "bigint"), ("is_first_run_queued", "boolean")];
    let row = |study: &str| [study.into(), State::Pending.as_str().into(), 0_i64.into(), false.into()];
    let rows = MONITORINGS.lock_or_insert(tx, studies.iter().map(|study| study.as_str()), &columns, row).await?;
    rows.iter().map(|row| read(row).map(|monitoring| (monitoring.study.clone(), monitoring))).collect()
}

/// The state of a study, which stays as it is until the transaction ends.
pub(crate) async fn hold_still(tx: &Tx, study: &ProjectId) -> Result<Option<State>, DbErr> {
    let suffix = match db::kind_of(tx) {
        Kind::Postgres => " FOR SHARE",
        Kind::Sqlite => "",
    };
    let sql = format!("SELECT state FROM monitoring WHERE study_id = $1{suffix}");
    db::query_one(tx, &sql, [study.as_str().into()]).await?.map(|row| parsed(&row, "state")).transpose()
}

/// Reads a monitoring as last committed; `None` while nothing is known of the study.
pub(crate) async fn get(conn: &impl ConnectionTrait, study: &ProjectId) -> Result<Option<Monitoring>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM monitoring WHERE study_id = $1");
    db::query_one(conn, &sql, [study.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// Writes locked monitorings.
pub(crate) async fn save(tx: &Tx, monitorings: &[&Monitoring]) -> Result<(), DbErr> {
    let columns = [
        ("study_id", "text"),
        ("state", "text"),
        ("plan_version", "bigint"),
        ("started_at", "timestamptz"),
        ("start_event_id", "text"),
        ("is_first_run_queued", "boolean"),
        ("last_event_id", "text"),
        ("last_event_applied_at", "timestamptz"),
    ];
    let row = |monitoring: &&Monitoring| -> [Value; 8] {
        let (started_at, start_event_id) =
            monitoring.start.as_ref().map(|start| (start.at, start.event_id.clone())).unzip();
        let (last_event_id, last_event_applied_at) = monitoring.last_event.clone().unzip();
        [
            monitoring.study.as_str().into(),
            monitoring.state.as_str().into(),
            monitoring.plan_version.into(),
            started_at.into(),
            start_event_id.into(),
            monitoring.is_first_run_queued.into(),
            last_event_id.into(),
            last_event_applied_at.into(),
        ]
    };
    let update = "ON CONFLICT (study_id) DO UPDATE SET state = excluded.state, plan_version = excluded.plan_version,
                  started_at = excluded.started_at, start_event_id = excluded.start_event_id,
                  is_first_run_queued = excluded.is_first_run_queued, last_event_id = excluded.last_event_id,
                  last_event_applied_at = excluded.last_event_applied_at";
    db::insert(tx, "monitoring", &columns, monitorings.iter().map(row).collect(), update).await.map(drop)
}

fn read(row: &QueryResult) -> Result<Monitoring, DbErr> {
    let started_at: Option<OffsetDateTime> = row.try_get("", "started_at")?;
    let start = started_at.zip(row.try_get("", "start_event_id")?);
    let last_event_id: Option<String> = row.try_get("", "last_event_id")?;
    Ok(Monitoring {
        study: parsed(row, "study_id")?,
        state: parsed(row, "state")?,
        plan_version: row.try_get("", "plan_version")?,
        start: start.map(|(at, event_id)| Start { at, event_id }),
        is_first_run_queued: row.try_get("", "is_first_run_queued")?,
        last_event: last_event_id.zip(row.try_get("", "last_event_applied_at")?),
    })
}

/// An event that was applied.
#[derive(Debug, Clone)]
pub(crate) struct AppliedEvent {
    /// Its id.
    pub(crate) event_id: String,
    /// Its type.
    pub(crate) event_type: String,
    /// Its number; `None` for a plain record.
    pub(crate) sequence: Option<i64>,
    /// When its effect was committed.
    pub(crate) applied_at: OffsetDateTime,
}

/// Notes which events were applied, in their order.
pub(crate) async fn note_events(tx: &Tx, events: &[(&ProjectId, AppliedEvent)]) -> Result<(), DbErr> {
    let columns = [
        ("study_id", "text"),
        ("event_id", "text"),
        ("event_type", "text"),
        ("sequence", "bigint"),
        ("applied_at", "timestamptz"),
    ];
    let row = |(study, event): &(&ProjectId, AppliedEvent)| -> [Value; 5] {
        [
            study.as_str().into(),
            event.event_id.as_str().into(),
            event.event_type.as_str().into(),
            event.sequence.into(),
            event.applied_at.into(),
        ]
    };
    db::insert(tx, "applied_event", &columns, events.iter().map(row).collect(), "").await.map(drop)
}

/// The newest events applied to a study, in the order of application.
pub(crate) async fn events(conn: &impl ConnectionTrait, study: &ProjectId) -> Result<Vec<AppliedEvent>, DbErr> {
    let sql = "SELECT event_id, event_type, sequence, applied_at FROM applied_event
               WHERE study_id = $1 ORDER BY position DESC LIMIT $2";
    let mut rows = db::query_all(conn, sql, [study.as_str().into(), MAX_EVENTS_READ.into()]).await?;
    rows.reverse();
    rows.iter()
        .map(|row| {
            Ok(AppliedEvent {
                event_id: row.try_get("", "event_id")?,
                event_type: row.try_get("", "event_type")?,
                sequence: row.try_get("", "sequence")?,
                applied_at: row.try_get("", "applied_at")?,
            })
        })
        .collect()
}
