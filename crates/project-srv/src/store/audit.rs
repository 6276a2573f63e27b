//! The append-only audit trail. The database itself refuses to change or remove a row.

use contracts::ids::ProjectId;
use outbox::db::{self, ConnectionTrait, DbErr, QueryResult, Value};
use time::OffsetDateTime;

use super::project::{from_json, json, project_id, sql_limit, unreadable};
use crate::domain::{Fact, Occurrence, Project, State};

/// One line of the trail.
#[derive(Debug, Clone)]
pub(crate) struct AuditRow {
    pub(crate) id: i64,
    pub(crate) project_id: ProjectId,
    pub(crate) action: String,
    pub(crate) from_state: Option<State>,
    pub(crate) to_state: State,
    pub(crate) occurrence: Occurrence,
}

/// What a new line says beside the project's id, version and state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewEntry<'a> {
    /// `None` where the project came into being.
    pub(crate) from: Option<State>,
    pub(crate) action: &'a str,
    pub(crate) fact: &'a Fact,
    pub(crate) occurrence: &'a Occurrence,
}

/// Adds the line that records how `project` became what it is.
pub(super) fn insert(writes: &mut db::Writes, project: &Project, entry: NewEntry<'_>) -> Result<(), DbErr> {
    let NewEntry { from, action, fact, occurrence } = entry;
    let values: [Value; 10] = [
        project.id.as_str().into(),
        project.version.into(),
        occurrence.at.into(),
        occurrence.actor.as_str().into(),
        action.into(),
        from.map(State::as_str).into(),
        project.state.as_str().into(),
        occurrence.reason.as_str().into(),
        json(fact)?,
        occurrence.event_id.into(),
    ];
    let sql = |first| {
        format!(
            "INSERT INTO project_audit \
             (project_id, version, at, actor, action, from_state, to_state, reason, fact, event_id) VALUES ({})",
            db::list(first, 10)
        )
    };
    writes.add(sql, values);
    Ok(())
}

/// Up to `limit` lines of a project's trail with ids above `after`, oldest first.
pub(crate) async fn page(
    conn: &impl ConnectionTrait,
    id: &ProjectId,
    after: i64,
    limit: u64,
) -> Result<Vec<AuditRow>, DbErr> {
    let sql = "SELECT id, project_id, action, from_state, to_state, at, actor, reason, event_id FROM project_audit \
               WHERE project_id = $1 AND id > $2 ORDER BY id LIMIT $3";
    let rows = db::query_all(conn, sql, [id.as_str().into(), after.into(), sql_limit(limit)]).await?;
    rows.iter().map(read).collect()
}

/// What happened to a project after `version`, in order, at most `limit` facts.
pub(crate) async fn facts_after(
    conn: &impl ConnectionTrait,
    id: &ProjectId,
    version: i64,
    limit: u64,
) -> Result<Vec<(Fact, Occurrence)>, DbErr> {
    let sql = "SELECT fact, at, actor, reason, event_id FROM project_audit \
               WHERE project_id = $1 AND version > $2 ORDER BY version LIMIT $3";
    let rows = db::query_all(conn, sql, [id.as_str().into(), version.into(), sql_limit(limit)]).await?;
    rows.iter().map(|row| Ok((from_json(row.try_get("", "fact")?)?, occurrence(row)?))).collect()
}

fn read(row: &QueryResult) -> Result<AuditRow, DbErr> {
    let from: Option<String> = row.try_get("", "from_state")?;
    let to: String = row.try_get("", "to_state")?;
    Ok(AuditRow {
        id: row.try_get("", "id")?,
        project_id: project_id(row, "project_id")?,
        action: row.try_get("", "action")?,
        from_state: from.map(|state| state.parse()).transpose().map_err(unreadable)?,
        to_state: to.parse().map_err(unreadable)?,
        occurrence: occurrence(row)?,
    })
}

fn occurrence(row: &QueryResult) -> Result<Occurrence, DbErr> {
    Ok(Occurrence {
        at: row.try_get::<OffsetDateTime>("", "at")?,
        actor: row.try_get("", "actor")?,
        reason: row.try_get("", "reason")?,
        event_id: row.try_get("", "event_id")?,
    })
}
