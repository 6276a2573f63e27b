//! An account as a reader sees it, without a lock.

use contracts::ids::ProjectId;
use outbox::db::{self, ConnectionTrait, DbErr};
use time::OffsetDateTime;

use super::{fee_schedule, parsed};
use crate::domain::{Currency, FeeSchedule, State};

/// Most events that a read returns.
const MAX_EVENTS: i64 = 1_000;

/// What a reader sees.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) totals: Vec<Total>,
    pub(crate) schedules: Vec<FeeSchedule>,
    /// The event that last changed it, and when.
    pub(crate) last_event: Option<(String, OffsetDateTime)>,
    pub(crate) started_at: Option<OffsetDateTime>,
    /// The newest events in the order of application.
    pub(crate) applied_events: Vec<AppliedEvent>,
}

/// The payables of one currency.
#[derive(Debug, Clone)]
pub(crate) struct Total {
    pub(crate) currency: Currency,
    pub(crate) count: i64,
    pub(crate) amount_minor: i64,
}

/// An event that was applied.
#[derive(Debug, Clone)]
pub(crate) struct AppliedEvent {
    pub(crate) event_id: String,
    pub(crate) event_type: String,
    pub(crate) sequence: Option<i64>,
    pub(crate) applied_at: OffsetDateTime,
}

/// Whether anything is known of the study.
pub(crate) async fn exists(conn: &impl ConnectionTrait, study: &ProjectId) -> Result<bool, DbErr> {
    let sql = "SELECT state FROM account WHERE study_id = $1";
    Ok(db::query_one(conn, sql, [study.as_str().into()]).await?.is_some())
}

/// Reads an account; None when nothing is known of the study. The state is read first: whoever sees a state sees at least what it brought.
pub(crate) async fn read(conn: &impl ConnectionTrait, study: &ProjectId) -> Result<Option<View>, DbErr> {
    let sql = "SELECT state, started_at, last_event_id, last_event_applied_at FROM account WHERE study_id = $1";
    let Some(row) = db::query_one(conn, sql, [study.as_str().into()]).await? else { return Ok(None) };
    let last_event_at: Option<OffsetDateTime> = row.try_get("", "last_event_applied_at")?;
    Ok(Some(View {
        state: parsed(&row, "state")?,
        totals: totals(conn, study).await?,
        schedules: fee_schedule::of(conn, &[study].into()).await?.into_iter().map(|(_, schedule)| schedule).collect(),
        last_event: row.try_get::<Option<String>>("", "last_event_id")?.zip(last_event_at),
        started_at: row.try_get("", "started_at")?,
        applied_events: events(conn, study).await?,
    }))
}

async fn totals(conn: &impl ConnectionTrait, study: &ProjectId) -> Result<Vec<Total>, DbErr> {
    let sql = "SELECT currency, COUNT(*) AS payables, CAST(SUM(amount_minor) AS bigint) AS amount FROM payable \
               WHERE study_id = $1 GROUP BY currency ORDER BY currency";
    let rows = db::query_all(conn, sql, [study.as_str().into()]).await?;
    rows.iter()
        .map(|row| {
            Ok(Total {
                currency: parsed(row, "currency")?,
                count: row.try_get("", "payables")?,
                amount_minor: row.try_get("", "amount")?,
            })
        })
        .collect()
}

async fn events(conn: &impl ConnectionTrait, study: &ProjectId) -> Result<Vec<AppliedEvent>, DbErr> {
    let sql = "SELECT event_id, event_type, sequence, applied_at FROM applied_event \
               WHERE study_id = $1 ORDER BY position DESC LIMIT $2";
    let rows = db::query_all(conn, sql, [study.as_str().into(), MAX_EVENTS.into()]).await?;
    rows.iter()
        .rev()
        .map(|row| {
            Ok(AppliedEvent {
                event_id: row.try_get("", "event_id")?,
                event_type: row.try_get("", "event_type")?,
                sequence: row.try_get("", "sequence")?,
                applied_at: row.try_get("", "applied_at")?,
            })
        })
        .collect()
}
