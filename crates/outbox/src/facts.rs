//! What a database remembers about itself, one row per fact. It must not know what follows from a fact.

use crate::db::{self, ConnectionTrait, DbErr, Tx};

/// The broker that the outbox was last published to forgets when it ends. Absent: it does not.
pub(crate) const BROKER_FORGETS: &str = "broker_forgets";
/// The latest epoch that a restore of this database began.
pub(crate) const EPOCH: &str = "epoch";

/// The value of a fact, if it is known.
pub(crate) async fn get<C: ConnectionTrait>(conn: &C, name: &str) -> Result<Option<String>, DbErr> {
    let row = db::query_one(conn, "SELECT value FROM outbox_fact WHERE name = $1", [name.into()]).await?;
    row.map(|row| row.try_get("", "value")).transpose()
}

/// From now on it is so.
pub(crate) async fn set(tx: &Tx, name: &str, value: &str) -> Result<(), DbErr> {
    let sql =
        "INSERT INTO outbox_fact (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    db::exec(tx, sql, [name.into(), value.into()]).await?;
    Ok(())
}

/// It is so no longer.
pub(crate) async fn clear(tx: &Tx, name: &str) -> Result<(), DbErr> {
    db::exec(tx, "DELETE FROM outbox_fact WHERE name = $1", [name.into()]).await?;
    Ok(())
}
