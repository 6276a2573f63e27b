//! Where a partition starts when it is assigned, and where its progress is kept, when the user keeps it: the trait, and what its answers
//! mean. Without a store Kafka's own commit decides.

use std::future::Future;
use std::sync::Arc;

use crate::handler::BoxError;
use crate::record::TopicPartition;

/// The position that means "the earliest record there is", for [`PositionStore::load`]: where a store finds that its own position belongs
/// to another cluster or another incarnation of the topic.
pub const EARLIEST: i64 = -2;

/// Keeps the next offset of each partition, normally in the same database as the effects.
///
/// Both positions, the store's and Kafka's commit, are lower bounds: every record below is done, records above may be. The pool saves
/// here first and commits to Kafka after, so that a database restored from an old backup reads again what it lost.
pub trait PositionStore: Send + Sync + 'static {
    /// The next offset to read for each partition asked for. `None`: start from Kafka's commit, and without one from `Options::start`.
    /// [`EARLIEST`]: the earliest record. An error is one of the environment: the assignment waits and asks again.
    fn load(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<Vec<(TopicPartition, Option<i64>)>, BoxError>> + Send;

    /// Stores positions. Called every `Options::save_interval` with what moved, and once more on revoke and stop. May go back only
    /// where the pool restarted a partition from its earliest record. An error keeps Kafka's commit back as well, and is tried again.
    fn save(&self, positions: &[(TopicPartition, i64)]) -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl<S: PositionStore> PositionStore for Arc<S> {
    fn load(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<Vec<(TopicPartition, Option<i64>)>, BoxError>> + Send {
        S::load(self, partitions)
    }

    fn save(&self, positions: &[(TopicPartition, i64)]) -> impl Future<Output = Result<(), BoxError>> + Send {
        S::save(self, positions)
    }
}
