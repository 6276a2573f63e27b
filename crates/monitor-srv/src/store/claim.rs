//! Which instance does which run, and what its workers write. Several instances may do this on one database.

use std::collections::BTreeMap;

use contracts::ids::ProjectId;
use outbox::db::{self, ConnectionTrait, Database, DbErr, Kind, Tx, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{from_json, monitoring, number, parsed};
use crate::domain::check::{Check, Finding};
use crate::domain::monitoring::State;
use crate::domain::run::RunState;

/// Open runs that nobody does and nothing holds: runs of a plan wait while their study is not active. `$1` is now.
const CLAIMABLE: &str = "r.state IN ('QUEUED', 'RUNNING') AND (r.claimed_until IS NULL OR r.claimed_until < $1) \
     AND (r.event_id = '' OR EXISTS (SELECT 1 FROM monitoring m WHERE m.study_id = r.study_id AND m.state = 'ACTIVE'))";

/// Who does a run, and until when nobody else takes it over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// The instance.
    pub(crate) by: Uuid,
    /// When others may take the run.
    pub(crate) until: OffsetDateTime,
}

/// A run that this instance does.
#[derive(Debug)]
pub(crate) struct ClaimedRow {
    pub(crate) id: Uuid,
    pub(crate) study: ProjectId,
    /// Of the checks without a result.
    pub(crate) open: Vec<(u64, Check)>,
}

/// The result of one check, to be written.
#[derive(Debug, Clone)]
pub(crate) struct CheckResult {
    pub(crate) run: Uuid,
    pub(crate) position: u64,
    pub(crate) finding: Finding,
}

/// Whether there is a run to claim. A cheap look before a transaction.
pub(crate) async fn is_any(conn: &impl ConnectionTrait, now: OffsetDateTime) -> Result<bool, DbErr> {
    let sql = format!("SELECT 1 FROM check_run r WHERE {CLAIMABLE} LIMIT 1");
    Ok(db::query_one(conn, &sql, [now.into()]).await?.is_some())
}

/// Claims up to `limit` runs, oldest first, with the checks that have no result yet.
pub(crate) async fn take(tx: &Tx, now: OffsetDateTime, claim: &Claim, limit: u64) -> Result<Vec<ClaimedRow>, DbErr> {
    let skip_locked = match db::kind_of(tx) {
        Kind::Postgres => " FOR UPDATE OF r SKIP LOCKED",
        Kind::Sqlite => "",
    };
    let sql = format!("SELECT r.id, r.study_id FROM check_run r WHERE {CLAIMABLE} ORDER BY r.id LIMIT $2{skip_locked}");
    let rows = db::query_all(tx, &sql, [now.into(), number(limit)]).await?;
    let mut taken = BTreeMap::new();
    for row in &rows {
        let id: Uuid = row.try_get("", "id")?;
        taken.insert(id, ClaimedRow { id, study: parsed(row, "study_id")?, open: Vec::new() });
    }
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = taken.keys().copied().collect();
    renew(tx, claim, &ids, false).await?;
    let sql = format!(
        "SELECT run_id, position, body FROM check_item WHERE outcome IS NULL AND run_id IN ({}) ORDER BY run_id, position",
        db::list(1, ids.len())
    );
    for row in db::query_all(tx, &sql, ids.into_iter().map(Value::from)).await? {
        if let Some(run) = taken.get_mut(&row.try_get::<Uuid>("", "run_id")?) {
            run.open.push((super::count(&row, "position")?, from_json(&row, "body")?));
        }
    }
    Ok(taken.into_values().collect())
}

/// Sets the claim of these runs; `only_own` leaves out those that another instance has taken over.
pub(crate) async fn renew(
    conn: &impl ConnectionTrait,
    claim: &Claim,
    runs: &[Uuid],
    only_own: bool,
) -> Result<u64, DbErr> {
    let own = if only_own { " AND claimed_by = $1" } else { "" };
    let sql = format!(
        "UPDATE check_run SET claimed_by = $1, claimed_until = $2 WHERE state IN ('QUEUED', 'RUNNING'){own} AND id IN ({})",
        db::list(3, runs.len())
    );
    let values = [claim.by.into(), claim.until.into()].into_iter().chain(runs.iter().map(|id| Value::from(*id)));
    db::exec(conn, &sql, values).await
}

