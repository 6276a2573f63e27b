//! Handlers that block: on a disk, a lock, a C library, the CPU. They run on threads of the pool's own, by the rules of all handlers.

use std::future::{Future, ready};

use worker_pool::HandlerError;

use crate::handler::Handler;
use crate::record::Record;

/// Applies records and blocks while it does. One value serves all threads at once. Closures `Fn(&[Record]) -> Result<(), HandlerError>` are
/// such handlers.
pub trait BlockingHandler: Send + Sync + 'static {
    /// Applies one batch, as [`Handler::handle`] does, on one of the pool's blocking threads. The pool's tokio runtime is entered:
    /// `Handle::current().block_on(..)` works.
    fn handle_blocking(&self, batch: &[Record]) -> Result<(), HandlerError>;
}

impl<F> BlockingHandler for F
where
    F: Fn(&[Record]) -> Result<(), HandlerError> + Send + Sync + 'static,
{
    fn handle_blocking(&self, batch: &[Record]) -> Result<(), HandlerError> {
        self(batch)
    }
}

/// A handler from a function of one record that blocks: beside [`each`](crate::each), which is for those that yield. Use it with `max_batch` 1
/// (the default); in a larger batch it takes the records in turn.
///
/// Its calls run on threads of the pool's own: at most [`Options::blocking_threads`](crate::Options::blocking_threads) of them, each started
/// when it is first needed, all ended and joined at the stop. Order, batches, retries, dead letters, panics, revokes and drains are those
/// of every handler. What differs, because a thread cannot be interrupted:
///
/// - A call past `handler_timeout` is counted and warned of, and goes on. Its slot stays taken and its key waits, so two calls of one key never
///   overlap. When it ends its answer counts: late success is success, a late error is the failed attempt. `Options::on_timeout` has no say.
/// - A revoke or a stop waits for it up to `drain_timeout`. Past that it runs to its end and its outcome is ignored, while another member
///   begins the same record.
///
/// ```
/// let handler = kafka_worker_pool::blocking(|record: kafka_worker_pool::Record| {
///     std::fs::write(format!("/tmp/{}", record.offset), record.value.unwrap_or_default())
///         .map_err(kafka_worker_pool::HandlerError::retry)
/// });
/// ```
pub fn blocking<F>(function: F) -> Blocking<EachBlocking<F>>
where
    F: Fn(Record) -> Result<(), HandlerError> + Send + Sync + 'static,
{
    Blocking(EachBlocking(function))
}

/// As [`blocking`], for a handler that takes whole batches: up to `max_batch` records of any number of keys and partitions per call, all of
/// them done or none.
pub fn blocking_batches<H: BlockingHandler>(handler: H) -> Blocking<H> {
    Blocking(handler)
}

/// What [`blocking`] and [`blocking_batches`] return.
#[derive(Debug, Clone)]
pub struct Blocking<H>(H);

impl<H: BlockingHandler> Handler for Blocking<H> {
    /// Blocks whoever calls it. The pool does not: it takes [`as_blocking`](Handler::as_blocking).
    fn handle(&self, batch: &[Record]) -> impl Future<Output = Result<(), HandlerError>> + Send {
        ready(self.0.handle_blocking(batch))
    }

    fn as_blocking(&self) -> Option<&dyn BlockingHandler> {
        Some(&self.0)
    }
}

/// One record at a time.
#[derive(Debug, Clone)]
pub struct EachBlocking<F>(F);

impl<F> BlockingHandler for EachBlocking<F>
where
    F: Fn(Record) -> Result<(), HandlerError> + Send + Sync + 'static,
{
    fn handle_blocking(&self, batch: &[Record]) -> Result<(), HandlerError> {
        batch.iter().try_for_each(|record| (self.0)(record.clone()))
    }
}
