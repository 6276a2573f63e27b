//! The gate's bounds and names.

use std::{sync::Arc, time::Duration};

use contracts::events::PROJECT_STARTED;

use super::identity::KafkaIdentity;

/// How one group's gate behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GateOptions {
    /// The consumer group; its name is part of the retry and dead-letter topics.
    pub group: String,
    /// The most records parked behind the gap of one stream; at the bound the partition stops. What comes from the retry topic has as much
    /// room again, here and in `max_parked_bytes`, so that what fills the gap is reached.
    pub max_parked_per_stream: u64,
    /// The most bytes parked in the whole service; at the bound the partition stops.
    pub max_parked_bytes: u64,
    /// The most parked records applied in one transaction.
    pub drain_batch: u32,
    /// Attempts of a parked record before it becomes a dead letter.
    pub max_attempts: u32,
    /// The wait after the first failed attempt of a parked record; it doubles.
    pub backoff: Duration,
    /// A gap older than this is reported.
    pub gap_alarm_after: Duration,
    /// Types whose effect happens once per stream, whatever form the event comes in.
    pub once_types: Vec<String>,
    /// Tells which cluster and which life of a topic an offset belongs to. None: positions carry no ids (the embedded broker has none).
    pub identity: Option<Arc<KafkaIdentity>>,
}

impl GateOptions {
    /// The defaults of the design for this group.
    #[must_use]
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            max_parked_per_stream: 10_000,
            max_parked_bytes: 64 * 1024 * 1024,
            drain_batch: 1_000,
            max_attempts: 5,
            backoff: Duration::from_millis(200),
            gap_alarm_after: Duration::from_secs(30),
            once_types: vec![PROJECT_STARTED.to_owned()],
            identity: None,
        }
    }
}
