//! The versions of a study's plan.

use contracts::ids::ProjectId;
use outbox::db::{self, DbErr, Tx};
use time::OffsetDateTime;

use super::{from_json, to_json};
use crate::domain::check::Check;

/// Writes a version of the plan.
pub(crate) async fn insert(
    tx: &Tx,
    study: &ProjectId,
    version: i64,
    checks: &[Check],
    at: OffsetDateTime,
) -> Result<(), DbErr> {
    let sql = "INSERT INTO monitoring_plan (study_id, version, checks, created_at) VALUES ($1, $2, $3, $4)";
    db::exec(tx, sql, [study.as_str().into(), version.into(), to_json(&checks)?, at.into()]).await.map(drop)
}

/// The checks of a version.
pub(crate) async fn checks(tx: &Tx, study: &ProjectId, version: i64) -> Result<Vec<Check>, DbErr> {
    let sql = "SELECT checks FROM monitoring_plan WHERE study_id = $1 AND version = $2";
    let row = db::query_one(tx, sql, [study.as_str().into(), version.into()]).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound(format!("plan version {version} of {study} is not stored")))?;
    from_json(&row, "checks")
}
