//! Taking pushes that are due, under a lease, and writing how they went. Several instances may do this on one database.

use outbox::db::{self, ConnectionTrait, Database, DbErr, Kind, Tx, Value};
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::parsed;
use crate::domain::plan::PushKind;
use crate::domain::push::{Channel, Next};

/// A push that this instance may send until its lease ends.
#[derive(Debug, Clone)]
pub(crate) struct Leased {
    /// Unique id, also the key that the channel receives.
    pub(crate) id: Uuid,
    /// The study.
    pub(crate) study_id: String,
    /// The assignment it tells of.
    pub(crate) assignment_id: Uuid,
    /// Who is told.
    pub(crate) subject_id: String,
    /// Why.
    pub(crate) kind: PushKind,
    /// Number of this attempt, from 1.
    pub(crate) attempt: i64,
    /// The visit.
    pub(crate) visit_id: String,
    /// The instrument to answer.
    pub(crate) instrument_id: String,
    /// Planned day of the answer.
    pub(crate) due_on: Date,
    /// Last day of the answer.
    pub(crate) window_closes_on: Date,
}

/// Who holds leases, and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    /// This instance.
    pub(crate) owner: Uuid,
    /// Now.
    pub(crate) now: OffsetDateTime,
    /// When others may take the push.
    pub(crate) until: OffsetDateTime,
}

fn skip_locked(tx: &Tx) -> &'static str {
    match db::kind_of(tx) {
        Kind::Postgres => " FOR UPDATE SKIP LOCKED",
        Kind::Sqlite => "",
    }
}

/// Whether a push is due on this channel. A cheap look before a transaction.
///
/// # Errors
/// The database's.
pub(crate) async fn is_any_due<C: ConnectionTrait>(
    conn: &C,
    channel: Channel,
    now: OffsetDateTime,
) -> Result<bool, DbErr> {
    let sql = "SELECT 1 FROM notification WHERE state = 'PENDING' AND next_attempt_at <= $1 AND channel = $2
               AND (lease_until IS NULL OR lease_until < $1) LIMIT 1";
    Ok(db::query_one(conn, sql, [now.into(), channel.as_str().into()]).await?.is_some())
}

/// The most that [`due_for_webhook`] counts.
pub(crate) const COUNTED_AT_MOST: i64 = 10_000;

/// How many pushes are due for the webhook, counted up to [`COUNTED_AT_MOST`].
///
/// # Errors
/// The database's.
pub(crate) async fn due_for_webhook<C: ConnectionTrait>(conn: &C, now: OffsetDateTime) -> Result<i64, DbErr> {
    let sql = "SELECT count(*) AS due FROM
                 (SELECT 1 FROM notification WHERE state = 'PENDING' AND next_attempt_at <= $1 AND channel = 'WEBHOOK' LIMIT $2) waiting";
    let row = db::query_one(conn, sql, [now.into(), COUNTED_AT_MOST.into()]).await?;
    row.map_or(Ok(0), |row| row.try_get("", "due"))
}

/// Sends up to `limit` due pushes of the recording channel: their rows say so.
///
/// # Errors
/// The database's.
pub(crate) async fn record_due(tx: &Tx, now: OffsetDateTime, limit: i64) -> Result<u64, DbErr> {
    let sql = format!(
        "UPDATE notification SET state = 'SENT', sent_at = $1, attempts = attempts + 1 WHERE seq IN (
           SELECT seq FROM notification WHERE state = 'PENDING' AND channel = 'RECORD' AND next_attempt_at <= $1
           ORDER BY next_attempt_at LIMIT $2{})",
        skip_locked(tx)
    );
    db::exec(tx, &sql, [now.into(), limit.into()]).await
}

