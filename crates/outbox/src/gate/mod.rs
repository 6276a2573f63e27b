//! The gate: each event applied once and in order, in the transaction of its effect. It knows positions and the pool's traits; it must not
//! know what an event means.

mod decision;
mod drain;
mod effects;
mod fold;
mod identity;
mod incoming;
mod known;
mod letters;
mod options;
mod pace;
pub(crate) mod parked;
mod positions;
mod report;
mod sink;
mod streams;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use kafka_worker_pool::{Handler, HandlerError, Record};

pub use decision::{Decision, Epoch, Kind, Repeated, Stream, repeated};
pub use effects::{EffectError, Effects, InboundEvent, Place};
pub use identity::KafkaIdentity;
pub use options::GateOptions;
pub use report::GateReport;

use crate::db::{self, Database, DbErr};
use fold::{Done, GateError};
use identity::Ids;
use incoming::Incoming;
use pace::{Bounds, Pace};

/// One group's gate: the pool's handler, its place for dead letters and its place for positions. Clones share it.
pub struct Gate<E> {
    inner: Arc<Inner<E>>,
}

struct Inner<E> {
    db: Database,
    options: GateOptions,
    effects: E,
    pace: Pace,
    ids: Mutex<Ids>,
}

impl<E> Clone for Gate<E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<E: Effects> Gate<E> {
    /// A gate over a migrated database.
    #[must_use]
    pub fn new(db: Database, options: GateOptions, effects: E) -> Self {
        Self { inner: Arc::new(Inner { db, options, effects, pace: Pace::new(E::AT_ONCE), ids: Mutex::default() }) }
    }

    /// The key whose records keep their order: give it to the pool.
    #[must_use]
    pub fn key(record: &Record) -> Bytes {
        incoming::pool_key(record)
    }
}

impl<E: Effects> Handler for Gate<E> {
    /// Applies a batch in one transaction (in several, when it takes long), which runs on in its own task when the pool drops this future. Give the pool
    /// `OnTimeout::Await`, and a handler timeout above the database's `transaction_timeout`.
    async fn handle(&self, batch: &[Record]) -> Result<(), HandlerError> {
        let mut items: Vec<Incoming> =
            batch.iter().map(Incoming::of).collect::<Result<_, _>>().map_err(HandlerError::reject)?;
        items.sort_by(|one, other| one.place_in_batch().cmp(&other.place_in_batch()));
        let items: Arc<[Incoming]> = items.into();
        let mut taken = 0;
        while taken < items.len() {
            let (inner, items, bounds) = (self.inner.clone(), items.clone(), self.inner.bounds());
            let began = Instant::now();
            let outcome = self.inner.db.transaction(move |tx| {
                Box::pin(async move { fold::batch(tx, &inner.options, &inner.effects, &items[taken..], bounds).await })
            });
            let done = outcome.await.map_err(|error| {
                self.inner.failed(bounds, began, &error);
                handler_error(error)
            })?;
            self.inner.tell(bounds, &done);
            taken += done.taken;
            for stream_id in &done.drainable {
                drain::drain(&self.inner, stream_id).await?;
            }
        }
        Ok(())
    }
}

impl<E> Inner<E> {
    /// A transaction takes on further records for far less time than it may last.
    fn bounds(&self) -> Bounds {
        Bounds { budget: self.db.transaction_timeout() / 4, at_once: self.pace.at_once() }
    }

    /// Learns from a transaction that failed: what took long may have been too much at once.
    fn failed(&self, bounds: Bounds, began: Instant, error: &GateError) {
        if error.is_environment() && began.elapsed() >= bounds.budget && bounds.at_once > 1 {
            let at_once = self.pace.ran_out(bounds.at_once);
            tracing::info!(group = self.options.group, at_once, "a transaction ran out of time: fewer events at once");
        }
    }

    /// Counts and logs what a committed transaction did.
    fn tell(&self, bounds: Bounds, done: &Done) {
        self.pace.kept(bounds.at_once, done.applied);
        let group = &self.options.group;
        let count = |what: &'static str, number: u64| {
            if number > 0 {
                metrics::counter!("gate_records_total", "group" => group.clone(), "outcome" => what).increment(number);
            }
        };
        count("applied", done.applied);
        count("duplicate", done.duplicates);
        count("parked", done.parked);
        count("stale", done.stale);
        count("ignored", done.ignored);
        count("closed", done.closed);
        count("quarantined", done.quarantined.len() as u64);
        count("given_up", done.given_up.len() as u64);
        for number in &done.given_up {
            tracing::warn!(group, number, "a number was given up by decision: its event is never applied here");
        }
        for cause in &done.quarantined {
            tracing::error!(
                group,
                cause,
                "an event is quarantined: two events claim one number of a stream; see `ctms dlq list`"
            );
        }
        if done.stale > 0 {
            tracing::warn!(group, records = done.stale, "records of an epoch that a later one ended were dropped");
        }
    }

    fn known_ids(&self) -> Ids {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn_ids(&self, ids: &Ids) {
        let mut known = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        known.cluster.clone_from(&ids.cluster);
        known.topics.extend(ids.topics.clone());
    }
}

fn handler_error(error: GateError) -> HandlerError {
    match error {
        GateError::Database(error) | GateError::Effect { error: EffectError::Database(error), .. } => {
            database_error(error)
        }
        GateError::Effect { error: EffectError::Reject(cause), .. } => HandlerError::reject(cause),
        GateError::Effect { error: EffectError::Retry(cause), .. } => HandlerError::retry(cause),
        GateError::Full(reason) => HandlerError::hold(reason),
    }
}

/// The environment's errors count no attempt; a statement that the database refuses for its content does.
fn database_error(error: DbErr) -> HandlerError {
    if db::is_environment(&error) { HandlerError::unavailable(error) } else { HandlerError::retry(error) }
}
