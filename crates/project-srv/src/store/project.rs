//! Reading and writing the `project` row. The whole aggregate is that row, so one lock and one read suffice.

use std::collections::BTreeMap;

use contracts::ids::{ProjectId, SiteId};
use outbox::db::{self, ConnectionTrait, DbErr, QueryResult, Tx, Value};
use serde::{Serialize, de::DeserializeOwned};

use super::audit::{self, NewEntry};
use crate::domain::{Completion, Fact, Item, Profile, Project, Site, State};

const COLUMNS: &str = "id, name, protocol_number, protocol_title, sponsor, state, version, stream_epoch, event_seq, \
     last_event_id, checklist, sites, created_at, updated_at, started_at, ended_at";

/// Reads a project as last committed.
pub(crate) async fn get(conn: &impl ConnectionTrait, id: &ProjectId) -> Result<Option<Project>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM project WHERE id = $1");
    db::query_one(conn, &sql, [id.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// The newest epoch of any stream, also when the restore that began it left no project: 0 where there was none.
pub(crate) async fn latest_epoch(conn: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let row = db::query_one(conn, "SELECT max(stream_epoch) AS epoch FROM project", []).await?;
    let of_projects = row.map(|row| row.try_get::<Option<i64>>("", "epoch")).transpose()?.flatten().unwrap_or(0);
    Ok(of_projects.max(outbox::ops::begun_epoch(conn).await?))
}

/// Reads a project and holds its row until the transaction ends: every mutation begins here, so that the order of
/// locks is the order of events.
pub(crate) async fn lock(tx: &Tx, id: &ProjectId) -> Result<Option<Project>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM project WHERE id = $1{}", db::lock_suffix(db::kind_of(tx)));
    db::query_one(tx, &sql, [id.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// Writes a new project and adds its first line of the audit trail; false when the id is taken. Waits for a concurrent insert of the same id
/// to commit.
pub(crate) async fn insert(
    tx: &Tx,
    writes: &mut db::Writes,
    project: &Project,
    entry: NewEntry<'_>,
) -> Result<bool, DbErr> {
    let sql = format!("INSERT INTO project ({COLUMNS}) VALUES ({}) ON CONFLICT (id) DO NOTHING", db::list(1, 16));
    let values: [Value; 16] = [
        project.id.as_str().into(),
        project.profile.name.as_str().into(),
        project.profile.protocol_number.as_str().into(),
        project.profile.protocol_title.as_str().into(),
        project.profile.sponsor.as_str().into(),
        project.state.as_str().into(),
        project.version.into(),
        project.stream_epoch.into(),
        project.event_seq.into(),
        project.last_event_id.into(),
        json(&project.checklist)?,
        json(&project.sites)?,
        project.created_at.into(),
        project.updated_at.into(),
        project.started_at.into(),
        project.ended_at.into(),
    ];
    let inserted = db::exec(tx, &sql, values).await? == 1;
    if inserted {
        audit::insert(writes, project, entry)?;
    }
    Ok(inserted)
}

/// Adds what changed about a locked project, and the line of the audit trail that says so. Checklist and sites can be large and are written
/// only when they changed.
pub(crate) fn save(writes: &mut db::Writes, project: &Project, entry: NewEntry<'_>) -> Result<(), DbErr> {
    let mut values: Vec<Value> = vec![
        project.id.as_str().into(),
        project.state.as_str().into(),
        project.version.into(),
        project.event_seq.into(),
        project.last_event_id.into(),
        project.updated_at.into(),
        project.started_at.into(),
        project.ended_at.into(),
    ];
    let mut columns = vec!["state", "version", "event_seq", "last_event_id", "updated_at", "started_at", "ended_at"];
    let document = match entry.fact {
        Fact::StartupItemCompleted { .. } => Some(("checklist", json(&project.checklist)?)),
        Fact::SiteActivated { .. } => Some(("sites", json(&project.sites)?)),
        _ => None,
    };
    if let Some((column, value)) = document {
        columns.push(column);
        values.push(value);
    }
    let update = |first: usize| {
        let assignments = (first + 1..).zip(columns).map(|(at, column)| format!("{column} = ${at}"));
        format!("UPDATE project SET {} WHERE id = ${first}", assignments.collect::<Vec<_>>().join(", "))
    };
    writes.add(update, values);
    audit::insert(writes, project, entry)
}

/// Up to `limit` projects with ids above `after`, in order, of one state or of all.
pub(crate) async fn page(
    conn: &impl ConnectionTrait,
    state: Option<State>,
    after: &str,
    limit: u64,
) -> Result<Vec<Project>, DbErr> {
    let mut values: Vec<Value> = vec![after.into(), sql_limit(limit)];
    let filter = if let Some(state) = state {
        values.push(state.as_str().into());
        " AND state = $3"
    } else {
        ""
    };
    let sql = format!("SELECT {COLUMNS} FROM project WHERE id > $1{filter} ORDER BY id LIMIT $2");
    db::query_all(conn, &sql, values).await?.iter().map(read).collect()
}

/// The committed versions of `ids`; unknown ones are left out.
pub(crate) async fn versions(conn: &impl ConnectionTrait, ids: &[ProjectId]) -> Result<Vec<(ProjectId, i64)>, DbErr> {
    let sql = format!("SELECT id, version FROM project WHERE id IN ({})", db::list(1, ids.len()));
    let rows = db::query_all(conn, &sql, ids.iter().map(|id| id.as_str().into())).await?;
    rows.iter().map(|row| Ok((project_id(row, "id")?, row.try_get("", "version")?))).collect()
}

fn read(row: &QueryResult) -> Result<Project, DbErr> {
    let state: String = row.try_get("", "state")?;
    Ok(Project {
        id: project_id(row, "id")?,
        profile: Profile {
            name: row.try_get("", "name")?,
            protocol_number: row.try_get("", "protocol_number")?,
            protocol_title: row.try_get("", "protocol_title")?,
            sponsor: row.try_get("", "sponsor")?,
        },
        state: state.parse::<State>().map_err(unreadable)?,
        version: row.try_get("", "version")?,
        stream_epoch: row.try_get("", "stream_epoch")?,
        event_seq: row.try_get("", "event_seq")?,
        last_event_id: row.try_get("", "last_event_id")?,
        checklist: from_json::<BTreeMap<Item, Completion>>(row.try_get("", "checklist")?)?,
        sites: from_json::<BTreeMap<SiteId, Site>>(row.try_get("", "sites")?)?,
        created_at: row.try_get("", "created_at")?,
        updated_at: row.try_get("", "updated_at")?,
        started_at: row.try_get("", "started_at")?,
        ended_at: row.try_get("", "ended_at")?,
    })
}

/// LIMIT as both drivers bind it; page sizes are far below the range.
pub(super) fn sql_limit(limit: u64) -> Value {
    i64::try_from(limit).unwrap_or(i64::MAX).into()
}

pub(super) fn project_id(row: &QueryResult, column: &str) -> Result<ProjectId, DbErr> {
    let text: String = row.try_get("", column)?;
    text.parse().map_err(unreadable)
}

pub(super) fn json(value: &impl Serialize) -> Result<Value, DbErr> {
    serde_json::to_value(value).map(Value::from).map_err(unreadable)
}

pub(super) fn from_json<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, DbErr> {
    serde_json::from_value(value).map_err(unreadable)
}

/// A row that this binary cannot read: written by a newer version, or by hand.
pub(super) fn unreadable(error: impl std::fmt::Display) -> DbErr {
    DbErr::Type(error.to_string())
}
