//! What every example needs beside the pool: a broker inside the process, and records on it.
#![allow(dead_code, unreachable_pub, reason = "each example is a crate of its own and uses a part of this")]

use std::error::Error;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};

pub type AnyError = Box<dyn Error + Send + Sync>;

/// An embedded broker with these topics and their numbers of partitions.
pub fn broker(topics: &[(&str, i32)]) -> Result<EmbeddedBroker, AnyError> {
    let topics = topics.iter().map(|&(name, partitions)| (name.to_owned(), partitions)).collect();
    let broker = EmbeddedBroker::start(&EmbeddedOptions { topics, ..EmbeddedOptions::default() })?;
    println!("an embedded broker on {}", broker.bootstrap());
    Ok(broker)
}

/// Sends records of (key, value), in order; a value of `None` is Kafka's null.
pub async fn send(brokers: &str, topic: &str, records: Vec<(String, Option<String>)>) -> Result<(), AnyError> {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("enable.idempotence", "true").create()?;
    let mut acknowledged = Vec::new();
    for (key, value) in &records {
        let mut record: FutureRecord<'_, str, str> = FutureRecord::to(topic).key(key);
        record.payload = value.as_deref();
        acknowledged.push(producer.send_result(record).map_err(|(error, _)| error)?);
    }
    for acknowledgement in acknowledged {
        acknowledgement.await?.map_err(|(error, _)| error)?;
    }
    println!("{} records sent to {topic}", records.len());
    Ok(())
}

/// Waits for a condition, at most 30 s.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<(), AnyError> {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waited).await.map_err(|_| format!("did not come true: {what}").into())
}
