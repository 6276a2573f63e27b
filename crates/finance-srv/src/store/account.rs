//! The account of a study under its lock, its sites, and the events applied to it.

use std::collections::BTreeMap;

use contracts::ids::{ProjectId, SiteId};
use contracts::inbound::Inbound;
use outbox::db::{self, ConnectionTrait, DbErr, Tx, Value};
use time::{Date, OffsetDateTime};

use super::{INSERT_CHUNK, fee_schedule, parsed};
use crate::domain::{Account, Due, Site, Start, State, Step};

/// Writes the row on first sight and locks it: whoever changes anything of a study does this first. What else belongs to the account is read
/// after the lock, so it is what the last holder of the lock left.
pub(crate) async fn lock(tx: &Tx, study: &ProjectId, now: OffsetDateTime) -> Result<Account, DbErr> {
    let sql = "INSERT INTO account (study_id, state, created_at) VALUES ($1, $2, $3) ON CONFLICT (study_id) DO NOTHING";
    db::exec(tx, sql, [study.as_str().into(), State::Pending.as_str().into(), now.into()]).await?;
    let sql = format!(
        "SELECT state, started_at, start_event_id FROM account WHERE study_id = $1{}",
        db::lock_suffix(db::kind_of(tx))
    );
    let row = db::query_one(tx, &sql, [study.as_str().into()])
        .await?
        .ok_or_else(|| DbErr::RecordNotFound(format!("the account of study {study} vanished")))?;
    let start = row
        .try_get::<Option<OffsetDateTime>>("", "started_at")?
        .zip(row.try_get::<Option<String>>("", "start_event_id")?)
        .map(|(at, event_id)| Start { at, event_id });
    Ok(Account {
        study: study.clone(),
        state: parsed(&row, "state")?,
        start,
        sites: sites(tx, study).await?,
        schedules: fee_schedule::of(tx, study).await?,
    })
}

async fn sites(conn: &impl ConnectionTrait, study: &ProjectId) -> Result<BTreeMap<SiteId, Site>, DbErr> {
    let sql = "SELECT site.site_id, site.activated_at, site.due_on, site.due_event_id, payable.kind
               FROM site LEFT JOIN payable ON payable.study_id = site.study_id AND payable.site_id = site.site_id
               WHERE site.study_id = $1";
    let rows = db::query_all(conn, sql, [study.as_str().into()]).await?;
    rows.iter()
        .map(|row| {
            let due = row
                .try_get::<Option<Date>>("", "due_on")?
                .zip(row.try_get::<Option<String>>("", "due_event_id")?)
                .map(|(on, event_id)| Due { on, event_id });
            let has_payable = row.try_get::<Option<String>>("", "kind")?.is_some();
            let site = Site { activated_at: row.try_get("", "activated_at")?, due, has_payable };
            Ok((parsed(row, "site_id")?, site))
        })
        .collect()
}

/// Writes what an event did to a locked account, but not its payables.
pub(crate) async fn save(tx: &Tx, step: &Step, event_id: &str, now: OffsetDateTime) -> Result<(), DbErr> {
    let account = &step.account;
    let (started_at, start_event_id) = account.start.as_ref().map(|start| (start.at, start.event_id.clone())).unzip();
    let sql = "UPDATE account SET state = $2, started_at = $3, start_event_id = $4, last_event_id = $5, \
               last_event_applied_at = $6 WHERE study_id = $1";
    let values: [Value; 6] = [
        account.study.as_str().into(),
        account.state.as_str().into(),
        started_at.into(),
        start_event_id.into(),
        event_id.into(),
        now.into(),
    ];
    db::exec(tx, sql, values).await?;
    let touched: Vec<(&SiteId, &Site)> =
        account.sites.iter().filter(|(site_id, _)| step.touched.contains(*site_id)).collect();
    for chunk in touched.chunks(INSERT_CHUNK) {
        save_sites(tx, &account.study, chunk).await?;
    }
    Ok(())
}

async fn save_sites(tx: &Tx, study: &ProjectId, sites: &[(&SiteId, &Site)]) -> Result<(), DbErr> {
    let sql = format!(
        "INSERT INTO site (study_id, site_id, activated_at, due_on, due_event_id) VALUES {} \
         ON CONFLICT (study_id, site_id) DO UPDATE SET due_on = excluded.due_on, due_event_id = excluded.due_event_id",
        db::rows(5, sites.len())
    );
    let values = sites.iter().flat_map(|(site_id, site)| -> [Value; 5] {
        let (on, event_id) = site.due.as_ref().map(|due| (due.on, due.event_id.clone())).unzip();
        [study.as_str().into(), site_id.as_str().into(), site.activated_at.into(), on.into(), event_id.into()]
    });
    db::exec(tx, &sql, values).await.map(drop)
}

/// Notes that an event was applied. A unique violation means that this event was applied before, under another number.
pub(crate) async fn note_event(tx: &Tx, inbound: &Inbound, now: OffsetDateTime) -> Result<(), DbErr> {
    let sql = "INSERT INTO applied_event (study_id, source, event_id, event_type, sequence, applied_at) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    let values: [Value; 6] = [
        inbound.stream_id.as_str().into(),
        inbound.source.as_str().into(),
        inbound.id.as_str().into(),
        inbound.event_type.as_str().into(),
        inbound.sequence.into(),
        now.into(),
    ];
    db::exec(tx, sql, values).await.map(drop)
}
