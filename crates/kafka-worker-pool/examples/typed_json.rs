//! Orders in JSON, decoded before the handler sees them. What is no order becomes a dead letter that says where it goes wrong; what fails for a
//! moment is tried again; a null value deletes. A second pool then reads the dead letters back.
//!
//! `cargo run -p kafka-worker-pool --example typed_json`
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kafka_worker_pool::{HandlerError, KafkaWorkerPool, Message, Options, Record, Reject, Retry, each, json_or_null};
use serde::Deserialize;
use support::AnyError;

#[derive(Debug, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize)]
struct Line {
    article: String,
    count: u32,
}

const RECORDS: [(&str, Option<&str>); 7] = [
    ("o-1", Some(r#"{"id": 1, "customer": "ann", "lines": [{"article": "tea", "count": 2}]}"#)),
    (
        "o-2",
        Some(
            r#"{"id": 2, "customer": "ben", "lines": [{"article": "tea", "count": 1}, {"article": "cup", "count": -4}]}"#,
        ),
    ),
    ("o-3", Some(r#"{"id": 3, "customer": "#)),
    ("o-4", Some(r#"{"id": 4, "customer": "cyd", "lines": []}"#)),
    ("o-5", Some(r#"{"id": 5, "customer": "dee", "lines": [{"article": "pot", "count": 1}]}"#)),
    ("o-1", None),
    ("o-6", Some(r#"{"id": 6, "customer": "eve", "lines": [{"article": "cup", "count": 6}]}"#)),
];
const BAD: u32 = 3;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let broker = support::broker(&[("orders", 2), ("orders.shop.dlq", 1)])?;
    let records = RECORDS.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
    support::send(broker.bootstrap(), "orders", records.to_vec()).await?;

    let tries = Arc::new(AtomicU32::new(0));
    let handler = json_or_null::<Order, _>(move |message: Message<Option<Order>>| {
        let tries = Arc::clone(&tries);
        async move { take(message, &tries).await }
    });
    let mut options = Options::default();
    options.backoff.first = Duration::from_millis(50);
    let pool = KafkaWorkerPool::builder(broker.bootstrap(), "shop")
        .topics(["orders"])
        .options(options)
        .handler(handler)
        .start()?;

    println!("\nthe dead letters, read back by another pool:");
    read_letters(broker.bootstrap()).await?;
    let report = pool.stop().await?;
    println!("\nthe pool {report}");
    Ok(())
}

async fn take(message: Message<Option<Order>>, tries: &AtomicU32) -> Result<(), HandlerError> {
    let Some(order) = message.value else {
        let key = String::from_utf8_lossy(message.record.key.as_deref().unwrap_or_default()).into_owned();
        println!("  {key}: deleted");
        return Ok(());
    };
    if order.lines.is_empty() {
        Err(Reject::new(format!("order {} has no lines", order.id)))?;
    }
    if order.id == 5 && tries.fetch_add(1, Ordering::AcqRel) < 2 {
        Err(Retry::new("the warehouse does not answer").after(Duration::from_millis(20)))?;
    }
    let articles: Vec<String> = order.lines.iter().map(|line| format!("{} {}", line.count, line.article)).collect();
    println!("  order {} of {}: {}", order.id, order.customer, articles.join(", "));
    Ok(())
}

async fn read_letters(brokers: &str) -> Result<(), AnyError> {
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let show = each(move |letter: Record| {
        let header = |name: &str| String::from_utf8_lossy(letter.headers.get(name).unwrap_or_default()).into_owned();
        println!(
            "  {} after {} attempt(s): {}",
            header("ctms_letter_id"),
            header("ctms_attempts"),
            header("ctms_cause")
        );
        count.fetch_add(1, Ordering::AcqRel);
        async { Ok(()) }
    });
    let reader = KafkaWorkerPool::builder(brokers, "letters").topics(["orders.shop.dlq"]).handler(show).start()?;
    support::until("every letter is read", || seen.load(Ordering::Acquire) == BAD).await?;
    reader.stop().await?;
    Ok(())
}
