//! What operators change: rows to be sent again, failed rows set free, a new epoch. Each is safe to repeat: the gates drop what they applied.

use contracts::topics::retry_topic;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    db::{self, ConnectionTrait, Database, DbErr, Value},
    facts,
};

/// Which events to send again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Republish {
    /// All of one project.
    Project(String),
    /// All accepted at or after this instant.
    Since(OffsetDateTime),
}

/// What [`republish`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refill {
    /// How many events the relay sends again.
    pub events: u64,
}

/// Makes the relay send events again: to their topic, for every group, or to one group's retry topic, which reaches it where its partition
/// stands still. A relay must be running for them to go.
///
/// # Errors
/// The database's.
pub async fn republish(db: &Database, which: Republish, group: Option<&str>) -> Result<Refill, DbErr> {
    let (filter, value): (&str, Value) = match which {
        Republish::Project(project) => ("stream_id = $1", project.into()),
        Republish::Since(at) => ("created_at >= $1", at.into()),
    };
    // Project ids hold no slash: what holds one is a letter or an earlier refill.
    let filter = format!("{filter} AND failed_cause IS NULL AND stream_id NOT LIKE '%/%'");
    let events = match group.map(str::to_owned) {
        None => {
            let sql = format!("UPDATE outbox SET published_at = NULL WHERE {filter} AND published_at IS NOT NULL");
            db.transaction(move |tx| Box::pin(async move { db::exec(tx, &sql, [value]).await })).await?
        }
        Some(group) => {
            db.transaction(move |tx| Box::pin(async move { copy_to_retry(tx, &filter, value, &group).await })).await?
        }
    };
    db.wake_relay();
    Ok(Refill { events })
}

/// Copies rows as a stream of their own, in their order: the headers, which are all that a consumer sees, stay the events' own.
async fn copy_to_retry(tx: &db::Tx, filter: &str, value: Value, group: &str) -> Result<u64, DbErr> {
    let refill = format!("refill/{}/", Uuid::now_v7());
    let sql = format!(
        "INSERT INTO outbox (event_id, stream_id, stream_epoch, stream_seq, event_type, topic, record_key, payload, headers, created_at)
         SELECT $2 || event_id, $2 || stream_id, stream_epoch, stream_seq, event_type, topic || $3, record_key, payload, headers, $4
         FROM outbox WHERE {filter} ORDER BY id"
    );
    db::exec(tx, &sql, [value, refill.into(), retry_topic("", group).into(), db::now().into()]).await
}

/// Sets the rows free that the broker refused for good, all or one project's, after the cause is mended. Returns how many.
///
/// # Errors
/// The database's.
pub async fn retry_failed(db: &Database, project: Option<&str>) -> Result<u64, DbErr> {
    let mut sql =
        "UPDATE outbox SET failed_cause = NULL WHERE failed_cause IS NOT NULL AND published_at IS NULL".to_owned();
    let values: Vec<Value> = project.map(Value::from).into_iter().collect();
    if project.is_some() {
        sql.push_str(" AND stream_id = $1");
    }
    let freed = db.transaction(move |tx| Box::pin(async move { db::exec(tx, &sql, values).await })).await?;
    db.wake_relay();
    Ok(freed)
}

/// Starts a new epoch for every stream of a database that went back in time (a restored backup): consumers then take the numbers that it
/// gives again as new ones. `table` holds the streams' `stream_epoch` and `event_seq`. Run it before the service starts. Returns how many
/// streams, and the epoch, which [`begun_epoch`] tells from now on: streams that the restore lost, or that are new, begin in it too.
///
/// The epoch is the time in seconds: greater than any that the lost future may have used.
///
/// # Errors
/// The database's.
pub async fn new_epoch(db: &Database, table: &'static str) -> Result<(u64, i64), DbErr> {
    db.transaction(move |tx| {
        Box::pin(async move {
            let epoch = db::now().unix_timestamp().max(begun_epoch(tx).await? + 1);
            let sql = format!(
                "UPDATE {table} SET stream_epoch = CASE WHEN stream_epoch >= $1 THEN stream_epoch + 1 ELSE $1 END, event_seq = 0"
            );
            let streams = db::exec(tx, &sql, [epoch.into()]).await?;
            facts::set(tx, facts::EPOCH, &epoch.to_string()).await?;
            Ok((streams, epoch))
        })
    })
    .await
}

/// The latest epoch that [`new_epoch`] began in this database, or 0. A stream that is new begins in it: consumers may know its id from
/// before the restore.
///
/// # Errors
/// The database's.
pub async fn begun_epoch<C: ConnectionTrait>(conn: &C) -> Result<i64, DbErr> {
    let Some(recorded) = facts::get(conn, facts::EPOCH).await? else { return Ok(0) };
    recorded.parse().map_err(|_| DbErr::Type(format!("the recorded epoch {recorded:?} is no number")))
}
