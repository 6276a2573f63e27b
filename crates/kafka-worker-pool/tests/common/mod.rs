//! Brokers to test against and records to send.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses a part of this")]

pub mod counters;
mod recorder;

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_worker_pool::{Builder, GroupProtocol, Handle, KafkaWorkerPool, Options};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers as _, Message};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};

pub use recorder::{Recorder, Seen};

/// Runs a scenario on the embedded broker and, if `KAFKA_BROKERS` names one, on a real Kafka; on both group protocols.
#[macro_export]
macro_rules! on_all_brokers {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            use kafka_worker_pool::GroupProtocol;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded_broker_classic() {
                super::$scenario($crate::common::Broker::embedded(GroupProtocol::Classic)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded_broker_consumer() {
                super::$scenario($crate::common::Broker::embedded(GroupProtocol::Consumer)).await;
            }

            $crate::tests_on_real_kafka!($scenario);
        }
    )+ };
}

/// Runs a scenario on a real Kafka alone, on both group protocols: for what the embedded broker does not have.
#[macro_export]
macro_rules! on_real_kafka {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            use kafka_worker_pool::GroupProtocol;

            $crate::tests_on_real_kafka!($scenario);
        }
    )+ };
}

/// The part of the two above that they have in common, inside the module of a scenario.
#[macro_export]
macro_rules! tests_on_real_kafka {
    ($scenario:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn real_kafka_classic() {
            if let Some(broker) = $crate::common::Broker::real(GroupProtocol::Classic) {
                super::$scenario(broker).await;
            }
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn real_kafka_consumer() {
            if let Some(broker) = $crate::common::Broker::real(GroupProtocol::Consumer) {
                super::$scenario(broker).await;
            }
        }
    };
}

pub struct Broker {
    pub bootstrap: String,
    pub embedded: Option<EmbeddedBroker>,
    /// A consumer group of this test alone: tests share a real broker.
    pub group: String,
    protocol: GroupProtocol,
}

impl Broker {
    pub fn embedded(protocol: GroupProtocol) -> Self {
        show_logs();
        let embedded = EmbeddedBroker::start(&EmbeddedOptions::default()).unwrap();
        Self { bootstrap: embedded.bootstrap().to_owned(), embedded: Some(embedded), group: unique("g"), protocol }
    }

    pub fn real(protocol: GroupProtocol) -> Option<Self> {
        show_logs();
        let Some(bootstrap) = std::env::var("KAFKA_BROKERS").ok().filter(|brokers| !brokers.is_empty()) else {
            // The stream itself: the test harness holds back what a passing test prints.
            let written = writeln!(std::io::stderr(), "SKIPPED: KAFKA_BROKERS is not set");
            assert!(written.is_ok(), "stderr takes a line");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "skipped where CI=true");
            return None;
        };
        Some(Self { bootstrap, embedded: None, group: unique("g"), protocol })
    }

    /// A topic of a name not used before.
    pub async fn topic(&self, partitions: i32) -> String {
        let name = unique("t");
        self.create(&name, partitions).await;
        name
    }

    /// True where a clean rebalance may double work: the embedded broker refuses commits while a classic group rebalances, also those that
    /// a real one takes.
    pub fn may_double(&self) -> bool {
        self.embedded.is_some() && self.protocol == GroupProtocol::Classic
    }

    pub async fn create(&self, name: &str, partitions: i32) {
        if let Some(embedded) = &self.embedded {
            embedded.create_topic(name, partitions).unwrap();
            return;
        }
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().unwrap();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let created = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
        created[0].as_ref().unwrap();
    }

    /// A topic with these properties, on a real Kafka.
    pub async fn topic_with(&self, partitions: i32, properties: &[(&str, &str)]) -> String {
        let name = unique("t");
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().unwrap();
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let topic = properties.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let created = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
        created[0].as_ref().unwrap();
        name
    }

    /// The offset the group has committed for a partition, if it has.
    pub async fn committed(&self, topic: &str, partition: i32) -> Option<i64> {
        self.commit_of(topic, partition).await.map(|(offset, _)| offset)
    }

    /// What is committed, and what stands beside it.
    pub async fn commit_of(&self, topic: &str, partition: i32) -> Option<(i64, String)> {
        let (consumer, topic) = (self.consumer_of_group(), topic.to_owned());
        let asked = move || {
            let mut list = rdkafka::TopicPartitionList::new();
            list.add_partition(&topic, partition);
            let found = consumer.committed_offsets(list, Duration::from_secs(10)).unwrap();
            match found.elements()[0].offset() {
                rdkafka::Offset::Offset(offset) => Some((offset, rdkafka_ext::commit_metadata(&found).remove(0))),
                _ => None,
            }
        };
        tokio::task::spawn_blocking(asked).await.unwrap()
    }

    /// Commits as another tool does, while the group has no members.
    pub async fn commit(&self, topic: &str, partition: i32, offset: i64, metadata: &str) {
        let (consumer, topic, metadata) = (self.consumer_of_group(), topic.to_owned(), metadata.to_owned());
        let commit = move || {
            let mut list = rdkafka::TopicPartitionList::new();
            let mut element = list.add_partition(&topic, partition);
            element.set_offset(rdkafka::Offset::Offset(offset)).unwrap();
            if !metadata.is_empty() {
                element.set_metadata(metadata);
            }
            consumer.commit(&list, rdkafka::consumer::CommitMode::Sync).unwrap();
        };
        tokio::task::spawn_blocking(commit).await.unwrap();
    }

    /// A consumer that asks and commits in the group's name and does not join it.
    fn consumer_of_group(&self) -> BaseConsumer {
        ClientConfig::new().set("bootstrap.servers", &self.bootstrap).set("group.id", &self.group).create().unwrap()
    }

    /// Deletes a topic of a real Kafka and makes it anew.
    pub async fn make_anew(&self, topic: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().unwrap();
        admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(40);
        loop {
            // Until the deletion is through there is such a topic.
            let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
            match &admin.create_topics([&new], &AdminOptions::new()).await.unwrap()[0] {
                Ok(_) => return,
                Err((_, code)) => assert!(std::time::Instant::now() < deadline, "{topic}: {code}"),
            }
        }
    }

    pub fn options(&self) -> Options {
        let mut options = Options::default();
        options.protocol = self.protocol;
        options.fetch_wait_max_ms = 10;
        if self.embedded.is_some() {
            // The embedded broker rebalances a classic group only after a session timeout.
            options.session_timeout_ms = 2_000;
            options.heartbeat_interval_ms = 300;
        }
        options.backoff.first = Duration::from_millis(5);
        options.circuit.first = Duration::from_millis(20);
        options
    }

    pub fn pool(&self, topic: &str) -> Builder<()> {
        KafkaWorkerPool::builder(&self.bootstrap, &self.group).topics([topic]).options(self.options())
    }

    /// A pool of another group.
    pub fn pool_of(&self, group: &str, topic: &str) -> Builder<()> {
        KafkaWorkerPool::builder(&self.bootstrap, group).topics([topic]).options(self.options())
    }

    /// As [`send`](Self::send), with timestamps in milliseconds since 1970.
    pub async fn send_at(&self, topic: &str, numbers: std::ops::Range<u64>, keys: u64, at_ms: impl Fn(u64) -> i64) {
        let records = numbers.map(|number| (format!("k{}", number % keys), number.to_string(), Some(at_ms(number))));
        self.produce(topic, records.collect()).await;
    }

    /// Sends `count` records: record `n` has key `k<n % keys>` and value `n`.
    pub async fn send(&self, topic: &str, numbers: std::ops::Range<u64>, keys: u64) {
        let records = numbers.map(|number| (format!("k{}", number % keys), number.to_string()));
        self.send_all(topic, records.collect()).await;
    }

    pub async fn send_all(&self, topic: &str, records: Vec<(String, String)>) {
        self.produce(topic, records.into_iter().map(|(key, value)| (key, value, None)).collect()).await;
    }

    async fn produce(&self, topic: &str, records: Vec<(String, String, Option<i64>)>) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .create()
            .unwrap();
        let mut acks = vec![];
        for (key, value, at_ms) in &records {
            let mut record = FutureRecord::to(topic).key(key).payload(value);
            record.timestamp = *at_ms;
            acks.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
        }
        for ack in acks {
            ack.await.unwrap().map_err(|(error, _)| error).unwrap();
        }
    }

    /// Sends one record to each of a topic's partitions: that of partition `n` has value `n`.
    pub async fn send_to_each(&self, topic: &str, partitions: i32) {
        let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().unwrap();
        for partition in 0..partitions {
            let value = partition.to_string();
            let record = FutureRecord::to(topic).partition(partition).key(&value).payload(&value);
            producer.send(record, Duration::from_secs(10)).await.unwrap();
        }
    }

    /// Sends `count` records one after the other, as [`send`](Self::send) makes them, and tells when each was sent.
    pub async fn send_paced(
        &self,
        topic: &str,
        count: u64,
        keys: u64,
        pause: Duration,
    ) -> Vec<(u64, std::time::Instant)> {
        let producer: FutureProducer =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).set("linger.ms", "0").create().unwrap();
        let mut clock = tokio::time::interval(pause);
        let (mut sent, mut acks) = (vec![], vec![]);
        for number in 0..count {
            clock.tick().await;
            let (key, value) = (format!("k{}", number % keys), number.to_string());
            sent.push((number, std::time::Instant::now()));
            let record = FutureRecord::to(topic).key(&key).payload(&value);
            acks.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
        }
        for ack in acks {
            ack.await.unwrap().map_err(|(error, _)| error).unwrap();
        }
        sent
    }

    /// The offsets a partition has, up to its end.
    pub async fn offsets(&self, topic: &str, partition: i32) -> Vec<i64> {
        let (bootstrap, topic) = (self.bootstrap.clone(), topic.to_owned());
        let read = move || {
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", bootstrap)
                .set("group.id", format!("reader-of-{topic}"))
                .set("enable.partition.eof", "true")
                .set("fetch.wait.max.ms", "10")
                .create()
                .unwrap();
            let mut list = rdkafka::TopicPartitionList::new();
            list.add_partition_offset(&topic, partition, rdkafka::Offset::Beginning).unwrap();
            consumer.assign(&list).unwrap();
            let mut found = vec![];
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while std::time::Instant::now() < deadline {
                match consumer.poll(Duration::from_millis(100)) {
                    Some(Ok(message)) => found.push(message.offset()),
                    Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return found,
                    Some(Err(error)) => panic!("{error}"),
                    None => {}
                }
            }
            panic!("no end of {topic}[{partition}] after {} records", found.len());
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    /// All records of a topic as (key, headers), once there are `count`.
    pub async fn read(&self, topic: &str, count: usize) -> Vec<(String, BTreeMap<String, String>)> {
        let bootstrap = self.bootstrap.clone();
        let topic = topic.to_owned();
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", &bootstrap)
                .set("group.id", format!("reader-of-{topic}"))
                .set("auto.offset.reset", "earliest")
                .create()
                .unwrap();
            let metadata = consumer.fetch_metadata(Some(&topic), Duration::from_secs(10)).unwrap();
            let mut list = rdkafka::TopicPartitionList::new();
            for partition in metadata.topics()[0].partitions() {
                list.add_partition_offset(&topic, partition.id(), rdkafka::Offset::Beginning).unwrap();
            }
            consumer.assign(&list).unwrap();
            let mut found = vec![];
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while found.len() < count {
                assert!(std::time::Instant::now() < deadline, "only {} of {count} in {topic}", found.len());
                if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                    let message = message.unwrap();
                    let headers = message.headers().map(|headers| {
                        headers
                            .iter()
                            .map(|header| {
                                let value = header.value.unwrap_or_default();
                                (header.key.to_owned(), String::from_utf8_lossy(value).into_owned())
                            })
                            .collect()
                    });
                    let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
                    found.push((key, headers.unwrap_or_default()));
                }
            }
            found
        })
        .await
        .unwrap()
    }
}

