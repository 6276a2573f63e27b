//! Responses. A row is written once and never changes.

use std::collections::{HashMap, HashSet};

use contracts::ids::ProjectId;
use outbox::db::{self, ConnectionTrait, DbErr, QueryResult, Tx, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::parsed;
use crate::domain::answers::Answers;

/// Study and submission id: what makes a submission one.
pub(crate) type SubmissionKey = (String, String);

/// A row to write.
#[derive(Debug, Clone)]
pub(crate) struct NewResponse {
    /// Unique id.
    pub(crate) id: Uuid,
    /// Study and submission id.
    pub(crate) key: SubmissionKey,
    /// The assignment that it answers.
    pub(crate) assignment_id: Uuid,
    /// Who answered.
    pub(crate) subject_id: String,
    /// The instrument.
    pub(crate) instrument_id: String,
    /// Version of the schedule against which it was checked.
    pub(crate) schedule_version: i64,
    /// Answers by item id.
    pub(crate) answers: Answers,
    /// Hash of the request.
    pub(crate) body_hash: Vec<u8>,
}

/// What is needed of a stored response to answer its submission again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Its id.
    pub(crate) id: Uuid,
    /// Hash of the request that it came with.
    pub(crate) body_hash: Vec<u8>,
    /// When it was accepted.
    pub(crate) accepted_at: OffsetDateTime,
}

/// The receipts of those submissions that are stored.
///
/// # Errors
/// The database's.
pub(crate) async fn receipts(tx: &Tx, keys: &HashSet<SubmissionKey>) -> Result<HashMap<SubmissionKey, Receipt>, DbErr> {
    let sql = format!(
        "SELECT study_id, submission_id, id, body_hash, accepted_at FROM response
         WHERE (study_id, submission_id) IN (VALUES {})",
        db::rows(2, keys.len())
    );
    let values = keys.iter().flat_map(|(study, submission)| -> [Value; 2] { [study.into(), submission.into()] });
    let rows = db::query_all(tx, &sql, values).await?;
    rows.iter()
        .map(|row| {
            let key = (row.try_get("", "study_id")?, row.try_get("", "submission_id")?);
            let receipt = Receipt {
                id: row.try_get("", "id")?,
                body_hash: row.try_get("", "body_hash")?,
                accepted_at: row.try_get("", "accepted_at")?,
            };
            Ok((key, receipt))
        })
        .collect()
}

/// Writes responses, in one order everywhere so that two groups never wait for each other in a ring. Returns the ids of those written: the
/// others' submission ids were taken meanwhile by another instance.
///
/// # Errors
/// The database's.
pub(crate) async fn insert(tx: &Tx, responses: &[NewResponse], now: OffsetDateTime) -> Result<HashSet<Uuid>, DbErr> {
    let mut ordered: Vec<&NewResponse> = responses.iter().collect();
    ordered.sort_by(|one, other| one.key.cmp(&other.key));
    let sql = format!(
        "INSERT INTO response (id, study_id, submission_id, assignment_id, subject_id, instrument_id, schedule_version, answers,
         body_hash, accepted_at) VALUES {} ON CONFLICT (study_id, submission_id) DO NOTHING RETURNING id",
        db::rows(10, ordered.len())
    );
    let values = ordered.into_iter().flat_map(|new| -> [Value; 10] {
        [
            new.id.into(),
            new.key.0.as_str().into(),
            new.key.1.as_str().into(),
            new.assignment_id.into(),
            new.subject_id.as_str().into(),
            new.instrument_id.as_str().into(),
            new.schedule_version.into(),
            serde_json::Value::Object(new.answers.clone()).into(),
            new.body_hash.clone().into(),
            now.into(),
        ]
    });
    let rows = db::query_all(tx, &sql, values).await?;
    rows.iter().map(|row| row.try_get("", "id")).collect()
}

/// A response as stored.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    /// Unique id.
    pub(crate) id: Uuid,
    /// The study.
    pub(crate) study: ProjectId,
    /// The client's id of the submission.
    pub(crate) submission_id: String,
    /// The assignment that it answers.
    pub(crate) assignment_id: Uuid,
    /// Who answered.
    pub(crate) subject_id: String,
    /// The instrument.
    pub(crate) instrument_id: String,
    /// Version of the schedule against which it was checked.
    pub(crate) schedule_version: i64,
    /// Answers by item id.
    pub(crate) answers: Answers,
    /// When it was accepted.
    pub(crate) accepted_at: OffsetDateTime,
}

const COLUMNS: &str =
    "id, study_id, submission_id, assignment_id, subject_id, instrument_id, schedule_version, answers, accepted_at";

fn of(row: &QueryResult) -> Result<Response, DbErr> {
    let serde_json::Value::Object(answers) = row.try_get("", "answers")? else {
        return Err(DbErr::Type("column answers: not an object".to_owned()));
    };
    Ok(Response {
        id: row.try_get("", "id")?,
        study: parsed(row, "study_id")?,
        submission_id: row.try_get("", "submission_id")?,
        assignment_id: row.try_get("", "assignment_id")?,
        subject_id: row.try_get("", "subject_id")?,
        instrument_id: row.try_get("", "instrument_id")?,
        schedule_version: row.try_get("", "schedule_version")?,
        answers,
        accepted_at: row.try_get("", "accepted_at")?,
    })
}

/// Reads one response.
///
/// # Errors
/// The database's.
pub(crate) async fn read<C: ConnectionTrait>(
    conn: &C,
    study: &ProjectId,
    submission_id: &str,
) -> Result<Option<Response>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM response WHERE study_id = $1 AND submission_id = $2");
    let row = db::query_one(conn, &sql, [study.as_str().into(), submission_id.into()]).await?;
    row.as_ref().map(of).transpose()
}

/// Up to `limit` responses after a submission id, in the order of submission ids. Start with an empty id.
///
/// # Errors
/// The database's.
pub(crate) async fn list<C: ConnectionTrait>(
    conn: &C,
    study: &ProjectId,
    subject_id: Option<&str>,
    after: &str,
    limit: i64,
) -> Result<Vec<Response>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS} FROM response WHERE study_id = $1 AND submission_id > $2 AND ($3 = '' OR subject_id = $3)
         ORDER BY submission_id LIMIT $4"
    );
    let values: [Value; 4] = [study.as_str().into(), after.into(), subject_id.unwrap_or_default().into(), limit.into()];
    let rows = db::query_all(conn, &sql, values).await?;
    rows.iter().map(of).collect()
}
