//! Check runs and their items: queueing, reading, cancelling, forgetting.

use contracts::ids::ProjectId;
use outbox::db::{self, ConnectionTrait, Database, DbErr, QueryResult, Tx, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::claim::Claim;
use super::{count as read_count, from_json, number, parsed, to_json};
use crate::domain::check::{Finding, Outcome};
use crate::domain::run::{Item, NewRun, Run, RunState};

/// Runs forgotten in one transaction.
const PRUNE_CHUNK: i64 = 200;

const COLUMNS: &str = "id, study_id, plan_version, state, event_id, created_at, started_at, finished_at";

/// Queues runs, claimed from the beginning where whoever asks for them does them as well.
pub(crate) async fn insert(tx: &Tx, runs: &[NewRun], claim: Option<&Claim>) -> Result<(), DbErr> {
    let columns = [
        ("id", "uuid"),
        ("study_id", "text"),
        ("plan_version", "bigint"),
        ("state", "text"),
        ("event_id", "text"),
        ("created_at", "timestamptz"),
        ("claimed_by", "uuid"),
        ("claimed_until", "timestamptz"),
    ];
    let (claimed_by, claimed_until) = claim.map(|claim| (claim.by, claim.until)).unzip();
    let row = |run: &NewRun| -> [Value; 8] {
        [
            run.id.into(),
            run.study.as_str().into(),
            run.plan_version.into(),
            RunState::Queued.as_str().into(),
            run.event_id.as_str().into(),
            run.created_at.into(),
            claimed_by.into(),
            claimed_until.into(),
        ]
    };
    db::insert(tx, "check_run", &columns, runs.iter().map(row).collect(), "").await?;
    let columns =
        [("run_id", "uuid"), ("position", "bigint"), ("body", "jsonb"), ("observed", "bigint"), ("message", "text")];
    let items =
        runs.iter().flat_map(|run| (0_u64..).zip(&run.checks).map(|(position, check)| (run.id, position, check)));
    let items = items.map(|(run_id, position, check)| -> Result<[Value; 5], DbErr> {
        Ok([run_id.into(), number(position), to_json(check)?, 0_i64.into(), "".into()])
    });
    db::insert(tx, "check_item", &columns, items.collect::<Result<_, _>>()?, "").await.map(drop)
}

/// Cancels the runs of a study's plan that are not finished. The study must be locked.
pub(crate) async fn cancel(tx: &Tx, study: &ProjectId) -> Result<u64, DbErr> {
    let sql = "UPDATE check_run SET state = $2, claimed_by = NULL, claimed_until = NULL
               WHERE study_id = $1 AND event_id <> '' AND state IN ('QUEUED', 'RUNNING')";
    db::exec(tx, sql, [study.as_str().into(), RunState::Cancelled.as_str().into()]).await
}

/// Reads a run as last committed.
pub(crate) async fn get(conn: &impl ConnectionTrait, id: Uuid) -> Result<Option<Run>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM check_run WHERE id = $1");
    let rows = db::query_all(conn, &sql, [id.into()]).await?;
    Ok(with_items(conn, &rows).await?.pop())
}

/// Up to `limit` runs of a study before `before`, newest first, of one state or of all.
pub(crate) async fn page(
    conn: &impl ConnectionTrait,
    study: &ProjectId,
    state: Option<RunState>,
    before: Option<Uuid>,
    limit: u64,
) -> Result<Vec<Run>, DbErr> {
    let mut values: Vec<Value> = vec![study.as_str().into(), number(limit)];
    let mut filter = String::new();
    if let Some(before) = before {
        values.push(before.into());
        filter += &format!(" AND id < ${}", values.len());
    }
    if let Some(state) = state {
        values.push(state.as_str().into());
        filter += &format!(" AND state = ${}", values.len());
    }
    let sql = format!("SELECT {COLUMNS} FROM check_run WHERE study_id = $1{filter} ORDER BY id DESC LIMIT $2");
    let rows = db::query_all(conn, &sql, values).await?;
    with_items(conn, &rows).await
}

/// How many runs a study has.
pub(crate) async fn count(conn: &impl ConnectionTrait, study: &ProjectId) -> Result<u64, DbErr> {
    let sql = "SELECT COUNT(*) AS runs FROM check_run WHERE study_id = $1";
    let row = db::query_one(conn, sql, [study.as_str().into()]).await?;
    row.map_or(Ok(0), |row| read_count(&row, "runs"))
}

async fn with_items(conn: &impl ConnectionTrait, rows: &[QueryResult]) -> Result<Vec<Run>, DbErr> {
    let mut runs = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if runs.is_empty() {
        return Ok(runs);
    }
    let sql = format!(
        "SELECT run_id, body, outcome, observed, message FROM check_item WHERE run_id IN ({}) ORDER BY run_id, position",
        db::list(1, runs.len())
    );
    let items = db::query_all(conn, &sql, runs.iter().map(|run| run.id.into())).await?;
    for row in &items {
        let id: Uuid = row.try_get("", "run_id")?;
        if let Some(run) = runs.iter_mut().find(|run| run.id == id) {
            run.items.push(read_item(row)?);
        }
    }
    Ok(runs)
}

fn read(row: &QueryResult) -> Result<Run, DbErr> {
    Ok(Run {
        id: row.try_get("", "id")?,
        study: parsed(row, "study_id")?,
        plan_version: row.try_get("", "plan_version")?,
        state: parsed(row, "state")?,
        event_id: row.try_get("", "event_id")?,
        created_at: row.try_get("", "created_at")?,
        started_at: row.try_get("", "started_at")?,
        finished_at: row.try_get("", "finished_at")?,
        items: Vec::new(),
    })
}

fn read_item(row: &QueryResult) -> Result<Item, DbErr> {
    let has_result = row.try_get::<Option<String>>("", "outcome")?.is_some();
    let finding = has_result.then(|| {
        Ok::<_, DbErr>(Finding {
            outcome: parsed::<Outcome>(row, "outcome")?,
            observed: read_count(row, "observed")?,
            message: row.try_get("", "message")?,
        })
    });
    Ok(Item { check: from_json(row, "body")?, finding: finding.transpose()? })
}

/// Forgets runs asked for over HTTP that finished before `before`. Returns how many; chunk by chunk, so that nothing waits for it.
pub(crate) async fn prune(db: &Database, before: OffsetDateTime) -> Result<u64, DbErr> {
    let mut pruned = 0;
    loop {
        let chunk = db.transaction(move |tx| Box::pin(async move { prune_chunk(tx, before).await })).await?;
        pruned += chunk;
        if chunk == 0 {
            return Ok(pruned);
        }
    }
}

async fn prune_chunk(tx: &Tx, before: OffsetDateTime) -> Result<u64, DbErr> {
    let sql = "SELECT id FROM check_run WHERE event_id = '' AND finished_at < $1 ORDER BY id LIMIT $2";
    let rows = db::query_all(tx, sql, [before.into(), PRUNE_CHUNK.into()]).await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let ids = rows.iter().map(|row| row.try_get::<Uuid>("", "id")).collect::<Result<Vec<_>, _>>()?;
    let list = db::list(1, ids.len());
    let items = format!("DELETE FROM check_item WHERE run_id IN ({list})");
    db::exec(tx, &items, ids.iter().map(|id| Value::from(*id))).await?;
    let runs = format!("DELETE FROM check_run WHERE id IN ({list})");
    db::exec(tx, &runs, ids.iter().map(|id| Value::from(*id))).await
}
