//! Logs whose offsets have gaps: compacted records, aborted transactions, the markers of transactions. What is committed moves over gaps and
//! never over a record that is not done.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Broker, Recorder, Seen, eventually};
use kafka_worker_pool::{Handler, HandlerError, Record, StopError};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

on_real_kafka!(commits_are_contiguous_over_compaction, commits_are_contiguous_over_aborts_and_markers);

/// Does not finish the record at one offset until it may.
struct Stuck {
    offset: i64,
    is_free: Arc<AtomicBool>,
    recorder: Recorder,
}

impl Handler for Stuck {
    async fn handle(&self, batch: &[Record]) -> Result<(), HandlerError> {
        while batch[0].offset == self.offset && !self.is_free.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.recorder.handle(batch).await
    }
}

/// Every record has a key of its own. With the one at `stuck` not done, everything else is; the commit stops there, and the next pool begins with it. Then that one ends
/// cleanly, and a third finds nothing.
async fn commits_stop_at_what_is_not_done_and_move_over_gaps(
    broker: &Broker,
    topic: &str,
    offsets: &[i64],
    stuck: i64,
) {
    let recorder = Recorder::that_succeeds();
    let handler = Stuck { offset: stuck, is_free: Arc::default(), recorder: recorder.clone() };
    let mut options = broker.options();
    options.drain_timeout = Duration::from_millis(200);
    options.commit_interval_ms = 100;
    let pool = broker.pool(topic).options(options).handler(handler).start().unwrap();
    eventually("all but one are done", || recorder.count() == offsets.len() - 1).await;
    let Err(StopError::Deadline(report)) = pool.stop().await else { panic!("one is not done") };
    assert_eq!(report.undone, 1, "{report:?}");
    let committed = broker.committed(topic, 0).await.unwrap();
    let before = offsets.iter().rev().find(|offset| **offset < stuck).unwrap();
    assert!((before + 1..=stuck).contains(&committed), "committed {committed}, done up to {before}, stuck {stuck}");

    let next = Recorder::that_succeeds();
    let pool = broker.pool(topic).handler(next.clone()).start().unwrap();
    next.until(1).await;
    let last = *offsets.last().unwrap() + 1;
    eventually_committed(broker, topic, last).await;
    pool.stop().await.unwrap();
    assert_eq!(in_order(next.done()), [stuck], "it begins with the one that was not done, and knows what was");
    assert_eq!(broker.committed(topic, 0).await, offsets.last().map(|last| last + 1));

    let last = Recorder::that_succeeds();
    let pool = broker.pool(topic).handler(last.clone()).start().unwrap();
    broker.send_all(topic, vec![("new".to_owned(), "1".to_owned())]).await;
    last.until(1).await;
    pool.stop().await.unwrap();
    assert_eq!(last.count(), 1, "a clean stop redelivers nothing");
}

async fn eventually_committed(broker: &Broker, topic: &str, offset: i64) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while broker.committed(topic, 0).await != Some(offset) {
        assert!(Instant::now() < deadline, "{offset} is not committed");
    }
}

fn in_order(seen: Vec<Seen>) -> Vec<i64> {
    let mut offsets: Vec<i64> = seen.into_iter().map(|seen| seen.offset).collect();
    offsets.sort_unstable();
    offsets
}

fn has_gaps(offsets: &[i64]) -> bool {
    offsets.windows(2).filter(|pair| pair[1] > pair[0] + 1).count() >= 3
}

async fn commits_are_contiguous_over_compaction(broker: Broker) {
    let properties = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "100"),
    ];
    let topic = broker.topic_with(1, &properties).await;
    // Some keys once, the one between them again and again: compaction keeps its last alone, so the others stand apart.
    let records = (0..400_u64).map(|n| {
        let key = if n % 10 == 0 { format!("once-{n}") } else { "often".to_owned() };
        (key, n.to_string())
    });
    broker.send_all(&topic, records.collect()).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut tail = 0;
    let offsets = loop {
        // The segment in use is never compacted: a record that comes later begins the next.
        broker.send_all(&topic, vec![(format!("tail-{tail}"), (1_000 + tail).to_string())]).await;
        tail += 1;
        let offsets = broker.offsets(&topic, 0).await;
        // The forty that are there once, the last of the others, and the tail.
        if offsets.len() == 40 + 1 + tail {
            break offsets;
        }
        assert!(Instant::now() < deadline, "not compacted: {} records", offsets.len());
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    assert!(has_gaps(&offsets), "{offsets:?}");
    commits_stop_at_what_is_not_done_and_move_over_gaps(&broker, &topic, &offsets, 200).await;
}

async fn commits_are_contiguous_over_aborts_and_markers(broker: Broker) {
    let topic = broker.topic(1).await;
    write_transactions(&broker, &topic, 12, 10).await;
    let offsets = broker.offsets(&topic, 0).await;
    assert_eq!(offsets.len(), 6 * 10, "those of aborted transactions are not read");
    assert!(has_gaps(&offsets), "aborted records and markers leave gaps: {offsets:?}");
    // The first of a transaction: before it lie a marker, an aborted transaction and its marker.
    let stuck = offsets[30];
    assert!(stuck > offsets[29] + 10);
    commits_stop_at_what_is_not_done_and_move_over_gaps(&broker, &topic, &offsets, stuck).await;
}

/// Every second transaction is aborted. Each record has a key of its own.
async fn write_transactions(broker: &Broker, topic: &str, transactions: u64, records: u64) {
    let (bootstrap, topic) = (broker.bootstrap.clone(), topic.to_owned());
    let write = move || {
        const TIMEOUT: Duration = Duration::from_secs(20);
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("transactional.id", format!("of-{topic}"))
            .set("linger.ms", "1")
            .create()
            .unwrap();
        producer.init_transactions(TIMEOUT).unwrap();
        for transaction in 0..transactions {
            producer.begin_transaction().unwrap();
            for record in 0..records {
                let number = transaction * records + record;
                let (key, value) = (format!("k{number}"), number.to_string());
                producer.send(BaseRecord::to(&topic).key(&key).payload(&value)).map_err(|(error, _)| error).unwrap();
            }
            producer.flush(TIMEOUT).unwrap();
            match transaction % 2 {
                0 => producer.commit_transaction(TIMEOUT).unwrap(),
                _ => producer.abort_transaction(TIMEOUT).unwrap(),
            }
        }
    };
    tokio::task::spawn_blocking(write).await.unwrap();
}
