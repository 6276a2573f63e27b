//! The relay's settings.

use std::time::Duration;

/// How a relay works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayOptions {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// More properties of the Kafka client (security, compression); they win over ours, except those that the order of events rests on.
    pub client: Vec<(String, String)>,
    /// The rows read and sent at once.
    pub batch: u32,
    /// No more rows are read at once when their payloads have this many bytes: they are in memory until they are acknowledged.
    pub batch_bytes: u64,
    /// How often the outbox is looked at without being woken: another instance's commits arrive by this.
    pub poll: Duration,
    /// How long the lease lasts without being renewed: the pause after a relay was killed.
    pub lease: Duration,
    /// How long a stop waits for acknowledgements.
    pub grace: Duration,
    /// The name of the lease; one relay is active per name.
    pub shard: String,
    /// Who we are in the lease.
    pub owner: String,
}

impl RelayOptions {
    /// The defaults for these brokers.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client: Vec::new(),
            batch: 1_000,
            batch_bytes: 16 * 1024 * 1024,
            poll: Duration::from_millis(50),
            lease: Duration::from_secs(5),
            grace: Duration::from_secs(5),
            shard: "outbox".to_owned(),
            owner: super::owner::new(),
        }
    }
}
