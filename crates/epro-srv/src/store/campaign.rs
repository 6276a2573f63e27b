//! The row of a study, its lock, and the events applied to it. Must not decide anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contracts::ids::ProjectId;
use outbox::db::{self, ConnectionTrait, DbErr, Kind, Lockable, Tx, Value};
use time::OffsetDateTime;

use super::parsed;
use crate::domain::campaign::{Move, State};

/// Most events that a read returns.
pub(crate) const MAX_EVENTS_READ: i64 = 1_000;

/// The locked row of a study.
#[derive(Debug, Clone)]
pub(crate) struct Campaign {
    /// The study.
    pub(crate) study: ProjectId,
    /// Where it stands.
    pub(crate) state: State,
    /// The schedule in use; 0 while none is published.
    pub(crate) schedule_version: i64,
    /// When the study started, and the event that said so.
    pub(crate) start: Option<Start>,
    /// The subject after which assignments are still to be generated; None when all are.
    pub(crate) generate_after: Option<String>,
}

/// The start of a study.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// When it started.
    pub(crate) at: OffsetDateTime,
    /// The event that said so.
    pub(crate) event_id: String,
}

const CAMPAIGNS: Lockable = Lockable {
    table: "campaign",
    key: "study_id",
    columns: "study_id, state, schedule_version, started_at, start_event_id, generate_after",
};

/// Writes the row on first sight and locks it: whoever changes anything of a study does this first.
///
/// # Errors
/// The database's.
pub(crate) async fn lock(tx: &Tx, study: &ProjectId, now: OffsetDateTime) -> Result<Campaign, DbErr> {
    let locked = lock_all(tx, &[study].into(), now).await?.remove(study);
    locked.ok_or_else(|| DbErr::RecordNotFound(format!("campaign {study} vanished")))
}

/// The same for several studies, in few statements.
///
/// # Errors
/// The database's.
pub(crate) async fn lock_all(
    tx: &Tx,
    studies: &BTreeSet<&ProjectId>,
    now: OffsetDateTime,
) -> Result<BTreeMap<ProjectId, Campaign>, DbErr> {
    let columns =
        [("study_id", "text"), ("state", "text"), ("schedule_version", "bigint"), ("created_at", "timestamptz")];
    let row = |study: &str| [study.into(), State::Pending.as_str().into(), 0_i64.into(), now.into()];
    let rows = CAMPAIGNS.lock_or_insert(tx, studies.iter().map(|study| study.as_str()), &columns, row).await?;
    rows.iter()
        .map(|row| {
            let start = row
                .try_get::<Option<OffsetDateTime>>("", "started_at")?
                .zip(row.try_get::<Option<String>>("", "start_event_id")?)
                .map(|(at, event_id)| Start { at, event_id });
            let study: ProjectId = parsed(row, "study_id")?;
            let campaign = Campaign {
                study: study.clone(),
                state: parsed(row, "state")?,
                schedule_version: row.try_get("", "schedule_version")?,
                start,
                generate_after: row.try_get("", "generate_after")?,
            };
            Ok((study, campaign))
        })
        .collect()
}

/// Notes after which subject assignments are still to be generated; None when all are.
///
/// # Errors
/// The database's.
pub(crate) async fn generate_after(tx: &Tx, study: &ProjectId, subject_id: Option<&str>) -> Result<(), DbErr> {
    let sql = "UPDATE campaign SET generate_after = $1 WHERE study_id = $2";
    db::exec(tx, sql, [subject_id.map(str::to_owned).into(), study.as_str().into()]).await?;
    Ok(())
}

/// Up to `limit` studies with assignments still to be generated.
///
/// # Errors
/// The database's.
pub(crate) async fn to_generate<C: ConnectionTrait>(conn: &C, limit: i64) -> Result<Vec<ProjectId>, DbErr> {
    let sql = "SELECT study_id FROM campaign WHERE generate_after IS NOT NULL LIMIT $1";
    let rows = db::query_all(conn, sql, [limit.into()]).await?;
    rows.iter().map(|row| parsed(row, "study_id")).collect()
}

/// The states of these studies, which stay as they are until the transaction ends. Unknown studies are absent.
///
/// # Errors
/// The database's.
pub(crate) async fn hold_still(tx: &Tx, studies: &BTreeSet<ProjectId>) -> Result<HashMap<ProjectId, State>, DbErr> {
    // In the order of bytes, as the gate does: a database's own order of text is another one, and the two could lock each other out.
    let suffix = match db::kind_of(tx) {
        Kind::Postgres => " COLLATE \"C\" FOR SHARE",
        Kind::Sqlite => "",
    };
    let sql = format!(
        "SELECT study_id, state FROM campaign WHERE study_id IN ({}) ORDER BY study_id{suffix}",
        db::list(1, studies.len())
    );
    let rows = db::query_all(tx, &sql, studies.iter().map(|study| study.as_str().into())).await?;
    rows.iter().map(|row| Ok((parsed(row, "study_id")?, parsed(row, "state")?))).collect()
}

impl Campaign {
    /// Makes the move of an event. The first start stays.
    pub(crate) fn make(&mut self, step: &Move, event_id: &str) {
        self.state = step.to;
        if self.start.is_none() {
            self.start = step.started_at.map(|at| Start { at, event_id: event_id.to_owned() });
        }
    }
}