/// Leases up to `limit` due pushes of the webhook. Taking one counts as an attempt, so that one which kills its sender is not sent for ever.
///
/// # Errors
/// The database's.
pub(crate) async fn lease(tx: &Tx, lease: &Lease, limit: i64) -> Result<Vec<Leased>, DbErr> {
    let sql = format!(
        "UPDATE notification SET lease_owner = $1, lease_until = $2, attempts = attempts + 1 WHERE seq IN (
           SELECT seq FROM notification WHERE state = 'PENDING' AND channel = 'WEBHOOK' AND next_attempt_at <= $3
           AND (lease_until IS NULL OR lease_until < $3) ORDER BY next_attempt_at LIMIT $4{}) RETURNING id",
        skip_locked(tx)
    );
    let rows =
        db::query_all(tx, &sql, [lease.owner.into(), lease.until.into(), lease.now.into(), limit.into()]).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids = rows.iter().map(|row| row.try_get::<Uuid>("", "id")).collect::<Result<Vec<_>, _>>()?;
    let sql = format!(
        "SELECT n.id, n.study_id, n.assignment_id, n.subject_id, n.kind, n.attempts, a.visit_id, a.instrument_id,
         a.due_on, a.window_closes_on FROM notification n JOIN assignment a ON a.id = n.assignment_id
         WHERE n.id IN ({}) ORDER BY n.seq",
        db::list(1, ids.len())
    );
    let rows = db::query_all(tx, &sql, ids.into_iter().map(Value::from)).await?;
    rows.iter()
        .map(|row| {
            Ok(Leased {
                id: row.try_get("", "id")?,
                study_id: row.try_get("", "study_id")?,
                assignment_id: row.try_get("", "assignment_id")?,
                subject_id: row.try_get("", "subject_id")?,
                kind: parsed(row, "kind")?,
                attempt: row.try_get("", "attempts")?,
                visit_id: row.try_get("", "visit_id")?,
                instrument_id: row.try_get("", "instrument_id")?,
                due_on: row.try_get("", "due_on")?,
                window_closes_on: row.try_get("", "window_closes_on")?,
            })
        })
        .collect()
}

/// Writes that the channel took a push. What was suspended or cancelled while it was under way has been sent all the same, and says so.
///
/// # Errors
/// The database's.
pub(crate) async fn sent(db: &Database, id: Uuid, now: OffsetDateTime) -> Result<(), DbErr> {
    let sql =
        "UPDATE notification SET state = 'SENT', sent_at = $1, last_error = '', lease_owner = NULL, lease_until = NULL
               WHERE id = $2 AND state <> 'SENT'";
    in_transaction(db, sql, vec![now.into(), id.into()]).await
}

/// Writes that an attempt failed, and what is next. Nothing changes when the lease has passed to somebody else.
///
/// # Errors
/// The database's.
pub(crate) async fn failed(db: &Database, owner: Uuid, push: &Leased, cause: &str, next: Next) -> Result<(), DbErr> {
    const MINE: &str = "WHERE id = $2 AND lease_owner = $3 AND attempts = $4 AND state <> 'SENT'";
    let mut values: Vec<Value> = vec![cause.into(), push.id.into(), owner.into(), push.attempt.into()];
    let sql = match next {
        Next::RetryAt(at) => {
            values.push(at.into());
            format!(
                "UPDATE notification SET last_error = $1, lease_owner = NULL, lease_until = NULL, next_attempt_at = $5 {MINE}"
            )
        }
        Next::GiveUp => format!(
            "UPDATE notification SET last_error = $1, lease_owner = NULL, lease_until = NULL,
             state = CASE WHEN state = 'CANCELLED' THEN state ELSE 'FAILED' END {MINE}"
        ),
    };
    in_transaction(db, &sql, values).await
}

async fn in_transaction(db: &Database, sql: &str, values: Vec<Value>) -> Result<(), DbErr> {
    let sql = sql.to_owned();
    db.transaction(move |tx| Box::pin(async move { db::exec(tx, &sql, values).await.map(|_| ()) })).await
}
