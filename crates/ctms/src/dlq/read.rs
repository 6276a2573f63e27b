//! Reads the dead-letter topics from their beginning to their present end.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use contracts::topics;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::OwnedMessage,
    metadata::MetadataTopic,
};

use crate::broker;

/// Neither a record nor an end for this long: the broker is not delivering.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks at the clock.
const POLL: Duration = Duration::from_millis(200);

/// Every record of every group's dead-letter topic, each partition in order.
///
/// # Errors
/// The broker does not answer, or goes silent.
pub(super) async fn dead_letter_records(config: &ClientConfig, events: &str) -> anyhow::Result<Vec<OwnedMessage>> {
    let mut config = config.clone();
    config
        .set("group.id", "ctms-dlq")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50");
    let wanted: Vec<_> = topics::GROUPS.iter().map(|group| topics::dead_letter_topic(events, group)).collect();
    tokio::task::spawn_blocking(move || {
        let metadata = broker::look_blocking(&config)?.metadata;
        let mut records = Vec::new();
        for topic in metadata.topics().iter().filter(|topic| wanted.iter().any(|name| name == topic.name())) {
            read(&config, topic, &mut records)
                .with_context(|| format!("cannot read the dead letters of {}", topic.name()))?;
        }
        Ok(records)
    })
    .await
    .context("reading the dead letters panicked")?
}

fn read(config: &ClientConfig, topic: &MetadataTopic, records: &mut Vec<OwnedMessage>) -> anyhow::Result<()> {
    let consumer: BaseConsumer = config.create().context("the Kafka client refuses its settings")?;
    let mut assignment = TopicPartitionList::new();
    let mut open: BTreeSet<i32> = topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
    for &partition in &open {
        assignment.add_partition_offset(topic.name(), partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut last_answer_at = Instant::now();
    while !open.is_empty() {
        match consumer.poll(POLL) {
            Some(Ok(record)) => records.push(record.detach()),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => tracing::debug!(%error, topic = topic.name(), "the client goes on by itself"),
            None => {
                anyhow::ensure!(
                    last_answer_at.elapsed() < SILENCE_TIMEOUT,
                    "the broker was silent for {} s; try again",
                    SILENCE_TIMEOUT.as_secs()
                );
                continue;
            }
        }
        last_answer_at = Instant::now();
    }
    Ok(())
}
