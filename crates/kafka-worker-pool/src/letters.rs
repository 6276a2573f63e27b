//! Where a record goes that cannot be handled: the trait a durable place implements. The pool's own place is `KafkaDeadLetters`; a service
//! with a database gives one that commits the letter with its outbox.

use std::future::Future;
use std::sync::Arc;

use crate::handler::BoxError;
use crate::record::Record;

/// A record given up, with the reason.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    /// The record as it was read.
    pub record: &'a Record,
    /// The consumer group that gave it up.
    pub group: &'a str,
    /// The last failure, in words.
    pub cause: &'a str,
    /// How many times the handler tried it: at least 1.
    pub attempts: u32,
}

/// A durable place for dead letters.
///
/// `Ok` means durable: only then is the record done and its offset free to be committed. An error is taken as one of the environment:
/// the record's key waits and the letter is tried again until it succeeds, without end. It may be called again for a letter that was
/// stored but whose answer was lost (a stop at its deadline, a crash), so storing must be idempotent by topic, partition and offset.
/// The future is never dropped half-way except when a stop or revoke reaches its deadline.
pub trait DeadLetterSink: Send + Sync + 'static {
    /// Stores one letter.
    fn dead_letter(&self, letter: DeadLetter<'_>) -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl<S: DeadLetterSink> DeadLetterSink for Arc<S> {
    fn dead_letter(&self, letter: DeadLetter<'_>) -> impl Future<Output = Result<(), BoxError>> + Send {
        S::dead_letter(self, letter)
    }
}
