//! The gate as the pool's place for positions: how far each partition was read, in the service's own database, with the ids that show
//! when an offset means something else now.

use kafka_worker_pool::{BoxError, EARLIEST, PositionStore, TopicPartition};

use super::{Gate, effects::Effects, identity::Ids};
use crate::db::{self, DbErr, Value};

impl<E: Effects> PositionStore for Gate<E> {
    async fn load(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Option<i64>)>, BoxError> {
        let ids = self.current_ids(partitions).await?;
        let mut found = Vec::with_capacity(partitions.len());
        let sql = "SELECT topic, partition, cluster_id, topic_id, next_offset FROM kafka_pos";
        let rows = db::query_all(self.inner.db.reader(), sql, []).await?;
        let stored = rows.iter().map(Stored::read).collect::<Result<Vec<_>, _>>()?;
        for partition in partitions {
            let position = stored.iter().find(|stored| stored.is_of(partition)).map(|stored| stored.position(&ids));
            found.push((partition.clone(), position));
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

    fn position(&self, ids: &Ids) -> i64 {
        let topic_id = ids.topics.get(&self.topic).cloned().flatten();
        let changed =
            [("cluster", &self.cluster_id, &ids.cluster), ("topic", &self.topic_id, &topic_id)].into_iter().find(
                |(_, stored, current)| matches!((stored, current), (Some(stored), Some(current)) if stored != current),
            );
        let Some((what, stored, current)) = changed else { return self.next_offset };
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
}
