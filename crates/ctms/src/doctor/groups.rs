//! The consumer groups: how far behind the topics' ends their committed offsets are. It asks without joining a group.

use contracts::topics::{GROUPS, retry_topic};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};

use crate::broker::{self, ANSWER_TIMEOUT};

use super::{Examination, Finding};

/// Looks at every group of the platform.
pub(super) async fn examine(config: &ClientConfig, events: &str, examination: &mut Examination) {
    for group in GROUPS {
        let (mut config, events) = (config.clone(), events.to_owned());
        config.set("group.id", group).set("enable.auto.commit", "false");
        let lag = tokio::task::spawn_blocking(move || lag(&config, &events, group)).await;
        match lag.map_err(anyhow::Error::new).flatten() {
            Ok(0) => examination.healthy(format!("group {group} is at the end of its topics")),
            Ok(records) => examination.find(Finding::advice(
                format!("group {group}"),
                format!("{records} records are not committed yet"),
                format!("normal while {group} works through them; if the number stays, see the /readyz of {group}"),
            )),
            Err(error) => examination.find(Finding::problem(
                format!("group {group}"),
                format!("its committed offsets cannot be read: {error:#}"),
                "check that the user may describe the group",
            )),
        }
    }
}

/// Records between the committed offsets and the ends of the group's topics.
fn lag(config: &ClientConfig, events: &str, group: &str) -> anyhow::Result<i64> {
    let metadata = broker::look_blocking(config)?.metadata;
    let consumer: BaseConsumer = config.create()?;
    let read = [events.to_owned(), retry_topic(events, group)];
    let mut partitions = TopicPartitionList::new();
    for topic in metadata.topics().iter().filter(|topic| read.iter().any(|name| name == topic.name())) {
        for partition in topic.partitions() {
            partitions.add_partition(topic.name(), partition.id());
        }
    }
    let committed = consumer.committed_offsets(partitions, ANSWER_TIMEOUT)?;
    let mut lag = 0;
    for element in committed.elements() {
        let (low, high) = consumer.fetch_watermarks(element.topic(), element.partition(), ANSWER_TIMEOUT)?;
        let next = match element.offset() {
            Offset::Offset(offset) => offset.max(low),
            _ => low,
        };
        lag += (high - next).max(0);
    }
    Ok(lag)
}
