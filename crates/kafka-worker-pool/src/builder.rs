//! Puts a pool together: what must be given is asked for by types, everything else has a default.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use bytes::Bytes;
use tokio::runtime;

use crate::client::consumer_config;
use crate::commits::AnyStore;
use crate::dispatch::KeyOf;
use crate::errors::StartError;
use crate::event_thread::EventThread;
use crate::handle::Handle;
use crate::handler::Handler;
use crate::kafka_letters::KafkaDeadLetters;
use crate::letters::DeadLetterSink;
use crate::options::{GroupProtocol, Options};
use crate::positions::PositionStore;
use crate::record::Record;
use crate::run::{Parts, run};
use crate::shared::Shared;
use crate::subscription::Subscription;
use crate::work::AnySink;

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
            key_of: None,
            sink: None,
            store: None,
        }
    }
}

/// A pool being put together.
#[must_use = "a pool runs only once it is started"]
pub struct Builder<H> {
    brokers: String,
    group: String,
    topics: Vec<String>,
    options: Options,
    handler: H,
    key_of: Option<KeyOf>,
    sink: Option<Arc<dyn AnySink>>,
    store: Option<Arc<dyn AnyStore>>,
}

impl<H> Builder<H> {
    /// The topics to read, by name or, beginning with `^`, by pattern: a regular expression as the crate `regex` reads it, without an end
    /// unless it says `$`. A topic the broker does not have yet is waited for. Records of one key are ordered across all of them.
    ///
    /// Patterns are matched every 5 s against all topics the user may see. They never take this group's own dead letters
    /// (`<topic>.<group>.dlq`), nor Kafka's own topics (`__…`) unless they begin with `^__`.
    ///
    /// ```
    /// # let builder = kafka_worker_pool::KafkaWorkerPool::builder("127.0.0.1:9092", "billing");
    /// builder.topics(["invoices", "^orders\\.[a-z]{2}$"])
    /// # ;
    /// ```
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// Tuning.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// What orders records under `Order::Key`, instead of the record's own key. Called on the pool's thread for every record: keep it
    /// short. A panic in it ends the pool.
    pub fn key(mut self, key_of: impl Fn(&Record) -> Bytes + Send + Sync + 'static) -> Self {
        self.key_of = Some(Arc::new(key_of));
        self
    }

    /// What applies records.
    pub fn handler<N: Handler>(self, handler: N) -> Builder<Arc<N>> {
        Builder {
            brokers: self.brokers,
            group: self.group,
            topics: self.topics,
            options: self.options,
            handler: Arc::new(handler),
            key_of: self.key_of,
            sink: self.sink,
            store: self.store,
        }
    }

    /// Where dead letters go. Default: [`KafkaDeadLetters`] on the same brokers.
    pub fn dead_letters(mut self, sink: impl DeadLetterSink) -> Self {
        self.sink = Some(Arc::new(sink));
        self
    }

    /// Where positions are kept. Default: Kafka's own commit alone.
    pub fn positions(mut self, store: impl PositionStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }
}

impl<H: Handler> Builder<Arc<H>> {
    /// For tests: the same pool over topics in memory, on the current tokio runtime. Brokers, topics and the group's protocol mean nothing
    /// there; dead letters are kept in memory, and go to the sink too if one is given.
    #[cfg(feature = "testing")]
    pub fn start_in_memory(self) -> Result<crate::testing::TestPool<H>, StartError> {
        self.options.check()?;
        let runtime = runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let Self { group, options, handler, key_of, sink, store, .. } = self;
        let parts = crate::testing::TestParts { group, options, handler, sink, store, key_of };
        Ok(crate::testing::TestPool::new(parts, &runtime))
    }

    /// Starts the pool on the current tokio runtime and returns at once; [`Handle::ready`] waits for the first assignment. Brokers that
    /// do not answer are no error: the pool waits for them.
    pub fn start(self) -> Result<Handle, StartError> {
        self.options.check()?;
        let named = [
            ("brokers", &self.brokers, "give host:port of one broker or more, comma separated"),
            ("group", &self.group, "give the consumer group a name"),
        ];
        if let Some((name, value, remedy)) = named.into_iter().find(|(_, value, _)| value.trim().is_empty()) {
            return Err(StartError::option(name, &format!("{value:?}"), remedy));
        }
        let subscription = Subscription::new(&self.topics, &self.group)?;
        let runtime = runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let protocol = match self.options.protocol {
            GroupProtocol::Consumer => "consumer",
            GroupProtocol::Classic | GroupProtocol::Auto => "classic",
        };
        // Made once here, so that a property librdkafka does not take is refused by the call that gave it.
        consumer_config(&self.brokers, &self.group, protocol, &self.options)
            .create_native_config()
            .map_err(|error| StartError::Client(error.to_string()))?;
        let sink = match self.sink {
            Some(sink) => sink,
            None => Arc::new(KafkaDeadLetters::new(&self.brokers, &self.options.client)?),
        };
        let (send_commands, commands) = channel();
        let shared = Arc::new(Shared::new(send_commands));
        let parts = Parts {
            events: EventThread {
                shared: Arc::clone(&shared),
                options: Arc::new(self.options),
                brokers: self.brokers,
                group: self.group.into(),
                subscription,
                runtime,
            },
            handler: self.handler,
            sink,
            store: self.store,
            key_of: self.key_of,
            commands,
        };
        let thread = thread::Builder::new()
            .name("pool-events".to_owned())
            .spawn(move || run(parts))
            .map_err(StartError::Thread)?;
        Ok(Handle::new(shared, thread))
    }
}

impl<H> fmt::Debug for Builder<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}
