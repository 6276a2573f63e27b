//! Notifications as the study's life moves them, and as a reader sees them. Sending them is in `push`.

use contracts::ids::ProjectId;
use outbox::db::{self, ConnectionTrait, DbErr, QueryResult, Tx, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::assignment::Cause;
use super::{INSERT_CHUNK, parsed};
use crate::domain::plan::PushKind;
use crate::domain::push::{Channel, PushState};

/// A row to write.
#[derive(Debug, Clone)]
pub(crate) struct NewNotification {
    /// Unique id, also the key that the channel receives.
    pub(crate) id: Uuid,
    /// The assignment it tells of.
    pub(crate) assignment_id: Uuid,
    /// Who is told.
    pub(crate) subject_id: String,
    /// Why.
    pub(crate) kind: PushKind,
    /// The way it takes.
    pub(crate) channel: Channel,
    /// Where it begins.
    pub(crate) state: PushState,
    /// When it is due.
    pub(crate) due_at: OffsetDateTime,
}

/// Writes notifications, each with its cause.
///
/// # Errors
/// The database's; a unique violation for a double.
pub(crate) async fn insert(tx: &Tx, notifications: &[(&Cause, NewNotification)]) -> Result<(), DbErr> {
    let columns = [
        ("id", "uuid"),
        ("study_id", "text"),
        ("assignment_id", "uuid"),
        ("subject_id", "text"),
        ("kind", "text"),
        ("channel", "text"),
        ("state", "text"),
        ("event_id", "text"),
        ("due_at", "timestamptz"),
        ("created_at", "timestamptz"),
        ("next_attempt_at", "timestamptz"),
        ("sent_at", "timestamptz"),
        ("attempts", "bigint"),
    ];
    let row = |(cause, new): &(&Cause, NewNotification)| -> [Value; 13] {
        let is_sent = new.state == PushState::Sent;
        [
            new.id.into(),
            cause.study.as_str().into(),
            new.assignment_id.into(),
            new.subject_id.as_str().into(),
            new.kind.as_str().into(),
            new.channel.as_str().into(),
            new.state.as_str().into(),
            cause.event_id.as_str().into(),
            new.due_at.into(),
            cause.at.into(),
            new.due_at.into(),
            is_sent.then_some(cause.at).into(),
            i64::from(is_sent).into(),
        ]
    };
    for chunk in notifications.chunks(INSERT_CHUNK) {
        db::insert(tx, "notification", &columns, chunk.iter().map(row).collect(), "").await?;
    }
    Ok(())
}

/// Holds what is not sent.
///
/// # Errors
/// The database's.
pub(crate) async fn hold(tx: &Tx, study: &ProjectId) -> Result<u64, DbErr> {
    let sql = "UPDATE notification SET state = 'HELD' WHERE study_id = $1 AND state = 'PENDING'";
    db::exec(tx, sql, [study.as_str().into()]).await
}

/// Lets go what is held. Of several that fell due for one assignment meanwhile only one remains: the invitation, else the last reminder.
/// For the recording channel, what is due is sent with this.
///
/// # Errors
/// The database's.
pub(crate) async fn release(tx: &Tx, study: &ProjectId, now: OffsetDateTime) -> Result<u64, DbErr> {
    let sql = "UPDATE notification SET state = 'CANCELLED'
               WHERE study_id = $1 AND state = 'HELD' AND kind = 'REMINDER' AND due_at <= $2 AND EXISTS (
                 SELECT 1 FROM notification other
                 WHERE other.assignment_id = notification.assignment_id AND other.state = 'HELD' AND other.due_at <= $2
                 AND (other.kind = 'INVITATION' OR other.due_at > notification.due_at))";
    db::exec(tx, sql, [study.as_str().into(), now.into()]).await?;
    let sql = "UPDATE notification SET state = 'SENT', sent_at = $2, attempts = attempts + 1
               WHERE study_id = $1 AND state = 'HELD' AND channel = 'RECORD' AND due_at <= $2";
    let sent = db::exec(tx, sql, [study.as_str().into(), now.into()]).await?;
    let sql = "UPDATE notification SET state = 'PENDING' WHERE study_id = $1 AND state = 'HELD'";
    Ok(sent + db::exec(tx, sql, [study.as_str().into()]).await?)
}

/// Cancels what waits for an assignment that is no longer open.
///
/// # Errors
/// The database's.
pub(crate) async fn cancel_needless(tx: &Tx, study: &ProjectId) -> Result<u64, DbErr> {
    let sql = "UPDATE notification SET state = 'CANCELLED'
               WHERE study_id = $1 AND state IN ('PENDING', 'HELD')
               AND assignment_id IN (SELECT id FROM assignment WHERE study_id = $1 AND state <> 'OPEN')";
    db::exec(tx, sql, [study.as_str().into()]).await
}

/// Cancels what waits for these assignments.
///
/// # Errors
/// The database's.
pub(crate) async fn cancel_of(tx: &Tx, assignment_ids: &[Uuid]) -> Result<u64, DbErr> {
    let sql = format!(
        "UPDATE notification SET state = 'CANCELLED' WHERE state IN ('PENDING', 'HELD') AND assignment_id IN ({})",
        db::list(1, assignment_ids.len())
    );
    db::exec(tx, &sql, assignment_ids.iter().map(|id| (*id).into())).await
}

/// A notification as stored.
#[derive(Debug, Clone)]
pub(crate) struct Notification {
    /// Its place in the order of creation.
    pub(crate) seq: i64,
    /// Unique id.
    pub(crate) id: Uuid,
    /// The assignment it tells of.
    pub(crate) assignment_id: Uuid,
    /// Who is told.
    pub(crate) subject_id: String,
    /// Why.
    pub(crate) kind: PushKind,
    /// The way it takes.
    pub(crate) channel: Channel,
    /// Where it is.
    pub(crate) state: PushState,
    /// The event that caused it.
    pub(crate) event_id: String,
    /// When it is due.
    pub(crate) due_at: OffsetDateTime,
    /// When it was created.
    pub(crate) created_at: OffsetDateTime,
    /// When the channel took it.
    pub(crate) sent_at: Option<OffsetDateTime>,
    /// Attempts so far.
    pub(crate) attempts: i64,
    /// Why the last one failed.
    pub(crate) last_error: String,
}

fn of(row: &QueryResult) -> Result<Notification, DbErr> {
    Ok(Notification {
        seq: row.try_get("", "seq")?,
        id: row.try_get("", "id")?,
        assignment_id: row.try_get("", "assignment_id")?,
        subject_id: row.try_get("", "subject_id")?,
        kind: parsed(row, "kind")?,
        channel: parsed(row, "channel")?,
        state: parsed(row, "state")?,
        event_id: row.try_get("", "event_id")?,
        due_at: row.try_get("", "due_at")?,
        created_at: row.try_get("", "created_at")?,
        sent_at: row.try_get("", "sent_at")?,
        attempts: row.try_get("", "attempts")?,
        last_error: row.try_get("", "last_error")?,
    })
}

/// Which notifications a reader wants.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// Of this study.
    pub(crate) study: ProjectId,
    /// To this subject only.
    pub(crate) subject_id: Option<String>,
    /// In this state only.
    pub(crate) state: Option<PushState>,
}

/// Up to `limit` notifications after a place, in the order of creation.
///
/// # Errors
/// The database's.
pub(crate) async fn list<C: ConnectionTrait>(
    conn: &C,
    filter: &Filter,
    after_seq: i64,
    limit: i64,
) -> Result<Vec<Notification>, DbErr> {
    let sql = "SELECT seq, id, assignment_id, subject_id, kind, channel, state, event_id, due_at, created_at, sent_at,
               attempts, last_error FROM notification
               WHERE study_id = $1 AND seq > $2 AND ($3 = '' OR subject_id = $3) AND ($4 = '' OR state = $4)
               ORDER BY seq LIMIT $5";
    let values: [Value; 5] = [
        filter.study.as_str().into(),
        after_seq.into(),
        filter.subject_id.clone().unwrap_or_default().into(),
        filter.state.map_or("", PushState::as_str).into(),
        limit.into(),
    ];
    let rows = db::query_all(conn, sql, values).await?;
    rows.iter().map(of).collect()
}