/// Logs of a failing test, as `RUST_LOG` says.
fn show_logs() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    // Another test of this process may have been first.
    tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init().ok();
}

fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{prefix}-{}-{}", now.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}
/// Waits for a condition, at most 40 s.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(40);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "did not come true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for the first assignment, at most 40 s.
pub async fn ready(pool: &Handle) {
    tokio::time::timeout(Duration::from_secs(40), pool.ready())
        .await
        .unwrap_or_else(|_| panic!("no assignment: {:?}", pool.status()))
        .unwrap();
}

/// Each number of the range, and each key's first sights in rising order without a gap, where `keys` was given to `send`.
pub fn assert_all_and_in_order(seen: &[u64], numbers: std::ops::Range<u64>, keys: u64) {
    let mut next: HashMap<u64, u64> = HashMap::new();
    for &number in seen {
        let next = next.entry(number % keys).or_insert(number % keys);
        assert!(number <= *next, "{number} came before {next}");
        if number == *next {
            *next += keys;
        }
    }
    let seen: std::collections::BTreeSet<u64> = seen.iter().copied().collect();
    assert_eq!(seen.len() as u64, numbers.end - numbers.start, "lost, or from elsewhere");
}

/// Each number of the range once, and each key's in rising order.
pub fn assert_once_and_in_order(seen: &[Seen], numbers: std::ops::Range<u64>) {
    let mut sorted: Vec<u64> = seen.iter().map(|seen| seen.number).collect();
    sorted.sort_unstable();
    let doubled: Vec<_> = sorted.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    assert!(doubled.is_empty(), "{} doubled, the first {:?}", doubled.len(), doubled.first());
    let lost: Vec<_> = numbers.clone().filter(|number| sorted.binary_search(number).is_err()).collect();
    assert!(lost.is_empty(), "{} lost, the first {:?}", lost.len(), lost.first());
    assert_eq!(sorted.len() as u64, numbers.end - numbers.start, "records from elsewhere");
    let mut last: HashMap<&str, u64> = HashMap::new();
    for record in seen {
        if let Some(before) = last.insert(&record.key, record.number) {
            assert!(before < record.number, "{}: {} after {before}", record.key, record.number);
        }
    }
}
