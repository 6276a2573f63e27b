//! Published schedules. A version never changes once it is written.

use std::collections::HashMap;

use contracts::ids::ProjectId;
use outbox::db::{self, DbErr, Tx};
use time::OffsetDateTime;

use super::parsed;
use crate::domain::schedule::Schedule;

/// Writes a version.
///
/// # Errors
/// The database's.
pub(crate) async fn insert(
    tx: &Tx,
    study: &ProjectId,
    version: i64,
    schedule: &Schedule,
    now: OffsetDateTime,
) -> Result<(), DbErr> {
    let body = serde_json::to_value(schedule).map_err(|error| DbErr::Json(error.to_string()))?;
    let sql = "INSERT INTO schedule (study_id, version, body, published_at) VALUES ($1, $2, $3, $4)";
    db::exec(tx, sql, [study.as_str().into(), version.into(), body.into(), now.into()]).await?;
    Ok(())
}

/// Reads a version.
///
/// # Errors
/// The database's; not found when there is no such version.
pub(crate) async fn read(tx: &Tx, study: &ProjectId, version: i64) -> Result<Schedule, DbErr> {
    let found = read_all(tx, &[(study, version)]).await?.remove(&(study.clone(), version));
    found.ok_or_else(|| DbErr::RecordNotFound(format!("schedule {version} of study {study}")))
}

/// Reads these versions of studies' schedules.
///
/// # Errors
/// The database's; not found when there is no such version.
pub(crate) async fn read_all(
    tx: &Tx,
    versions: &[(&ProjectId, i64)],
) -> Result<HashMap<(ProjectId, i64), Schedule>, DbErr> {
    if versions.is_empty() {
        return Ok(HashMap::new());
    }
    let kind = db::kind_of(tx);
    let (studies, mut values) =
        db::among(kind, 1, "text", versions.iter().map(|(study, _)| study.as_str().into()).collect())?;
    let numbers = versions.iter().map(|(_, version)| (*version).into()).collect();
    let (numbers, more) = db::among(kind, values.len() + 1, "bigint", numbers)?;
    values.extend(more);
    // A study has few versions: what is read of others is of no use and does no harm.
    let sql = format!("SELECT study_id, version, body FROM schedule WHERE study_id {studies} AND version {numbers}");
    let mut found = HashMap::with_capacity(versions.len());
    for row in &db::query_all(tx, &sql, values).await? {
        let body = serde_json::from_value(row.try_get("", "body")?).map_err(|error| DbErr::Json(error.to_string()))?;
        found.insert((parsed(row, "study_id")?, row.try_get("", "version")?), body);
    }
    let missing = versions.iter().find(|(study, version)| !found.contains_key(&((*study).clone(), *version)));
    match missing {
        None => Ok(found),
        Some((study, version)) => Err(DbErr::RecordNotFound(format!("schedule {version} of study {study}"))),
    }
}
