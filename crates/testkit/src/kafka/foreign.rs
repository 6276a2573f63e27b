//! A producer and a reader that know nothing of our envelope: plain rdkafka, as any team would write them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::{Header, Headers as _, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};

const SEND_DEADLINE: Duration = Duration::from_secs(30);
const METADATA_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// A record as it lies in the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Vec<u8>,
    /// Its headers as text; the last of equal names.
    pub headers: BTreeMap<String, String>,
}

/// Sends one record and waits for the acknowledgement.
///
/// # Errors
/// When the broker does not take it.
pub async fn produce(
    brokers: &str,
    topic: &str,
    key: Option<&str>,
    value: &[u8],
    headers: &[(&str, &str)],
) -> Result<()> {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().context("cannot make a producer")?;
    let headers =
        headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
    let mut record: FutureRecord<'_, str, [u8]> = FutureRecord::to(topic).payload(value).headers(headers);
    record.key = key;
    let sent = producer.send(record, Timeout::After(SEND_DEADLINE)).await;
    sent.map_err(|(error, _)| error).with_context(|| format!("cannot produce to {topic}"))?;
    Ok(())
}

/// Everything in a topic now, in the order of partition and offset. Blocks: call it off the runtime's threads.
///
/// # Errors
/// When the broker does not answer.
pub fn read_all(brokers: &str, topic: &str) -> Result<Vec<StoredRecord>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "testkit-reader")
        .set("enable.auto.commit", "false")
        .create()
        .context("cannot make a consumer")?;
    let metadata = consumer.fetch_metadata(Some(topic), METADATA_DEADLINE).context("cannot ask for the topic")?;
    let partitions = metadata.topics().first().map_or(0, |one| one.partitions().len());
    let mut assignment = TopicPartitionList::new();
    let mut missing = BTreeMap::new();
    for partition in 0..i32::try_from(partitions).context("too many partitions")? {
        let (low, high) = consumer.fetch_watermarks(topic, partition, METADATA_DEADLINE)?;
        if high > low {
            assignment.add_partition_offset(topic, partition, Offset::Offset(low))?;
            missing.insert(partition, high);
        }
    }
    consumer.assign(&assignment).context("cannot assign partitions")?;
    let mut records = Vec::new();
    let start = Instant::now();
    while !missing.is_empty() {
        anyhow::ensure!(start.elapsed() < SEND_DEADLINE, "{topic}: {missing:?} (partition, end) not reached");
        let Some(message) = consumer.poll(POLL) else { continue };
        let message = message.context("cannot read")?;
        if missing.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            missing.remove(&message.partition());
        }
        let headers = message.headers().into_iter().flat_map(|all| all.iter());
        records.push(StoredRecord {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().unwrap_or_default().to_vec(),
            headers: headers
                .map(|one| (one.key.to_owned(), String::from_utf8_lossy(one.value.unwrap_or_default()).into_owned()))
                .collect(),
        });
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}
