//! An embedded broker, what is in its topics, and relays that run until they are told to stop.

use std::time::{Duration, Instant};

use kafka_worker_pool::{Headers, Record};
use outbox::{Relay, RelayError, RelayHandle, RelayOptions, db::Database};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{DLQ, RETRY, TOPIC};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A broker with one partition per topic, so that the order of everything shows.
pub(crate) fn broker() -> EmbeddedBroker {
    let topics = [TOPIC, RETRY, DLQ].map(|topic| (topic.to_owned(), 1)).into();
    EmbeddedBroker::start(&EmbeddedOptions { topics, ..EmbeddedOptions::default() }).unwrap()
}

/// Reads a topic from its beginning until `enough` records are there.
pub(crate) async fn read(broker: &EmbeddedBroker, topic: &'static str, enough: usize) -> Vec<Record> {
    let bootstrap = broker.bootstrap().to_owned();
    tokio::task::spawn_blocking(move || read_blocking(&bootstrap, topic, enough)).await.unwrap()
}

fn read_blocking(bootstrap: &str, topic: &'static str, enough: usize) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "test")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while records.len() < enough {
        assert!(Instant::now() < deadline, "{} of {enough} records of {topic} came within {PATIENCE:?}", records.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let headers: Vec<(String, Vec<u8>)> = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter())
            .filter_map(|header| header.value.map(|value| (header.key.to_owned(), value.to_vec())))
            .collect();
        records.push(Record {
            topic: topic.into(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(|key| key.to_vec().into()),
            value: message.payload().map(|value| value.to_vec().into()),
            headers: Headers::from_pairs(headers),
        });
    }
    records
}

pub(crate) fn event_ids(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(record.headers.get("ce_id").unwrap()).into_owned()).collect()
}

/// Topics of a real broker.
pub(crate) struct Topics {
    admin: AdminClient<DefaultClientContext>,
}

impl Topics {
    pub(crate) fn at(brokers: &str) -> Self {
        Self { admin: ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap() }
    }

    /// Creates it; a topic of the same name that is being deleted is waited for.
    pub(crate) async fn create(&self, topic: &str) {
        self.create_with(topic, &[]).await;
    }

    pub(crate) async fn create_with(&self, topic: &str, settings: &[(&str, &str)]) {
        until("the topic is created", async || {
            let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
            let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
            self.admin.create_topics([&new], &AdminOptions::new()).await.unwrap().remove(0).is_ok()
        })
        .await;
        until("the topic is there", async || self.describes(topic)).await;
    }

    pub(crate) async fn delete(&self, topic: &str) {
        self.admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        until("the topic is gone", async || !self.describes(topic)).await;
    }

    fn describes(&self, topic: &str) -> bool {
        rdkafka_ext::topic_ids(self.admin.inner(), &[topic], PATIENCE).is_ok()
    }
}

/// A relay in a task of its own.
pub(crate) struct Running {
    pub(crate) handle: RelayHandle,
    task: JoinHandle<Result<(), RelayError>>,
    stop: CancellationToken,
}

pub(crate) fn options(broker: &EmbeddedBroker) -> RelayOptions {
    let mut options = RelayOptions::new(broker.bootstrap());
    options.lease = Duration::from_secs(2);
    options
}

impl Running {
    pub(crate) fn start(db: &Database, options: RelayOptions) -> Self {
        let relay = Relay::new(db.clone(), options);
        let (handle, stop) = (relay.handle(), CancellationToken::new());
        Self { handle, task: tokio::spawn(relay.run(stop.clone())), stop }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the relay stops").unwrap().unwrap();
    }

    /// As a kill does: nothing is given up, nothing is marked.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
