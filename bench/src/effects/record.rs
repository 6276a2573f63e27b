//! The statements of a service's gate and effects, recorded while they run over the events in batches as large as the service made.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use kafka_worker_pool::{Handler, Record};
use outbox::db::{self, Database, Observer, Value};

use super::{events, prepare::Place, service::Reacting};

/// Batches of records, of each lane in order.
pub(super) type Lanes = Vec<Vec<Vec<Record>>>;
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
pub(super) async fn record(
    service: Reacting,
    place: &Place<'_>,
    events: u32,
    transactions: usize,
    lanes: usize,
) -> Result<Recorded> {
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
    let lanes = batches(events, transactions, lanes);
    let counts: Vec<usize> = lanes.iter().map(Vec::len).collect();
    let mut transactions = Vec::with_capacity(counts.iter().sum());
    let take = || transactions.push(std::mem::take(&mut *tape.lock().unwrap_or_else(PoisonError::into_inner)));
    service.handle(database.clone(), lanes, take).await?;
    database.close().await;
    let mut rest = transactions.into_iter();
    Ok(Recorded { lanes: counts.into_iter().map(|count| rest.by_ref().take(count).collect()).collect() })
}

/// Gives every batch to a handler, one after another.
pub(super) async fn handle<H: Handler>(handler: &H, lanes: Lanes, mut after: impl FnMut()) -> Result<()> {
    for batch in lanes.into_iter().flatten() {
        handler.handle(&batch).await.map_err(|error| anyhow::anyhow!("{error}")).context("a batch was not applied")?;
        after();
    }
    Ok(())
}

/// The events dealt to lanes by study, all lanes together cut into so many batches.
fn batches(events: u32, count: usize, lanes: usize) -> Lanes {
    let lanes = lanes.max(1);
    let mut dealt: Vec<Vec<Record>> = vec![Vec::new(); lanes];
    for (offset, event) in (0..).zip(events::all(events)) {
        dealt[event.study as usize % lanes].push(event.record(offset));
    }
    dealt.iter().map(|records| cut(records, count / lanes)).collect()
}

fn cut<T: Clone>(records: &[T], count: usize) -> Vec<Vec<T>> {
    let size = records.len().div_ceil(count.max(1)).max(1);
    records.chunks(size).map(<[T]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_the_size_they_shall_have_and_no_study_is_in_two_lanes() {
        let lanes = batches(8_000, 160, 4);
        assert_eq!(lanes.len(), 4);
        assert_eq!(lanes.iter().flatten().map(Vec::len).sum::<usize>(), 8_000);
        assert!(lanes.iter().flatten().all(|batch| batch.len() == 50));
        let keys = |lane: &Vec<Vec<Record>>| -> std::collections::BTreeSet<Vec<u8>> {
            lane.iter().flatten().filter_map(|record| record.key.as_ref().map(|key| key.to_vec())).collect()
        };
        assert!(keys(&lanes[0]).is_disjoint(&keys(&lanes[1])));
    }

    #[test]
    fn more_batches_than_records_are_one_record_each() {
        assert_eq!(cut(&[1, 2, 3], 9), [[1], [2], [3]]);
        assert_eq!(cut(&[1, 2, 3], 0), [[1, 2, 3]]);
    }
}
