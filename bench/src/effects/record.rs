//! The statements of a service's gate and effects, recorded while they run over the events in the batches that the service made.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use kafka_worker_pool::{Handler, Record};
use outbox::db::{self, Database, Observer, Value};

use super::{events::Event, prepare::Place, service::Reacting};

/// Batches of events, of each lane in order.
pub(super) type Lanes = Vec<Vec<Vec<Event>>>;
/// One statement; equal texts share their memory.
pub(super) type Statement = (Arc<str>, Vec<Value>);
/// The statements of one transaction.
pub(super) type Transaction = Vec<Statement>;

/// Of each lane its transactions, in order. No study is in two lanes.
pub(super) struct Recorded {
    pub(super) lanes: Vec<Vec<Transaction>>,
}

impl Recorded {
    pub(super) fn statements_per_transaction(&self) -> f64 {
        let transactions = || self.lanes.iter().flatten();
        transactions().map(Vec::len).sum::<usize>() as f64 / transactions().count().max(1) as f64
    }
}

/// Runs the service's handler over all events, on a prepared database of its own.
pub(super) async fn record(service: Reacting, place: &Place<'_>, events: u32, lanes: &Lanes) -> Result<Recorded> {
    let url = place.prepared(service, events).await?;
    let tape: Arc<Mutex<Transaction>> = Arc::default();
    let mut options = db::Options::default();
    let (to, texts) = (Arc::clone(&tape), Mutex::new(Vec::<Arc<str>>::new()));
    options.observer = Some(Observer::new(move |sql, values| {
        let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
        let text = texts.iter().find(|text| ***text == *sql).cloned().unwrap_or_else(|| {
            texts.push(sql.into());
            sql.into()
        });
        to.lock().unwrap_or_else(PoisonError::into_inner).push((text, values.to_vec()));
    }));
    let database = Database::connect(&url, &options).await?;
    let counts: Vec<usize> = lanes.iter().map(Vec::len).collect();
    let mut transactions = Vec::with_capacity(counts.iter().sum());
    let take = || transactions.push(std::mem::take(&mut *tape.lock().unwrap_or_else(PoisonError::into_inner)));
    service.handle(database.clone(), lanes, take).await?;
    database.close().await;
    let mut rest = transactions.into_iter();
    Ok(Recorded { lanes: counts.into_iter().map(|count| rest.by_ref().take(count).collect()).collect() })
}

/// Gives every batch to a handler, one after another.
pub(super) async fn handle<H: Handler>(handler: &H, lanes: &Lanes, mut after: impl FnMut()) -> Result<()> {
    for batch in lanes.iter().flatten() {
        let batch: Vec<Record> = batch.iter().map(|event| event.record()).collect();
        handler.handle(&batch).await.map_err(|error| anyhow::anyhow!("{error}")).context("a batch was not applied")?;
        after();
    }
    Ok(())
}
