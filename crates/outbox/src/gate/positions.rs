//! The gate as the pool's place for positions: how far each partition was read, in the service's own database, with the ids that show
//! when an offset means something else now.

use kafka_worker_pool::{BoxError, EARLIEST, PositionStore, TopicPartition};

use super::{Gate, effects::Effects, identity::Ids};
use crate::db::{self, DbErr, Value};

impl<E: Effects> PositionStore for Gate<E> {
    async fn load(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Option<i64>)>, BoxError> {
        let ids = self.current_ids(partitions).await?;
        let ids = self.inner.options.identity.is_some().then_some(&ids);
        let mut found = Vec::with_capacity(partitions.len());
        let sql = "SELECT topic, partition, cluster_id, topic_id, next_offset FROM kafka_pos";
        let rows = db::query_all(self.inner.db.reader(), sql, []).await?;
        let stored = rows.iter().map(Stored::read).collect::<Result<Vec<_>, _>>()?;
        for partition in partitions {
            // Where this database knows no position it holds no effects either, whatever Kafka's commit says: it may be older than that.
            let position = stored.iter().find(|stored| stored.is_of(partition)).map(|stored| stored.position(ids));
            found.push((partition.clone(), Some(position.unwrap_or(EARLIEST))));
        }
        Ok(found)
    }

    async fn save(&self, positions: &[(TopicPartition, i64)]) -> Result<(), BoxError> {
        if positions.is_empty() {
            return Ok(());
        }
        let ids = self.inner.known_ids();
        let now = db::now();
        // Not the greater of the two: after a truncation the old, higher offset would one day skip records.
        let sql = format!(
            "INSERT INTO kafka_pos (topic, partition, cluster_id, topic_id, next_offset, saved_at) VALUES {}
             ON CONFLICT (topic, partition) DO UPDATE SET cluster_id = excluded.cluster_id, topic_id = excluded.topic_id,
               next_offset = excluded.next_offset, saved_at = excluded.saved_at",
            db::rows(6, positions.len())
        );
        let values: Vec<Value> = positions
            .iter()
            .flat_map(|(partition, next_offset)| -> [Value; 6] {
                let topic_id = ids.topics.get(&*partition.topic).cloned().flatten();
                [
                    partition.topic.to_string().into(),
                    i64::from(partition.partition).into(),
                    ids.cluster.clone().into(),
                    topic_id.into(),
                    (*next_offset).into(),
                    now.into(),
                ]
            })
            .collect();
        let db = self.inner.db.clone();
        db.transaction(move |tx| Box::pin(async move { db::exec(tx, &sql, values).await }))
            .await
            .map_err(|error: DbErr| error.into())
            .map(|_| ())
    }
}

impl<E: Effects> Gate<E> {
    async fn current_ids(&self, partitions: &[TopicPartition]) -> Result<Ids, BoxError> {
        let Some(identity) = &self.inner.options.identity else { return Ok(Ids::default()) };
        let mut topics: Vec<String> = partitions.iter().map(|partition| partition.topic.to_string()).collect();
        topics.sort_unstable();
        topics.dedup();
        let ids = identity.ids(topics).await?;
        self.inner.learn_ids(&ids);
        Ok(ids)
    }
}

struct Stored {
    topic: String,
    partition: i64,
    cluster_id: Option<String>,
    topic_id: Option<String>,
    next_offset: i64,
}

impl Stored {
    fn read(row: &db::QueryResult) -> Result<Self, DbErr> {
        Ok(Self {
            topic: row.try_get("", "topic")?,
            partition: row.try_get("", "partition")?,
            cluster_id: row.try_get("", "cluster_id")?,
            topic_id: row.try_get("", "topic_id")?,
            next_offset: row.try_get("", "next_offset")?,
        })
    }

    fn is_of(&self, partition: &TopicPartition) -> bool {
        self.topic == *partition.topic && self.partition == i64::from(partition.partition)
    }

    /// Where to read on, given who the broker says it is; None: nobody asked.
    fn position(&self, ids: Option<&Ids>) -> i64 {
        let Some((what, stored, current)) = ids.and_then(|ids| self.changed(ids)) else { return self.next_offset };
        tracing::warn!(
            topic = self.topic,
            partition = self.partition,
            offset = self.next_offset,
            stored,
            current,
            "the position belongs to another {what}; reading starts from the earliest record, the gate drops what was applied"
        );
        EARLIEST
    }

    /// What is another one now. Only the embedded broker has no cluster id, so its absence counts; a topic's id may be kept from us.
    fn changed(&self, ids: &Ids) -> Option<(&'static str, Option<String>, Option<String>)> {
        if self.cluster_id != ids.cluster {
            return Some(("cluster", self.cluster_id.clone(), ids.cluster.clone()));
        }
        let topic_id = ids.topics.get(&self.topic).cloned().flatten();
        let is_another = self.topic_id.is_some() && topic_id.is_some() && self.topic_id != topic_id;
        is_another.then(|| ("topic", self.topic_id.clone(), topic_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_only_on_the_cluster_and_topic_it_was_reached_on() {
        let text = |id: &str| (!id.is_empty()).then(|| id.to_owned());
        let position = |(cluster, topic): (&str, &str), (now_cluster, now_topic): (&str, &str)| {
            let stored = Stored {
                topic: "t".to_owned(),
                partition: 0,
                cluster_id: text(cluster),
                topic_id: text(topic),
                next_offset: 7,
            };
            stored
                .position(Some(&Ids { cluster: text(now_cluster), topics: [("t".to_owned(), text(now_topic))].into() }))
        };
        assert_eq!(position(("A", "1"), ("A", "1")), 7);
        assert_eq!(position(("A", "1"), ("A", "2")), EARLIEST, "the topic was made anew");
        assert_eq!(position(("A", "1"), ("B", "1")), EARLIEST, "another cluster");
        assert_eq!(position(("A", ""), ("A", "1")), 7, "the topic's id was kept from us");
        assert_eq!(position(("", ""), ("", "")), 7, "the embedded broker");
        assert_eq!(position(("", ""), ("A", "1")), EARLIEST, "from the embedded broker to a real one");
        assert_eq!(position(("A", "1"), ("", "")), EARLIEST, "and back");
    }
}
