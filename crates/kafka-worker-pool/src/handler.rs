//! The user's side of the pool: what a handler is, and what its answers mean. Knows nothing of lanes, offsets or Kafka's client.

use std::future::Future;
use std::sync::Arc;

pub use worker_pool::{BoxError, HandlerError};

use crate::blocking::BlockingHandler;
use crate::record::Record;

/// Applies records. One value serves all lanes at once.
///
/// A call gets 1 to `max_batch` records of one lane: of any number of keys and partitions, each key's records in their order. `Ok` means
/// all of them are done for good (committed, if there is a transaction). An error means none of them is: the pool splits the batch and
/// calls again until the culprit stands alone; only then does a failure count as an attempt of that record.
///
/// Cancellation: the future is dropped when the handler's timeout passes (unless `OnTimeout::Await` is chosen) and when a stop reaches its
/// deadline. When a revoke does, it runs on and its outcome is ignored, while another member begins the same records. A handler that
/// owns a transaction runs it in a task of its own, joins it, and chooses `OnTimeout::Await`.
///
/// The future must yield: a poll that takes longer than 10 ms holds up its whole lane, and is counted and warned of. For handlers that do
/// not there is [`blocking`](crate::blocking).
pub trait Handler: Send + Sync + 'static {
    /// Applies one batch.
    fn handle(&self, batch: &[Record]) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// For handlers that block, see [`blocking`](crate::blocking): `Some` makes the pool call this on its blocking threads, and never
    /// `handle`. Asked at the start and at every call. A handler that wraps another passes it on.
    fn as_blocking(&self) -> Option<&dyn BlockingHandler> {
        None
    }
}

impl<H: Handler> Handler for Arc<H> {
    fn handle(&self, batch: &[Record]) -> impl Future<Output = Result<(), HandlerError>> + Send {
        H::handle(self, batch)
    }

    fn as_blocking(&self) -> Option<&dyn BlockingHandler> {
        H::as_blocking(self)
    }
}

/// A handler from a function of one record. Use it with `max_batch` 1 (the default); in a larger batch it takes the records in turn.
///
/// ```
/// let handler = kafka_worker_pool::each(|record: kafka_worker_pool::Record| async move {
///     tracing::info!(offset = record.offset, "seen");
///     Ok(())
/// });
/// ```
pub fn each<F, Fut>(function: F) -> Each<F>
where
    F: Fn(Record) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), HandlerError>> + Send,
{
    Each(function)
}

/// What [`each`] returns.
#[derive(Debug, Clone)]
pub struct Each<F>(F);

impl<F, Fut> Handler for Each<F>
where
    F: Fn(Record) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), HandlerError>> + Send,
{
    async fn handle(&self, batch: &[Record]) -> Result<(), HandlerError> {
        for record in batch {
            (self.0)(record.clone()).await?;
        }
        Ok(())
    }
}
