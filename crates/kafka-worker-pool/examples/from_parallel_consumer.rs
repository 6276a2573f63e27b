//! The move from Confluent's Parallel Consumer: its options, one by one, as they are set here. `docs/migration.md` has the whole table.
//!
//! `cargo run -p kafka-worker-pool --example from_parallel_consumer`
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_worker_pool::{
    Backoff, Handler, HandlerError, KafkaWorkerPool, Options, Order, Record, Reject, Retry, Start,
};
use support::AnyError;

const RECORDS: usize = 300;

/// In Java:
///
/// ```java
/// var options = ParallelConsumerOptions.<String, String>builder()
///     .consumer(kafkaConsumer)                          // group.id=shipping, auto.offset.reset=earliest
///     .ordering(KEY)
///     .maxConcurrency(100)
///     .batchSize(10)
///     .commitMode(PERIODIC_CONSUMER_SYNC)
///     .commitInterval(Duration.ofMillis(500))
///     .defaultMessageRetryDelay(Duration.ofMillis(50))
///     .shutdownTimeout(Duration.ofSeconds(10))
///     .messageBufferSize(2000)
///     .build();
/// var consumer = ParallelStreamProcessor.createEosStreamProcessor(options);
/// consumer.subscribe(Pattern.compile("parcels\\..*"));
/// consumer.poll(context -> ship(context.getConsumerRecordsFlattened()));
/// ```
fn options() -> Options {
    let mut options = Options::default();
    options.order = Order::Key; // ordering: KEY, PARTITION, UNORDERED
    options.workers = 100; // maxConcurrency
    options.max_batch = 10; // batchSize
    options.commit_interval_ms = 500; // commitInterval; the commit mode is always "periodic, by the consumer"
    options.backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(10) }; // defaultMessageRetryDelay
    options.max_attempts = 5; // no counterpart: Parallel Consumer retries for ever
    options.drain_timeout = Duration::from_secs(10); // shutdownTimeout, drainTimeout; also on a revoke
    options.queue_capacity = 2_000; // messageBufferSize
    options.start = Start::Earliest; // auto.offset.reset
    options
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let broker = support::broker(&[("parcels.eu", 4), ("parcels.us", 2), ("parcels.eu.shipping.dlq", 1)])?;
    for (topic, from) in [("parcels.eu", 0), ("parcels.us", RECORDS / 2)] {
        let parcels =
            (from..from + RECORDS / 2).map(|parcel| (format!("to-{}", parcel % 30), Some(parcel.to_string())));
        support::send(broker.bootstrap(), topic, parcels.collect()).await?;
    }
    let shipping = Arc::new(Shipping::default());
    let pool = KafkaWorkerPool::builder(broker.bootstrap(), "shipping")
        .topics([r"^parcels\..*"])
        .options(options())
        .handler(Arc::clone(&shipping))
        .start()?;
    // closeDrainFirst()
    support::until("every parcel is over", || shipping.over() == RECORDS && pool.status().in_flight == 0).await?;
    let report = pool.stop().await?;
    println!("{} calls for {RECORDS} parcels", shipping.calls());
    println!("the pool {report}");
    Ok(())
}

#[derive(Default)]
struct Shipping {
    /// Failed attempts of each parcel that failed, and the parcels that are over.
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    failed: HashMap<String, u32>,
    calls: usize,
    over: usize,
}

impl Shipping {
    fn over(&self) -> usize {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).over
    }

    fn calls(&self) -> usize {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).calls
    }
}

impl Handler for Shipping {
    async fn handle(&self, batch: &[Record]) -> Result<(), HandlerError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.calls += 1;
        let mut lost_for_good = None;
        for record in batch {
            let parcel = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
            match parcel.as_str() {
                // throw new PCRetriableException(), with a retryDelayProvider: the delay is the error's.
                "77" => {
                    let failures = books.failed.entry(parcel).or_default();
                    if *failures < 2 {
                        // In company it is taken out first; alone it is an attempt.
                        *failures += u32::from(batch.len() == 1);
                        let delay = Duration::from_millis(10 << *failures);
                        Err(Retry::new("the carrier is busy").after(delay))?;
                    }
                }
                // There it would be tried for ever, and its partition's committed offset would stand still.
                "99" => lost_for_good = Some(parcel),
                _ => {}
            }
        }
        if let Some(parcel) = lost_for_good {
            if batch.len() == 1 {
                books.over += 1;
                println!("parcel {parcel} has no address: a dead letter");
            }
            Err(Reject::new(format!("parcel {parcel} has no address")))?;
        }
        books.over += batch.len();
        Ok(())
    }
}