/// Writes campaigns that events moved, each with the id of the last that did.
///
/// # Errors
/// The database's.
pub(crate) async fn save(tx: &Tx, moved: &[(&Campaign, &str)], now: OffsetDateTime) -> Result<(), DbErr> {
    let columns = [
        ("study_id", "text"),
        ("state", "text"),
        ("schedule_version", "bigint"),
        ("started_at", "timestamptz"),
        ("start_event_id", "text"),
        ("last_event_id", "text"),
        ("last_event_applied_at", "timestamptz"),
        // Written for none: every locked campaign has its row.
        ("created_at", "timestamptz"),
    ];
    let row = |(campaign, event_id): &(&Campaign, &str)| -> [Value; 8] {
        let (started_at, start_event_id) =
            campaign.start.as_ref().map(|start| (start.at, start.event_id.clone())).unzip();
        [
            campaign.study.as_str().into(),
            campaign.state.as_str().into(),
            campaign.schedule_version.into(),
            started_at.into(),
            start_event_id.into(),
            (*event_id).into(),
            now.into(),
            now.into(),
        ]
    };
    let update = "ON CONFLICT (study_id) DO UPDATE SET state = excluded.state, started_at = excluded.started_at,
                  start_event_id = excluded.start_event_id, last_event_id = excluded.last_event_id,
                  last_event_applied_at = excluded.last_event_applied_at";
    db::insert(tx, "campaign", &columns, moved.iter().map(row).collect(), update).await?;
    Ok(())
}

/// Puts a published schedule into use.
///
/// # Errors
/// The database's.
pub(crate) async fn use_schedule(tx: &Tx, campaign: &mut Campaign, version: i64) -> Result<(), DbErr> {
    campaign.schedule_version = version;
    let sql = "UPDATE campaign SET schedule_version = $1 WHERE study_id = $2";
    db::exec(tx, sql, [version.into(), campaign.study.as_str().into()]).await?;
    Ok(())
}

/// An event that was applied.
#[derive(Debug, Clone)]
pub(crate) struct AppliedEvent {
    /// Its id.
    pub(crate) event_id: String,
    /// Its type.
    pub(crate) event_type: String,
    /// Its number; None for a plain record.
    pub(crate) sequence: Option<i64>,
    /// When its effect was committed.
    pub(crate) applied_at: OffsetDateTime,
}

/// Notes which events were applied, in their order.
///
/// # Errors
/// The database's.
pub(crate) async fn note_events(tx: &Tx, events: &[(&ProjectId, AppliedEvent)]) -> Result<(), DbErr> {
    let columns = [
        ("study_id", "text"),
        ("event_id", "text"),
        ("event_type", "text"),
        ("sequence", "bigint"),
        ("applied_at", "timestamptz"),
    ];
    let row = |(study, event): &(&ProjectId, AppliedEvent)| -> [Value; 5] {
        [
            study.as_str().into(),
            event.event_id.as_str().into(),
            event.event_type.as_str().into(),
            event.sequence.into(),
            event.applied_at.into(),
        ]
    };
    db::insert(tx, "applied_event", &columns, events.iter().map(row).collect(), "").await?;
    Ok(())
}

/// A campaign as a reader sees it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// Where it stands.
    pub(crate) state: State,
    /// The schedule in use.
    pub(crate) schedule_version: i64,
    /// Rows of the study.
    pub(crate) counts: Counts,
    /// The event that last moved it, and when.
    pub(crate) last_event: Option<(String, OffsetDateTime)>,
    /// When the study started.
    pub(crate) started_at: Option<OffsetDateTime>,
    /// The newest events in the order of application.
    pub(crate) applied_events: Vec<AppliedEvent>,
}

/// How many rows a study has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Enrolled subjects.
    pub(crate) subjects: i64,
    /// Assignments in any state.
    pub(crate) assignments: i64,
    /// Notifications in any state.
    pub(crate) notifications: i64,
    /// Responses.
    pub(crate) responses: i64,
}

/// Reads a campaign; None when nothing is known of the study.
///
/// # Errors
/// The database's.
pub(crate) async fn read<C: ConnectionTrait>(conn: &C, study: &ProjectId) -> Result<Option<View>, DbErr> {
    let sql = "SELECT state, schedule_version, started_at, last_event_id, last_event_applied_at,
               (SELECT COUNT(*) FROM subject WHERE study_id = $1) AS subjects,
               (SELECT COUNT(*) FROM assignment WHERE study_id = $1) AS assignments,
               (SELECT COUNT(*) FROM notification WHERE study_id = $1) AS notifications,
               (SELECT COUNT(*) FROM response WHERE study_id = $1) AS responses
               FROM campaign WHERE study_id = $1";
    let Some(row) = db::query_one(conn, sql, [study.as_str().into()]).await? else {
        return Ok(None);
    };
    let last_event_at: Option<OffsetDateTime> = row.try_get("", "last_event_applied_at")?;
    Ok(Some(View {
        state: parsed(&row, "state")?,
        schedule_version: row.try_get("", "schedule_version")?,
        counts: Counts {
            subjects: row.try_get("", "subjects")?,
            assignments: row.try_get("", "assignments")?,
            notifications: row.try_get("", "notifications")?,
            responses: row.try_get("", "responses")?,
        },
        last_event: row.try_get::<Option<String>>("", "last_event_id")?.zip(last_event_at),
        started_at: row.try_get("", "started_at")?,
        applied_events: events(conn, study).await?,
    }))
}

async fn events<C: ConnectionTrait>(conn: &C, study: &ProjectId) -> Result<Vec<AppliedEvent>, DbErr> {
    let sql = "SELECT event_id, event_type, sequence, applied_at FROM applied_event
               WHERE study_id = $1 ORDER BY position DESC LIMIT $2";
    let mut rows = db::query_all(conn, sql, [study.as_str().into(), MAX_EVENTS_READ.into()]).await?;
    rows.reverse();
    rows.iter()
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
