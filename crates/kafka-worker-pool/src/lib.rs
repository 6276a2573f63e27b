//! Kafka records into a bounded worker pool.

mod builder;
mod errors;
mod handle;
mod handler;
mod kafka_letters;
mod letters;
mod options;
mod positions;
mod record;
mod report;

pub use builder::{Builder, KafkaWorkerPool};
pub use errors::{PoolError, StartError, StopError};
pub use handle::{Handle, Monitor};
pub use handler::{BoxError, Each, Handler, HandlerError, each};
pub use kafka_letters::KafkaDeadLetters;
pub use letters::{DeadLetter, DeadLetterSink};
pub use options::{Backoff, GroupProtocol, OnTimeout, Options, Order, Start};
pub use positions::{EARLIEST, PositionStore};
pub use record::{Headers, Record, TopicPartition};
pub use report::{CircuitState, Held, Phase, RunReport, Status};
