//! A pool at work, with nothing installed: an embedded broker, a hundred orders of five customers, a handler that fails now and then. Ends by
//! itself and prints what the pool says of its run.
//!
//! `cargo run -p kafka-worker-pool --example orders`
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::collections::HashSet;
use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_worker_pool::{HandlerError, KafkaWorkerPool, Record, each};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};

const ORDERS: u32 = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let topics = vec![("orders".to_owned(), 4), ("orders.billing.dlq".to_owned(), 1)];
    let broker = EmbeddedBroker::start(&EmbeddedOptions { topics, ..EmbeddedOptions::default() })?;
    println!("embedded broker on {}", broker.bootstrap());

    let ledger = Arc::new(Ledger::default());
    let of_handler = Arc::clone(&ledger);
    let handler = each(move |record: Record| {
        let ledger = Arc::clone(&of_handler);
        async move { ledger.bill(&record).await }
    });
    let pool = KafkaWorkerPool::builder(broker.bootstrap(), "billing").topics(["orders"]).handler(handler).start()?;
    pool.ready().await?;
    println!("assigned: {:?} by the {} protocol", pool.status().assigned, pool.status().protocol);

    send_orders(broker.bootstrap()).await?;
    while ledger.over.load(Ordering::Acquire) < ORDERS {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let report = pool.stop().await?;
    println!("{report:#?}");
    Ok(())
}

#[derive(Default)]
struct Ledger {
    tried: Mutex<HashSet<u32>>,
    over: AtomicU32,
}

impl Ledger {
    /// Order 42 can never be billed; every seventh fails at its first try.
    async fn bill(&self, record: &Record) -> Result<(), HandlerError> {
        let text = std::str::from_utf8(record.value.as_deref().unwrap_or_default()).map_err(HandlerError::reject)?;
        let order: u32 = text.parse().map_err(HandlerError::reject)?;
        tokio::time::sleep(Duration::from_millis(2)).await;
        let is_first = self.tried.lock().map_err(|_| HandlerError::retry("poisoned"))?.insert(order);
        if order % 7 == 3 && is_first {
            return Err(HandlerError::retry("the account is locked"));
        }
        self.over.fetch_add(1, Ordering::AcqRel);
        if order == 42 {
            return Err(HandlerError::reject("order 42 has no customer"));
        }
        Ok(())
    }
}

async fn send_orders(brokers: &str) -> Result<(), Box<dyn Error>> {
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    for order in 0..ORDERS {
        let (key, value) = (format!("customer-{}", order % 5), order.to_string());
        let sent = producer.send(FutureRecord::to("orders").key(&key).payload(&value), Duration::from_secs(5)).await;
        sent.map_err(|(error, _)| error)?;
    }
    Ok(())
}
