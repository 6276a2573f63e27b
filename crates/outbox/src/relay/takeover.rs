//! Holding the lease for work that no relay may do meanwhile. A lease that is being renewed is left alone; one that nobody renews is waited
//! for, or ended at once where its owner is seen to be dead.

use std::time::Duration;

use super::{
    lease::{Holder, Lease},
    options::RelayOptions,
    owner,
};
use crate::db::{Database, DbErr, Tx, TxFuture};

/// Between two looks at a lease that another one has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why the databases cannot be had for ourselves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeoverError {
    /// A relay works there.
    #[error("another process publishes from {database}: its relay {owner} renews its lease")]
    RelayRuns {
        /// The database, without its password.
        database: String,
        /// The owner of the lease.
        owner: String,
    },
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// A database whose relay stands still until [`Standstill::end`], or until the lease ends by itself.
#[derive(Debug)]
pub(crate) struct Standstill {
    db: Database,
    lease: Lease,
}

impl Standstill {
    /// Waits until no relay works on this database: as long as a lease lasts at most, since one that is renewed meanwhile is a live one's.
    pub(crate) async fn of(db: &Database) -> Result<Self, TakeoverError> {
        let options = RelayOptions::new("");
        let mut first: Option<Holder> = None;
        loop {
            if let Some(lease) = Lease::acquire(db, &options).await? {
                return Ok(Self { db: db.clone(), lease });
            }
            let Some(holder) = Holder::of(db, &options.shard).await? else { continue };
            if owner::is_dead(&holder.owner) {
                holder.bury(db, &options.shard).await?;
                continue;
            }
            if first.as_ref().is_some_and(|first| *first != holder) {
                return Err(TakeoverError::RelayRuns { database: db.shown().to_owned(), owner: holder.owner });
            }
            first = Some(holder);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A transaction during which no relay can begin to work.
    pub(crate) async fn transaction<T, F>(&self, body: F) -> Result<T, DbErr>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t Tx) -> TxFuture<'t, T, DbErr> + Send + 'static,
    {
        let lease = self.lease.clone();
        self.db
            .transaction(move |tx| {
                Box::pin(async move {
                    if !lease.hold(tx).await? {
                        return Err(DbErr::Custom("a relay began to work meanwhile; try again".to_owned()));
                    }
                    body(tx).await
                })
            })
            .await
    }

    /// Lets relays work again.
    pub(crate) async fn end(self) {
        self.lease.release(&self.db).await;
    }
}
