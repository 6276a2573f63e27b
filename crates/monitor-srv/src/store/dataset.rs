//! Datasets as they were uploaded. They are in the database so that every instance of the service has them.

use contracts::ids::{DatasetName, ProjectId};
use outbox::db::{self, ConnectionTrait, DbErr, Tx, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::number;

/// A dataset to be stored.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) study: ProjectId,
    pub(crate) name: DatasetName,
    pub(crate) id: Uuid,
    pub(crate) rows: u64,
    pub(crate) columns: u64,
    pub(crate) at: OffsetDateTime,
    pub(crate) content: Vec<u8>,
}

/// Writes a dataset, in the place of an earlier one if there is one.
pub(crate) async fn put(tx: &Tx, upload: Upload) -> Result<(), DbErr> {
    let sql = "INSERT INTO dataset (study_id, name, upload_id, row_count, column_count, uploaded_at, content)
               VALUES ($1, $2, $3, $4, $5, $6, $7)
               ON CONFLICT (study_id, name) DO UPDATE SET upload_id = excluded.upload_id, row_count = excluded.row_count,
               column_count = excluded.column_count, uploaded_at = excluded.uploaded_at, content = excluded.content";
    let values: [Value; 7] = [
        upload.study.as_str().into(),
        upload.name.as_str().into(),
        upload.id.into(),
        number(upload.rows),
        number(upload.columns),
        upload.at.into(),
        upload.content.into(),
    ];
    db::exec(tx, sql, values).await.map(drop)
}

/// How many datasets a study has.
pub(crate) async fn count(conn: &impl ConnectionTrait, study: &ProjectId) -> Result<u64, DbErr> {
    let sql = "SELECT COUNT(*) AS datasets FROM dataset WHERE study_id = $1";
    let row = db::query_one(conn, sql, [study.as_str().into()]).await?;
    row.map_or(Ok(0), |row| super::count(&row, "datasets"))
}

/// Whether a study has this dataset.
pub(crate) async fn exists(conn: &impl ConnectionTrait, study: &ProjectId, name: &DatasetName) -> Result<bool, DbErr> {
    Ok(upload_id(conn, study, name).await?.is_some())
}

/// Which upload a dataset is now; `None` when it was never uploaded.
pub(crate) async fn upload_id(
    conn: &impl ConnectionTrait,
    study: &ProjectId,
    name: &DatasetName,
) -> Result<Option<Uuid>, DbErr> {
    let sql = "SELECT upload_id FROM dataset WHERE study_id = $1 AND name = $2";
    let row = db::query_one(conn, sql, [study.as_str().into(), name.as_str().into()]).await?;
    row.map(|row| row.try_get("", "upload_id")).transpose()
}

/// The text of one upload; `None` when another one has taken its place.
pub(crate) async fn content(
    conn: &impl ConnectionTrait,
    study: &ProjectId,
    name: &DatasetName,
    upload: Uuid,
) -> Result<Option<Vec<u8>>, DbErr> {
    let sql = "SELECT content FROM dataset WHERE study_id = $1 AND name = $2 AND upload_id = $3";
    let row = db::query_one(conn, sql, [study.as_str().into(), name.as_str().into(), upload.into()]).await?;
    row.map(|row| row.try_get("", "content")).transpose()
}
