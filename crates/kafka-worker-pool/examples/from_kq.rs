//! The move from go-queue's `kq`: its YAML is read, each key is told what it becomes, and the pool runs by it. In Go this was
//! `kq.MustNewQueue(c, kq.WithHandle(func(ctx context.Context, k, v string) error { .. }))`.
//!
//! `cargo run -p kafka-worker-pool --example from_kq` · the YAML of a service of yours: `-- PATH` prints what becomes of it
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use kafka_worker_pool::{OrFail, Record, each, migrate::kq};
use support::AnyError;

/// As a service of go-zero has it in `etc/queue.yaml`; the broker's address is filled in below.
const YAML: &str = "
Name: orders-queue
Brokers:
- BROKER
Group: billing
Topic: orders
Offset: first
Conns: 2
Consumers: 8
Processors: 16
MinBytes: 1
MaxBytes: 10485760
ForceCommit: true
CommitInOrder: false
Log:
  Level: info
";

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    if let Some(path) = std::env::args().nth(1) {
        tell(&kq::read(&std::fs::read_to_string(path)?)?);
        return Ok(());
    }
    let broker = support::broker(&[("orders", 4), ("orders.billing.dlq", 1)])?;
    let orders = (0..200).map(|order| (format!("customer-{}", order % 20), Some(format!("order {order}"))));
    support::send(broker.bootstrap(), "orders", orders.collect()).await?;

    let kq = kq::read(&YAML.replace("BROKER", broker.bootstrap()))?;
    tell(&kq);

    // What was `func(ctx, k, v string) error`. An error there was logged and the record gone (ForceCommit) or gone with the next commit;
    // here it is tried again while its key waits, and at last a dead letter in orders.billing.dlq.
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let consume = {
        let seen = Arc::clone(&seen);
        move |_key: String, value: String| {
            let seen = Arc::clone(&seen);
            async move {
                let is_first_try = seen.lock().unwrap_or_else(PoisonError::into_inner).insert(value.clone());
                match value.as_str() {
                    "order 13" if is_first_try => Err("the database had a moment"),
                    _ => Ok(()),
                }
            }
        }
    };
    let handler = each(move |record: Record| {
        let text =
            |bytes: &Option<bytes::Bytes>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
        let call = consume(text(&record.key), text(&record.value));
        async move { call.await.or_retry() }
    });
    let pool = kq.builder().handler(handler).start()?;
    pool.ready().await?;
    support::until("every order is consumed", || {
        seen.lock().unwrap_or_else(PoisonError::into_inner).len() == 200 && pool.status().in_flight == 0
    })
    .await?;
    let report = pool.stop().await?;
    println!("\nthe pool {report}");
    Ok(())
}

fn tell(kq: &kq::Kq) {
    println!("\nwhat becomes of the keys of kq:");
    for note in &kq.notes {
        println!("  {note}");
    }
}
