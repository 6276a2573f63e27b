//! A pool at work, with nothing installed: an embedded broker, a hundred orders of five customers, a handler that fails now and then. Ends by
//! itself and prints what the pool says of its run.
//!
//! `cargo run -p kafka-worker-pool --example quickstart`
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_worker_pool::{HandlerError, KafkaWorkerPool, OrFail, Record, Reject, Retry, each};
use support::AnyError;

const ORDERS: u32 = 100;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    // Dead letters go to <topic>.<group>.dlq.
    let broker = support::broker(&[("orders", 4), ("orders.billing.dlq", 1)])?;
    let orders = (0..ORDERS).map(|order| (format!("customer-{}", order % 5), Some(order.to_string())));
    support::send(broker.bootstrap(), "orders", orders.collect()).await?;

    let billing = Arc::new(Billing::default());
    let of_handler = Arc::clone(&billing);
    let handler = each(move |record: Record| {
        let billing = Arc::clone(&of_handler);
        async move { billing.bill(&record).await }
    });
    let pool = KafkaWorkerPool::builder(broker.bootstrap(), "billing").topics(["orders"]).handler(handler).start()?;
    pool.ready().await?;
    println!("assigned {:?} by the {} protocol", pool.status().assigned, pool.status().protocol);

    support::until("every order is over", || billing.over.load(Ordering::Acquire) == ORDERS).await?;
    let report = pool.stop().await?;
    println!("the pool {report}");
    Ok(())
}

#[derive(Default)]
struct Billing {
    tried: Mutex<HashSet<u32>>,
    over: AtomicU32,
}

impl Billing {
    /// Order 42 can never be billed; every seventh fails at its first try.
    async fn bill(&self, record: &Record) -> Result<(), HandlerError> {
        let text = std::str::from_utf8(record.value.as_deref().unwrap_or_default()).or_reject()?;
        let order: u32 = text.parse().or_reject()?;
        tokio::time::sleep(Duration::from_millis(2)).await;
        let is_first_try = self.tried.lock().unwrap_or_else(PoisonError::into_inner).insert(order);
        if order % 7 == 3 && is_first_try {
            println!("order {order}: the account is locked, once more later; other customers go on");
            Err(Retry::new("the account is locked"))?;
        }
        self.over.fetch_add(1, Ordering::AcqRel);
        if order == 42 {
            println!("order {order}: nobody to bill, a dead letter");
            Err(Reject::new("order 42 has no customer"))?;
        }
        Ok(())
    }
}
