//! Published schedules. A version never changes once it is written.

use contracts::ids::ProjectId;
use outbox::db::{self, DbErr, Tx};
use time::OffsetDateTime;

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
    let sql = "SELECT body FROM schedule WHERE study_id = $1 AND version = $2";
    let row = db::query_one(tx, sql, [study.as_str().into(), version.into()])
        .await?
        .ok_or_else(|| DbErr::RecordNotFound(format!("schedule {version} of study {study}")))?;
    serde_json::from_value(row.try_get("", "body")?).map_err(|error| DbErr::Json(error.to_string()))
}