/// Gives up what `by` has claimed: one run, or all of them.
pub(crate) async fn release(tx: &Tx, by: Uuid, run: Option<Uuid>) -> Result<u64, DbErr> {
    let one = if run.is_some() { " AND id = $2" } else { "" };
    let sql = format!("UPDATE check_run SET claimed_by = NULL, claimed_until = NULL WHERE claimed_by = $1{one}");
    db::exec(tx, &sql, [by.into()].into_iter().chain(run.map(Value::from))).await
}

/// Marks a claimed run as begun, unless it may not begin now: its study is no longer active, the run is over, or another instance has it.
/// The study stays as it is until the transaction ends, so that nothing begins once a pause is committed.
pub(crate) async fn begin(tx: &Tx, by: Uuid, run: Uuid, study: &ProjectId, now: OffsetDateTime) -> Result<bool, DbErr> {
    let state = monitoring::hold_still(tx, study).await?;
    let is_active = state == Some(State::Active);
    let sql = "UPDATE check_run SET state = $3, started_at = COALESCE(started_at, $4)
               WHERE id = $1 AND claimed_by = $2 AND state IN ('QUEUED', 'RUNNING') AND (event_id = '' OR $5)";
    let values: [Value; 5] = [run.into(), by.into(), RunState::Running.as_str().into(), now.into(), is_active.into()];
    Ok(db::exec(tx, sql, values).await? == 1)
}

/// Writes results, the first one of each check, and finishes the runs that have all of theirs. Runs that were cancelled stay as they are.
pub(crate) async fn record(db: &Database, results: Vec<CheckResult>, now: OffsetDateTime) -> Result<(), DbErr> {
    db.transaction(move |tx| Box::pin(async move { record_in(tx, &results, now).await })).await
}

async fn record_in(tx: &Tx, results: &[CheckResult], now: OffsetDateTime) -> Result<(), DbErr> {
    let mut runs: Vec<Uuid> = results.iter().map(|result| result.run).collect();
    runs.sort_unstable();
    runs.dedup();
    // Locked before anything is read: of two instances that write the last results of a run, the second one sees those of the first.
    let sql = format!(
        "SELECT id FROM check_run WHERE state IN ('QUEUED', 'RUNNING') AND id IN ({}) ORDER BY id{}",
        db::list(1, runs.len()),
        db::lock_suffix(db::kind_of(tx))
    );
    let rows = db::query_all(tx, &sql, runs.iter().map(|id| Value::from(*id))).await?;
    let open = rows.iter().map(|row| row.try_get::<Uuid>("", "id")).collect::<Result<Vec<_>, _>>()?;
    for result in results.iter().filter(|result| open.contains(&result.run)) {
        let sql = "UPDATE check_item SET outcome = $3, observed = $4, message = $5
                   WHERE run_id = $1 AND position = $2 AND outcome IS NULL";
        let values: [Value; 5] = [
            result.run.into(),
            number(result.position),
            result.finding.outcome.as_str().into(),
            number(result.finding.observed),
            result.finding.message.as_str().into(),
        ];
        db::exec(tx, sql, values).await?;
    }
    if open.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE check_run SET state = $1, started_at = COALESCE(started_at, $2), finished_at = $2, claimed_by = NULL, claimed_until = NULL WHERE id IN ({})
         AND NOT EXISTS (SELECT 1 FROM check_item i WHERE i.run_id = check_run.id AND i.outcome IS NULL)",
        db::list(3, open.len())
    );
    let values = [RunState::Finished.as_str().into(), now.into()].into_iter().chain(open.into_iter().map(Value::from));
    db::exec(tx, &sql, values).await.map(drop)
}
