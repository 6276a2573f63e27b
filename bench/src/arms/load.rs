//! Creates the topic and fills it, at full speed or at a pace. Keys and their order are the same in every load.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};
use tokio::runtime;

use super::payload::Payloads;

const FLUSH_DEADLINE: Duration = Duration::from_secs(60);
/// How long the producer waits when its queue is full.
const FULL_WAIT: Duration = Duration::from_millis(5);

/// What to load.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadOptions {
    /// Kafka, as host:port.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) brokers: String,
    /// The topic; created if it is not there.
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    /// Its partitions when it is created.
    #[arg(long, default_value_t = 8)]
    pub(crate) partitions: i32,
    /// How many records; 0 only creates the topic.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) records: u64,
    /// Records per second; as fast as it goes by default.
    #[arg(long)]
    pub(crate) rate: Option<u32>,
    /// Each record has a key of its own, instead of one of 10,000.
    #[arg(long)]
    pub(crate) distinct_keys: bool,
}

pub(crate) fn load(options: &LoadOptions) -> Result<()> {
    create(options)?;
    if options.records == 0 {
        return Ok(());
    }
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("acks", "all")
        // A retry of one batch must not let a later one pass: the trials check the order.
        .set("enable.idempotence", "true")
        // As Java's producer places keys.
        .set("partitioner", "murmur2_random")
        .set("linger.ms", if options.rate.is_some() { "1" } else { "20" })
        .set("queue.buffering.max.messages", "200000")
        .set("batch.size", "262144");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().context("cannot make a producer")?;
    let start = Instant::now();
    let mut payloads = Payloads::new(options.distinct_keys);
    for id in 0..options.records {
        if let Some(rate) = options.rate {
            let due = Duration::from_nanos(id * 1_000_000_000 / u64::from(rate));
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        let (key, value) = payloads.next(id);
        send(&producer, &options.topic, &key, &value)?;
    }
    producer.flush(FLUSH_DEADLINE).context("not everything was acknowledged")
}

fn send(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, key: &str, value: &[u8]) -> Result<()> {
    let mut record = BaseRecord::to(topic).key(key).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                record = again;
                thread::sleep(FULL_WAIT);
            }
            Err((error, _)) => return Err(error).with_context(|| format!("cannot produce to {topic}")),
        }
    }
}

fn create(options: &LoadOptions) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.brokers);
    let admin: AdminClient<DefaultClientContext> = config.create().context("cannot make a Kafka client")?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let topic = NewTopic::new(&options.topic, options.partitions, TopicReplication::Fixed(1));
    let outcomes = runtime.block_on(admin.create_topics(&[topic], &AdminOptions::new())).context("cannot create")?;
    match outcomes.into_iter().next() {
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((topic, code))) => bail!("Kafka does not create {topic}: {code}"),
    }
}
