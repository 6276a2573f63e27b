//! `bench ready`: the cost of the engine alone, with records ready in memory: no broker, no client and no second thread in the figure. For
//! profiles, and to see a change of some nanoseconds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;
use kafka_worker_pool::{Headers, Record};
use serde::Serialize;
use tokio::{runtime, sync::Notify};
use worker_pool::{BoxError, Finished, GaveUp, HandlerError, Job, Pool, PoolOptions, Tag, Work, key_hash};

use crate::{arms::Payloads, host::Host, pool::aligned, statistics::Summary};

/// Jobs come in vectors of this length, as from the Kafka source.
const JOBS_PER_OFFER: usize = 128;

/// How much.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReadyOptions {
    /// One line of JSON as the last of stdout, instead of a table.
    #[arg(long)]
    json: bool,
    /// Records in memory.
    #[arg(long, default_value_t = 500_000)]
    records: usize,
    /// Rounds of each figure.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Only calls of up to so many records, for a profiler.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64])]
    max_batch: Vec<usize>,
}

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    max_batch: usize,
    records: usize,
    rounds: usize,
    ns_per_msg: f64,
    ns_per_msg_range: [f64; 2],
}

#[derive(Serialize)]
struct Document {
    env: Host,
    ready: Vec<Figure>,
}

pub(crate) fn run(options: &ReadyOptions) -> Result<()> {
    let mut figures = Vec::new();
    for max_batch in &options.max_batch {
        let mut took_ns = Vec::new();
        for _ in 0..options.rounds {
            let took = round(options.records, *max_batch)?;
            took_ns.push(took.as_secs_f64() * 1e9 / options.records.max(1) as f64);
        }
        let all = Summary::of(took_ns).context("no round was asked for: give --rounds 1 or more")?;
        figures.push(Figure {
            max_batch: *max_batch,
            records: options.records,
            rounds: options.rounds,
            ns_per_msg: all.median,
            ns_per_msg_range: [all.min, all.max],
        });
    }
    if options.json {
        let document = Document { env: Host::now("none".to_owned())?, ready: figures };
        println!("{}", serde_json::to_string(&document).context("cannot print the figures")?);
    } else {
        println!("{}", table(&figures));
    }
    Ok(())
}

/// Fills the inbox of one lane before the lane begins, then lets it run on this thread until everything is done.
fn round(records: usize, max_batch: usize) -> Result<Duration> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let work = Arc::new(Nothing { left: AtomicUsize::new(records), done: Notify::new() });
    let mut options = PoolOptions::new("ready");
    options.lanes = 1;
    options.queue_capacity = records.max(1);
    options.max_batch = max_batch;
    let pool = Pool::start(options, Arc::clone(&work), runtime.handle());
    for jobs in jobs(records) {
        pool.offer(0, jobs).map_err(|_| anyhow::anyhow!("the lane's inbox is full"))?;
    }
    let start = Instant::now();
    runtime.block_on(work.done.notified());
    let took = start.elapsed();
    runtime.block_on(pool.close());
    Ok(took)
}

/// The records of the other benchmarks, as the Kafka source would hand them over.
fn jobs(records: usize) -> Vec<Vec<Job<Record>>> {
    let topic: Arc<str> = "ready".into();
    let mut payloads = Payloads::new(false);
    let mut jobs = (0_u64..).take(records).map(|id| {
        let (key, value) = payloads.next(id);
        let key = Bytes::from(key);
        let tag = Tag { key: key_hash(&key), group: 0, generation: 1, ticket: id, attempts: 0 };
        let record = Record {
            topic: Arc::clone(&topic),
            partition: 0,
            offset: i64::try_from(id).unwrap_or(i64::MAX),
            timestamp_ms: None,
            key: Some(key),
            value: Some(Bytes::copy_from_slice(&value)),
            headers: Headers::default(),
        };
        Job { tag, item: record }
    });
    let mut offers = Vec::new();
    loop {
        let offer: Vec<_> = jobs.by_ref().take(JOBS_PER_OFFER).collect();
        if offer.is_empty() {
            return offers;
        }
        offers.push(offer);
    }
}

/// A handler that does nothing, and counts what is over.
struct Nothing {
    left: AtomicUsize,
    done: Notify,
}

impl Work<Record> for Nothing {
    type Output = ();
    type Gathered = usize;

    async fn run(&self, items: &[Record], _tags: &[Tag]) -> Result<Vec<()>, HandlerError> {
        Ok(vec![(); items.len()])
    }

    async fn give_up(&self, _item: &Record, _gave_up: &GaveUp) -> Result<(), BoxError> {
        Ok(())
    }

    fn finished(&self, _job: Finished<Record, ()>, gathered: &mut usize) {
        *gathered += 1;
    }

    fn hand_over(&self, gathered: &mut usize) {
        let count = std::mem::take(gathered);
        if self.left.fetch_sub(count, Ordering::Relaxed) == count {
            self.done.notify_one();
        }
    }

    fn held(&self, _tag: Tag, _cause: String) {}
}

fn table(figures: &[Figure]) -> String {
    let heading = ["records in a call", "ns/record", "range", "records", "rounds"].map(str::to_owned);
    let rows = figures.iter().map(|figure| {
        [
            format!("up to {}", figure.max_batch),
            format!("{:.0}", figure.ns_per_msg),
            format!("{:.0}–{:.0}", figure.ns_per_msg_range[0], figure.ns_per_msg_range[1]),
            figure.records.to_string(),
            figure.rounds.to_string(),
        ]
    });
    aligned(&[heading].into_iter().chain(rows).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_goes_through_the_engine() {
        let took = round(1_000, 64).expect("the engine runs");
        assert!(took > Duration::ZERO);
        let offers = jobs(300);
        assert_eq!(offers.iter().map(Vec::len).collect::<Vec<_>>(), [128, 128, 44]);
    }
}
