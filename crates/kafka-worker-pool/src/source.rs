//! What the books ask of a Kafka client. librdkafka's queue answers in a pool, memory in the test driver: everything else of the books is the same
//! code in both.

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_ext::{SharedQueue, wake_fetchers};

use crate::context::Context;
use crate::record::TopicPartition;

/// A client with assigned partitions.
pub(crate) trait Source {
    /// Fetches no more of a partition; what was handed out is handed out.
    fn pause(&self, name: &TopicPartition) -> Result<(), String>;
    /// Fetches it again, from behind what was handed out.
    fn resume(&self, name: &TopicPartition) -> Result<(), String>;
    /// Takes positions to commit; an answer for each.
    fn store(&self, positions: &[Position]) -> Vec<Result<(), Refused>>;
    /// Begins to commit positions now, also those that did not move.
    fn commit(&self, positions: &[Position]) -> Result<(), String>;
}

/// What is committed of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) name: TopicPartition,
    /// The next offset to read.
    pub(crate) offset: i64,
    /// What stands beside it.
    pub(crate) metadata: Option<String>,
}

/// A position that was not taken.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Refused {
    /// Its partition is just being taken away; the new owner starts from what was committed.
    pub(crate) is_benign: bool,
    words: String,
}

impl From<KafkaError> for Refused {
    fn from(error: KafkaError) -> Self {
        Self { is_benign: error.rdkafka_error_code() == Some(RDKafkaErrorCode::State), words: error.to_string() }
    }
}

impl Source for SharedQueue<Context> {
    fn pause(&self, name: &TopicPartition) -> Result<(), String> {
        self.consumer().pause(&list_of(name)).map_err(|error| error.to_string())
    }

    fn resume(&self, name: &TopicPartition) -> Result<(), String> {
        let partition = list_of(name);
        self.consumer().resume(&partition).map_err(|error| error.to_string())?;
        wake_fetchers(self.consumer(), &partition);
        Ok(())
    }

    fn store(&self, positions: &[Position]) -> Vec<Result<(), Refused>> {
        let mut list = TopicPartitionList::new();
        let added: Vec<_> = positions.iter().map(|position| add(&mut list, position)).collect();
        // Each element carries its own error; the overall result is that of the last.
        let overall = self.consumer().store_offsets(&list);
        tracing::trace!(?overall, "positions stored");
        let elements = list.elements();
        let mut stored = elements.iter();
        let answer = |added: Result<(), KafkaError>| {
            added?;
            // As many elements as were added.
            Ok(stored.next().map_or(Ok(()), TopicPartitionListElem::error)?)
        };
        added.into_iter().map(answer).collect()
    }

    fn commit(&self, positions: &[Position]) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        let added = positions.iter().try_for_each(|position| add(&mut list, position));
        added.and_then(|()| self.consumer().commit(&list, CommitMode::Async)).map_err(|error| error.to_string())
    }
}

fn add(list: &mut TopicPartitionList, position: &Position) -> Result<(), KafkaError> {
    let mut element = list.add_partition(&position.name.topic, position.name.partition);
    element.set_offset(Offset::Offset(position.offset))?;
    if let Some(metadata) = &position.metadata {
        element.set_metadata(metadata);
    }
    Ok(())
}

fn list_of(name: &TopicPartition) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(&name.topic, name.partition);
    list
}
