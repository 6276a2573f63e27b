//! Enrolled subjects.

use std::collections::BTreeSet;

use contracts::ids::ProjectId;
use outbox::db::{self, DbErr, QueryResult, Tx, Value};
use time::OffsetDateTime;

use super::parsed;
use crate::domain::plan::Subject;

/// Enrols a subject; false when the id is taken.
///
/// # Errors
/// The database's.
pub(crate) async fn insert(tx: &Tx, study: &ProjectId, subject: &Subject, now: OffsetDateTime) -> Result<bool, DbErr> {
    let sql = "INSERT INTO subject (study_id, subject_id, site_id, enrolled_on, created_at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (study_id, subject_id) DO NOTHING";
    let values: [Value; 5] = [
        study.as_str().into(),
        subject.id.as_str().into(),
        subject.site_id.as_str().into(),
        subject.enrolled_on.into(),
        now.into(),
    ];
    Ok(db::exec(tx, sql, values).await? == 1)
}

/// The next `limit` subjects of a study after an id, in the order of ids. Start with an empty id.
///
/// # Errors
/// The database's.
pub(crate) async fn page_after(tx: &Tx, study: &ProjectId, after: &str, limit: i64) -> Result<Vec<Subject>, DbErr> {
    let sql = "SELECT subject_id, site_id, enrolled_on FROM subject
               WHERE study_id = $1 AND subject_id > $2 ORDER BY subject_id LIMIT $3";
    let rows = db::query_all(tx, sql, [study.as_str().into(), after.into(), limit.into()]).await?;
    rows.iter().map(read).collect()
}

/// The subjects of these studies, up to `limit`, each study's in the order of ids.
///
/// # Errors
/// The database's.
pub(crate) async fn first_of(
    tx: &Tx,
    studies: &BTreeSet<&ProjectId>,
    limit: usize,
) -> Result<Vec<(ProjectId, Subject)>, DbErr> {
    let ids = studies.iter().map(|study| study.as_str().into()).collect();
    let (found, mut values) = db::among(db::kind_of(tx), 1, "text", ids)?;
    values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
    let sql = format!(
        "SELECT study_id, subject_id, site_id, enrolled_on FROM subject WHERE study_id {found}
         ORDER BY study_id, subject_id LIMIT ${}",
        values.len()
    );
    let rows = db::query_all(tx, &sql, values).await?;
    rows.iter().map(|row| Ok((parsed(row, "study_id")?, read(row)?))).collect()
}

fn read(row: &QueryResult) -> Result<Subject, DbErr> {
    Ok(Subject {
        id: row.try_get("", "subject_id")?,
        site_id: row.try_get("", "site_id")?,
        enrolled_on: row.try_get("", "enrolled_on")?,
    })
}
