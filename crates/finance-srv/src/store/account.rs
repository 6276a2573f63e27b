//! The account of a study under its lock, its sites, and the events applied to it.

use std::collections::{BTreeMap, BTreeSet};

use contracts::ids::{ProjectId, SiteId};
use contracts::inbound::Inbound;
use outbox::db::{self, DbErr, Lockable, QueryResult, Tx, Value};
use time::{Date, OffsetDateTime};

use super::{among, fee_schedule, parsed};
use crate::domain::{Account, Due, Site, Start, State};

const ACCOUNTS: Lockable =
    Lockable { table: "account", key: "study_id", columns: "study_id, state, started_at, start_event_id" };

/// Writes the row on first sight and locks it: whoever changes anything of a study does this first. What else belongs to the account is read
/// after the lock, so it is what the last holder of the lock left.
pub(crate) async fn lock(tx: &Tx, study: &ProjectId, now: OffsetDateTime) -> Result<Account, DbErr> {
    let locked = lock_all(tx, &[study].into(), now).await?.remove(study);
    locked.ok_or_else(|| DbErr::RecordNotFound(format!("the account of study {study} vanished")))
}

/// The same for several studies, in few statements.
pub(crate) async fn lock_all(
    tx: &Tx,
    studies: &BTreeSet<&ProjectId>,
    now: OffsetDateTime,
) -> Result<BTreeMap<ProjectId, Account>, DbErr> {
    let columns = [("study_id", "text"), ("state", "text"), ("created_at", "timestamptz")];
    let row = |study: &str| [study.into(), State::Pending.as_str().into(), now.into()];
    let rows = ACCOUNTS.lock_or_insert(tx, studies.iter().map(|study| study.as_str()), &columns, row).await?;
    let mut locked = rows.iter().map(read).collect::<Result<BTreeMap<_, _>, _>>()?;
    for (study, site_id, site) in sites(tx, studies).await? {
        if let Some(account) = locked.get_mut(&study) {
            account.sites.insert(site_id, site);
        }
    }
    for (study, schedule) in fee_schedule::of(tx, studies).await? {
        if let Some(account) = locked.get_mut(&study) {
            account.schedules.push(schedule);
        }
    }
    Ok(locked)
}

/// Without what other tables hold of it.
fn read(row: &QueryResult) -> Result<(ProjectId, Account), DbErr> {
    let start = row
        .try_get::<Option<OffsetDateTime>>("", "started_at")?
        .zip(row.try_get::<Option<String>>("", "start_event_id")?)
        .map(|(at, event_id)| Start { at, event_id });
    let study: ProjectId = parsed(row, "study_id")?;
    let account = Account { state: parsed(row, "state")?, start, ..Account::new(study.clone()) };
    Ok((study, account))
}

async fn sites(tx: &Tx, studies: &BTreeSet<&ProjectId>) -> Result<Vec<(ProjectId, SiteId, Site)>, DbErr> {
    let (found, values) = among(tx, studies)?;
    let sql = format!(
        "SELECT site.study_id, site.site_id, site.activated_at, site.due_on, site.due_event_id, payable.kind
         FROM site LEFT JOIN payable ON payable.study_id = site.study_id AND payable.site_id = site.site_id
         WHERE site.study_id {found}"
    );
    let rows = db::query_all(tx, &sql, values).await?;
    rows.iter()
        .map(|row| {
            let due = row
                .try_get::<Option<Date>>("", "due_on")?
                .zip(row.try_get::<Option<String>>("", "due_event_id")?)
                .map(|(on, event_id)| Due { on, event_id });
            let has_payable = row.try_get::<Option<String>>("", "kind")?.is_some();
            let site = Site { activated_at: row.try_get("", "activated_at")?, due, has_payable };
            Ok((parsed(row, "study_id")?, parsed(row, "site_id")?, site))
        })
        .collect()
}

/// What an event did to a locked account, to be written.
#[derive(Debug)]
pub(crate) struct Changed<'a> {
    pub(crate) account: &'a Account,
    /// The sites that are new or became due.
    pub(crate) touched: &'a BTreeSet<SiteId>,
    /// The last event that changed it.
    pub(crate) event_id: &'a str,
}

/// Writes what events did to locked accounts, but not their payables.
pub(crate) async fn save(tx: &Tx, changed: &[Changed<'_>], now: OffsetDateTime) -> Result<(), DbErr> {
    let columns = [
        ("study_id", "text"),
        ("state", "text"),
        ("started_at", "timestamptz"),
        ("start_event_id", "text"),
        ("last_event_id", "text"),
        ("last_event_applied_at", "timestamptz"),
        // Written for none: every locked account has its row.
        ("created_at", "timestamptz"),
    ];
    let row = |Changed { account, event_id, .. }: &Changed<'_>| -> [Value; 7] {
        let (started_at, start_event_id) =
            account.start.as_ref().map(|start| (start.at, start.event_id.clone())).unzip();
        [
            account.study.as_str().into(),
            account.state.as_str().into(),
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
    db::insert(tx, "account", &columns, changed.iter().map(row).collect(), update).await?;
    let columns = [
        ("study_id", "text"),
        ("site_id", "text"),
        ("activated_at", "timestamptz"),
        ("due_on", "date"),
        ("due_event_id", "text"),
    ];
    let sites = changed.iter().flat_map(|Changed { account, touched, .. }| {
        let touched = account.sites.iter().filter(|(site_id, _)| touched.contains(*site_id));
        touched.map(|(site_id, site)| -> [Value; 5] {
            let (on, event_id) = site.due.as_ref().map(|due| (due.on, due.event_id.clone())).unzip();
            [
                account.study.as_str().into(),
                site_id.as_str().into(),
                site.activated_at.into(),
                on.into(),
                event_id.into(),
            ]
        })
    });
    let update =
        "ON CONFLICT (study_id, site_id) DO UPDATE SET due_on = excluded.due_on, due_event_id = excluded.due_event_id";
    db::insert(tx, "site", &columns, sites.collect(), update).await.map(drop)
}

/// Notes which events were applied, in their order. A unique violation means that one of them was applied before, under another number.
pub(crate) async fn note_events(tx: &Tx, events: &[&Inbound], now: OffsetDateTime) -> Result<(), DbErr> {
    let columns = [
        ("study_id", "text"),
        ("source", "text"),
        ("event_id", "text"),
        ("event_type", "text"),
        ("sequence", "bigint"),
        ("applied_at", "timestamptz"),
    ];
    let row = |inbound: &&Inbound| -> [Value; 6] {
        [
            inbound.stream_id.as_str().into(),
            inbound.source.as_str().into(),
            inbound.id.as_str().into(),
            inbound.event_type.as_str().into(),
            inbound.sequence.into(),
            now.into(),
        ]
    };
    db::insert(tx, "applied_event", &columns, events.iter().map(row).collect(), "").await.map(drop)
}
