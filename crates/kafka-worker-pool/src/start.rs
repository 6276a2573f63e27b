//! Where a partition starts for which nobody has a position: what the options say, and for the end or a time what the broker answers. Runs on
//! the event thread.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_ext::{cluster_id, is_embedded_cluster};

use crate::context::Context;
use crate::options::Start;
use crate::record::TopicPartition;
use crate::shared::Begin;

/// How long the broker may take to answer once; it is asked again until it does.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_UP_PAUSE: Duration = Duration::from_millis(200);

impl Context {
    /// Chooses for partitions without any position. `None` when a stop, a failure or a loss of the assignment came before the broker
    /// answered.
    pub(crate) fn choose(
        &self,
        consumer: &BaseConsumer<Self>,
        names: &[TopicPartition],
    ) -> Option<Vec<(TopicPartition, Begin)>> {
        let mut chosen = Vec::new();
        let mut asked = Vec::new();
        for name in names {
            match (self.options.start_offsets.get(name), self.options.start) {
                (Some(&offset), _) => chosen.push((name.clone(), Begin::Chosen(offset))),
                (None, Start::Earliest) => chosen.push((name.clone(), Begin::Fresh)),
                (None, Start::Latest | Start::Timestamp { .. }) => asked.push(name.clone()),
            }
        }
        while !asked.is_empty() {
            match self.look_up(consumer, &asked) {
                Ok(found) => {
                    asked.retain(|name| !found.iter().any(|(found, _)| found == name));
                    chosen.extend(found);
                }
                Err(error) => {
                    tracing::warn!(group = &*self.group, error, "where to start could not be looked up; asking again");
                    self.shared.set_error("start", &error);
                }
            }
            if asked.is_empty() {
                self.shared.clear_error("start");
                break;
            }
            if self.shared.should_stop() || self.shared.failure().is_some() || consumer.assignment_lost() {
                return None;
            }
            std::thread::sleep(LOOK_UP_PAUSE);
        }
        Some(chosen)
    }

    /// Asks once; partitions that had no answer are left out.
    fn look_up(
        &self,
        consumer: &BaseConsumer<Self>,
        names: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Begin)>, String> {
        let Start::Timestamp { ms } = self.options.start else {
            return self.offsets_at(consumer, names, Offset::End);
        };
        let is_embedded = cluster_id(consumer.client(), LOOK_UP_TIMEOUT).is_some_and(|id| is_embedded_cluster(&id));
        if is_embedded {
            // It answers "no record that late" to every time. Reading too much loses nothing.
            tracing::warn!(group = &*self.group, "an embedded broker knows no times: starting at the earliest records");
            return Ok(names.iter().map(|name| (name.clone(), Begin::Fresh)).collect());
        }
        let mut found = self.offsets_at(consumer, names, Offset::Offset(ms))?;
        let (later, past_all): (Vec<_>, Vec<_>) =
            found.drain(..).partition(|(_, begin)| matches!(begin, Begin::Chosen(offset) if *offset >= 0));
        found = later;
        if !past_all.is_empty() {
            let names: Vec<TopicPartition> = past_all.into_iter().map(|(name, _)| name).collect();
            found.extend(self.offsets_at(consumer, &names, Offset::End)?);
        }
        Ok(found)
    }

    /// The offsets at a time, or at the end. -1 where no record is that late.
    fn offsets_at(
        &self,
        consumer: &BaseConsumer<Self>,
        names: &[TopicPartition],
        at: Offset,
    ) -> Result<Vec<(TopicPartition, Begin)>, String> {
        let mut times = TopicPartitionList::new();
        for name in names {
            times.add_partition_offset(&name.topic, name.partition, at).map_err(|error| error.to_string())?;
        }
        let answer = consumer.offsets_for_times(times, LOOK_UP_TIMEOUT).map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        for element in answer.elements() {
            let offset = match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(offset)) => offset,
                (Ok(()), _) => -1,
                (Err(error), _) => {
                    tracing::debug!(group = &*self.group, topic = element.topic(), %error, "where to start");
                    continue;
                }
            };
            found.push((TopicPartition::new(element.topic(), element.partition()), Begin::Chosen(offset)));
        }
        // At the end there is always an answer.
        if at == Offset::End {
            found.retain(|(_, begin)| *begin != Begin::Chosen(-1));
        }
        Ok(found)
    }
}
