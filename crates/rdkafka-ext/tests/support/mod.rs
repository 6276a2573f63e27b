//! A group member whose partitions flow into a shared queue, and a producer, both for an embedded broker.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "a module of test binaries, which export nothing")]

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientContext, TopicPartitionList};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions, NativeMessage, QueueHandle, SharedQueue};

/// No wait in a test is longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn broker(topics: &[(&str, i32)]) -> EmbeddedBroker {
    let topics = topics.iter().map(|(topic, partitions)| ((*topic).to_owned(), *partitions)).collect();
    EmbeddedBroker::start(&EmbeddedOptions { topics, ..EmbeddedOptions::default() }).unwrap()
}

/// Waits until `met` answers with something.
pub fn eventually<T>(what: &str, mut met: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = met() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

pub fn producer(bootstrap: &str) -> BaseProducer {
    producer_with(bootstrap, &[])
}

pub fn producer_with(bootstrap: &str, settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("linger.ms", "0").set("enable.idempotence", "true");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

/// Sends records `0..count` to `partition` and waits until all are stored.
pub fn produce(producer: &BaseProducer, topic: &str, partition: i32, count: usize) {
    for number in 0..count {
        let (key, value) = (format!("key-{number}"), format!("{partition}/{number}"));
        let headers = OwnedHeaders::new().insert(Header { key: "ce_id", value: Some(&value) });
        let record = BaseRecord::to(topic).partition(partition).key(&key).payload(&value).headers(headers);
        producer.send(record).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
}

#[derive(Default)]
pub struct Context {
    queue: OnceLock<QueueHandle>,
    pub assigned: AtomicUsize,
    pub leaked: AtomicUsize,
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            let queue = self.queue.get().expect("set before subscribe");
            for partition in partitions.elements() {
                queue.forward_partition(consumer, partition.topic(), partition.partition()).unwrap();
            }
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => self.assigned.fetch_add(partitions.count(), Ordering::SeqCst),
            Rebalance::Revoke(partitions) => self.assigned.fetch_sub(partitions.count(), Ordering::SeqCst),
            Rebalance::Error(cause) => panic!("{cause}"),
        };
    }
}

pub fn consumer_config(bootstrap: &str, group: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.offset.store", "false")
        .set("fetch.wait.max.ms", "10");
    if settings.iter().all(|(name, _)| *name != "group.protocol") {
        config.set("session.timeout.ms", "2000").set("heartbeat.interval.ms", "200");
        config.set("partition.assignment.strategy", "cooperative-sticky");
    }
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

/// A member with its event thread.
pub struct Member {
    pub queue: SharedQueue<Context>,
    pub consumer: Arc<BaseConsumer<Context>>,
    stop: Arc<AtomicBool>,
    events: JoinHandle<()>,
}

impl Member {
    pub fn join(bootstrap: &str, group: &str, topics: &[&str], settings: &[(&str, &str)]) -> Self {
        let config = consumer_config(bootstrap, group, settings);
        let consumer: Arc<BaseConsumer<Context>> = Arc::new(config.create_with_context(Context::default()).unwrap());
        let queue = SharedQueue::new(Arc::clone(&consumer)).unwrap();
        assert!(consumer.context().queue.set(queue.handle()).is_ok(), "set once");
        consumer.subscribe(topics).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let events = thread::spawn({
            let (consumer, stop) = (Arc::clone(&consumer), Arc::clone(&stop));
            move || {
                let poll = || {
                    if let Some(Ok(_)) = consumer.poll(Duration::from_millis(10)) {
                        consumer.context().leaked.fetch_add(1, Ordering::SeqCst);
                    }
                };
                while !stop.load(Ordering::SeqCst) {
                    poll();
                }
                consumer.close_queue().unwrap();
                while !consumer.closed() {
                    poll();
                }
            }
        });
        Self { queue, consumer, stop, events }
    }

    pub fn assigned(&self) -> usize {
        self.consumer.context().assigned.load(Ordering::SeqCst)
    }

    /// Takes messages in batches until there are `count`.
    pub fn take(&self, count: usize) -> Vec<NativeMessage> {
        let mut messages = Vec::new();
        eventually("messages from the shared queue", || {
            if self.queue.consume_batch(512, &mut messages) == 0 {
                messages.extend(self.queue.consume_one(Duration::from_millis(10)));
            }
            (messages.len() >= count).then_some(())
        });
        messages
    }

    /// Commits what was stored, leaves the group, and drops everything in the order the library wants. Returns how many
    /// records came out of the consumer's own queue.
    pub fn leave(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.events.join().unwrap();
        drop(self.queue);
        let leaked = self.consumer.context().leaked.load(Ordering::SeqCst);
        assert!(Arc::into_inner(self.consumer).is_some(), "the queue was the only other owner");
        leaked
    }
}

pub fn partition_list(entries: &[(&str, i32, i64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in entries {
        list.add_partition_offset(topic, *partition, rdkafka::Offset::from_raw(*offset)).unwrap();
    }
    list
}

/// The real Kafka of the test run; without one, says aloud that the test is skipped, which is a failure where CI=true.
pub fn real_kafka() -> Option<String> {
    let brokers = std::env::var("KAFKA_BROKERS").ok().filter(|brokers| !brokers.is_empty());
    if brokers.is_none() {
        let why = "no Kafka: KAFKA_BROKERS is not set; `cargo xtask test` starts one";
        // The stream itself: the test harness would hold back what eprintln! writes in a test that passes.
        let written = writeln!(std::io::stderr(), "SKIPPED: {why}");
        assert!(written.is_ok(), "stderr takes a line");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "skipped where CI=true: {why}");
    }
    brokers
}
