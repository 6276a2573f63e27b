//! The versions of a study's plan.

use std::collections::HashMap;

use contracts::ids::ProjectId;
use outbox::db::{self, DbErr, Tx};
use time::OffsetDateTime;

use super::{from_json, parsed, to_json};
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

/// The checks of these versions of studies' plans; what is not stored is absent.
pub(crate) async fn checks(
    tx: &Tx,
    plans: &[(&ProjectId, i64)],
) -> Result<HashMap<(ProjectId, i64), Vec<Check>>, DbErr> {
    if plans.is_empty() {
        return Ok(HashMap::new());
    }
    let kind = db::kind_of(tx);
    let (studies, mut values) = db::among(kind, 1, "text", plans.iter().map(|(id, _)| id.as_str().into()).collect())?;
    let versions = plans.iter().map(|(_, version)| (*version).into()).collect();
    let (versions, more) = db::among(kind, values.len() + 1, "bigint", versions)?;
    values.extend(more);
    // A study has few versions: what is read of others is dropped.
    let sql = format!(
        "SELECT study_id, version, checks FROM monitoring_plan WHERE study_id {studies} AND version {versions}"
    );
    let rows = db::query_all(tx, &sql, values).await?;
    rows.iter()
        .map(|row| Ok(((parsed(row, "study_id")?, row.try_get("", "version")?), from_json(row, "checks")?)))
        .collect()
}
