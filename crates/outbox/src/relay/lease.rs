//! The lease that makes one relay per database active. Its epoch rises with every owner, so that one who was stopped for long finds out.
//! It only reduces duplicates: consumers' gates are what makes effects single.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::{options::RelayOptions, within};
use crate::db::{self, Database, DbErr, Kind, Tx};

/// A lease we hold.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    shard: String,
    owner: String,
    epoch: i64,
    term: Duration,
    /// Measured from before the database was asked, so that we never believe longer than it does.
    taken_at: Instant,
}

impl Lease {
    /// Takes the lease if nobody has it.
    pub(super) async fn acquire(db: &Database, options: &RelayOptions) -> Result<Option<Self>, DbErr> {
        let taken_at = Instant::now();
        let row = within(options.lease, take(db, options)).await?;
        Ok(row.map(|epoch| Self {
            shard: options.shard.clone(),
            owner: options.owner.clone(),
            epoch,
            term: options.lease,
            taken_at,
        }))
    }

    pub(super) fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Whether we may still send: a little less than the database's own view.
    pub(super) fn is_safe(&self) -> bool {
        self.taken_at.elapsed() < self.term * 9 / 10
    }

    /// When to renew it.
    pub(super) fn renewal(&self) -> Instant {
        self.taken_at + self.term / 3
    }

    /// Keeps it for another term; false when another relay has it.
    pub(super) async fn renew(&mut self, db: &Database) -> Result<bool, DbErr> {
        let asked_at = Instant::now();
        let kept = within(self.term / 3, self.set_expiry(db, self.term)).await?;
        if kept {
            self.taken_at = asked_at;
        }
        Ok(kept)
    }

    /// Keeps everyone else from it until the transaction ends; false when another relay has it.
    pub(super) async fn hold(&self, tx: &Tx) -> Result<bool, DbErr> {
        let sql = "UPDATE relay_lease SET epoch = epoch WHERE shard = $1 AND owner = $2 AND epoch = $3";
        Ok(db::exec(tx, sql, [self.shard.clone().into(), self.owner.clone().into(), self.epoch.into()]).await? == 1)
    }

    /// Lets another relay have it at once.
    pub(super) async fn release(self, db: &Database) {
        if let Err(error) = within(self.term, self.set_expiry(db, Duration::ZERO)).await {
            tracing::warn!(%error, "the relay's lease could not be given up; it ends by itself in {:?}", self.term);
        }
    }

    async fn set_expiry(&self, db: &Database, term: Duration) -> Result<bool, DbErr> {
        let expires_at = clock(db).await? + term;
        let sql = "UPDATE relay_lease SET expires_at = $1 WHERE shard = $2 AND owner = $3 AND epoch = $4";
        let values = [expires_at.into(), self.shard.clone().into(), self.owner.clone().into(), self.epoch.into()];
        Ok(db::exec(db.writer(), sql, values).await? == 1)
    }

    /// The condition under which a statement of ours counts, from placeholder `first` on, and its values.
    pub(super) fn guard(&self, first: usize) -> (String, [db::Value; 3]) {
        let (owner, epoch) = (first + 1, first + 2);
        let sql = format!(
            "EXISTS (SELECT 1 FROM relay_lease WHERE shard = ${first} AND owner = ${owner} AND epoch = ${epoch})"
        );
        (sql, [self.shard.clone().into(), self.owner.clone().into(), self.epoch.into()])
    }
}

/// Who has a lease, and until when if it is not renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) owner: String,
    epoch: i64,
    expires_at: OffsetDateTime,
}

impl Holder {
    pub(super) async fn of(db: &Database, shard: &str) -> Result<Option<Self>, DbErr> {
        let sql = "SELECT owner, epoch, expires_at FROM relay_lease WHERE shard = $1";
        let row = db::query_one(db.writer(), sql, [shard.into()]).await?;
        row.map(|row| {
            Ok(Self {
                owner: row.try_get("", "owner")?,
                epoch: row.try_get("", "epoch")?,
                expires_at: row.try_get("", "expires_at")?,
            })
        })
        .transpose()
    }

    /// Ends the lease of an owner that is known to be dead.
    pub(super) async fn bury(&self, db: &Database, shard: &str) -> Result<(), DbErr> {
        let sql = "UPDATE relay_lease SET expires_at = $1 WHERE shard = $2 AND owner = $3 AND epoch = $4";
        let values = [clock(db).await?.into(), shard.into(), self.owner.clone().into(), self.epoch.into()];
        db::exec(db.writer(), sql, values).await?;
        Ok(())
    }
}

async fn take(db: &Database, options: &RelayOptions) -> Result<Option<i64>, DbErr> {
    let now = clock(db).await?;
    let shard = || db::Value::from(options.shard.clone());
    let sql = "SELECT expires_at FROM relay_lease WHERE shard = $1";
    // No owner asks for more than a term: what ends later was written before the clock was set back, and would hold for ever.
    let latest = now + options.lease * 2;
    // Looking first keeps a relay that stands by from writing.
    match db::query_one(db.reader(), sql, [shard()]).await? {
        Some(row) => {
            let ends: OffsetDateTime = row.try_get("", "expires_at")?;
            if ends > now && ends <= latest {
                return Ok(None);
            }
        }
        None => {
            let sql = "INSERT INTO relay_lease (shard, owner, epoch, expires_at) VALUES ($1, '', 0, $2) ON CONFLICT (shard) DO NOTHING";
            db::exec(db.writer(), sql, [shard(), now.into()]).await?;
        }
    }
    let sql = "UPDATE relay_lease SET owner = $1, epoch = epoch + 1, expires_at = $2 WHERE shard = $3
               AND (expires_at <= $4 OR expires_at > $5) RETURNING epoch";
    let values = [options.owner.clone().into(), (now + options.lease).into(), shard(), now.into(), latest.into()];
    db::query_one(db.writer(), sql, values).await?.map(|row| row.try_get("", "epoch")).transpose()
}

/// One clock for all who want the lease: the server's, or on SQLite the machine's.
async fn clock(db: &Database) -> Result<OffsetDateTime, DbErr> {
    if db.kind() == Kind::Sqlite {
        return Ok(db::now());
    }
    let row = db::query_one(db.writer(), "SELECT clock_timestamp() AS now", []).await?;
    row.ok_or_else(|| db::environment_error("the database did not tell its time"))?.try_get("", "now")
}
