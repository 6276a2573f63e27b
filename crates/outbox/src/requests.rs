//! The answers already given, by method and request id, so that a repeated call gets the first one's answer. It must not know what a request
//! or an answer holds.

use time::OffsetDateTime;

use crate::db::{self, Database, DbErr, Tx};

const PRUNE_CHUNK: i64 = 1_000;

/// What the log says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Never answered, or without an id: decide it.
    Fresh,
    /// Answered: give this answer again.
    Replay(Vec<u8>),
    /// The id was used for another request.
    Conflict,
}

/// Looks a request up. Do it in the transaction that decides, after locking the row it decides on: then the second of two equal calls finds
/// the first one's answer. An empty id is always fresh.
///
/// # Errors
/// The database's.
pub async fn lookup(tx: &Tx, method: &str, request_id: &str, hash: &[u8]) -> Result<Lookup, DbErr> {
    if request_id.is_empty() {
        return Ok(Lookup::Fresh);
    }
    let sql = "SELECT request_hash, response FROM request_log WHERE method = $1 AND request_id = $2";
    let Some(row) = db::query_one(tx, sql, [method.into(), request_id.into()]).await? else { return Ok(Lookup::Fresh) };
    if row.try_get::<Vec<u8>>("", "request_hash")? == hash {
        Ok(Lookup::Replay(row.try_get("", "response")?))
    } else {
        Ok(Lookup::Conflict)
    }
}

/// Logs the answer of a success, in the transaction that made it so. An empty id is not logged.
///
/// # Errors
/// The database's. A unique violation means that an equal call without a row to lock (a create) was first: run the transaction again.
pub async fn store(tx: &Tx, method: &str, request_id: &str, hash: &[u8], response: &[u8]) -> Result<(), DbErr> {
    let mut writes = db::Writes::new(db::kind_of(tx));
    store_with(&mut writes, method, request_id, hash, response);
    writes.run(tx).await
}

/// The same as one of several writes that run together.
pub fn store_with(writes: &mut db::Writes, method: &str, request_id: &str, hash: &[u8], response: &[u8]) {
    if request_id.is_empty() {
        return;
    }
    let sql = |first| {
        format!(
            "INSERT INTO request_log (method, request_id, request_hash, response, created_at) VALUES ({})",
            db::list(first, 5)
        )
    };
    writes
        .add(sql, [method.into(), request_id.into(), hash.to_vec().into(), response.to_vec().into(), db::now().into()]);
}

/// Forgets the answers given before `older_than`, in chunks so that nobody waits long for a lock. Returns how many.
///
/// # Errors
/// The database's; what was forgotten until then stays forgotten.
pub async fn prune(db: &Database, older_than: OffsetDateTime) -> Result<u64, DbErr> {
    let sql = "DELETE FROM request_log WHERE (method, request_id) IN
               (SELECT method, request_id FROM request_log WHERE created_at < $1 ORDER BY created_at LIMIT $2)";
    let mut pruned = 0;
    loop {
        let chunk = db
            .transaction(move |tx| {
                Box::pin(async move { db::exec(tx, sql, [older_than.into(), PRUNE_CHUNK.into()]).await })
            })
            .await?;
        pruned += chunk;
        if chunk == 0 {
            return Ok(pruned);
        }
    }
}
