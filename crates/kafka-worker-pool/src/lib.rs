//! Kafka records into a bounded worker pool: ordered by key, retried, given up only into durable hands, never lost.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kafka_worker_pool::{HandlerError, KafkaWorkerPool, Record, each};
//!
//! let pool = KafkaWorkerPool::builder("127.0.0.1:9092", "my-group")
//!     .topics(["orders"])
//!     .handler(each(|record: Record| async move {
//!         let value = record.value.ok_or_else(|| HandlerError::reject("no value"))?;
//!         tracing::info!(bytes = value.len(), "an order");
//!         Ok(())
//!     }))
//!     .start()?;
//! pool.ready().await?;
//! tokio::signal::ctrl_c().await?;
//! let report = pool.stop().await?;
//! # Ok(()) }
//! ```
//!
//! What can be relied on is in [`guide::guarantees`], each option in [`guide::tuning`], each metric in [`guide::metrics`]. Inside: an event thread
//! (`event_thread`, `rebalance`) talks to the group, a data thread (`data_thread`, `dispatch`) alone owns the books (`partitions`, `ledger`), lanes
//! of `worker-pool` run handlers, and `commits` brings positions to the store and to Kafka. This crate knows no domain: no event types, no
//! SQL.
#![warn(missing_docs)]

mod ahead;
mod blocking;
mod builder;
mod client;
mod commits;
mod context;
mod copy;
mod data_thread;
mod direct;
mod dispatch;
mod drain;
mod errors;
mod event_thread;
#[cfg(any(doc, doctest))]
pub mod guide;
mod handle;
mod handler;
#[cfg(feature = "json")]
mod json;
mod kafka_letters;
mod ledger;
mod letters;
mod lives;
mod meters;
pub mod migrate;
mod options;
mod partition;
mod partitions;
mod positions;
mod rebalance;
mod record;
mod report;
mod run;
mod shared;
mod source;
mod start;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod trace;
mod typed;
mod work;

pub use blocking::{Blocking, BlockingHandler, EachBlocking, blocking, blocking_batches};
pub use builder::{Builder, KafkaWorkerPool};
pub use errors::{PoolError, StartError, StopError};
pub use handle::{Handle, Monitor};
pub use handler::{BoxError, Each, Handler, HandlerError, each};
#[cfg(feature = "json")]
pub use json::{Json, JsonError, JsonOrNull, json, json_or_null};
pub use kafka_letters::KafkaDeadLetters;
pub use letters::{DeadLetter, DeadLetterSink};
pub use options::{AdaptiveConcurrency, Backoff, FailingCircuit, GroupProtocol, OnTimeout, Options, Order, Start};
pub use positions::{EARLIEST, PositionStore};
pub use record::{Headers, Record, TopicPartition};
pub use report::{CircuitState, Ended, Held, Phase, RunReport, Status};
pub use trace::TraceParent;
pub use typed::{Decode, Message, Typed, TypedHandler, decode};
pub use worker_pool::{Hold, OrFail, Reject, Retry, Unavailable};
