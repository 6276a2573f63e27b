//! The argument groups of those who talk to Kafka: the client, and the worker pool behind a consumer.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::args::refuse_no_time;
use super::redact::is_secret_key;
use super::{Problems, ShutdownArgs, parse_duration};

/// Which consumer group protocol to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GroupProtocolArg {
    /// KIP-848 where the broker offers it, else classic.
    Auto,
    /// KIP-848 (Kafka 4.0 and later).
    Consumer,
    /// Classic with cooperative-sticky assignment.
    Classic,
}

/// One librdkafka property, `key=value`. Debug and Display hide the value of secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaProperty {
    /// The property's name, e.g. `security.protocol`.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl FromStr for KafkaProperty {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned() })
            }
            _ => Err("a client property is written key=value, e.g. security.protocol=SSL".to_owned()),
        }
    }
}

impl std::fmt::Debug for KafkaProperty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = if is_secret_key(&self.key) { "***" } else { &self.value };
        write!(f, "{}={value}", self.key)
    }
}

/// The Kafka client.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaArgs {
    /// Brokers to start from, separated by commas.
    #[arg(
        long = "kafka-brokers",
        env = "CTMS_KAFKA_BROKERS",
        value_name = "HOST:PORT,…",
        default_value = "127.0.0.1:9092"
    )]
    pub kafka_brokers: String,
    /// Topic of the project events.
    #[arg(long = "kafka-topic", env = "CTMS_KAFKA_TOPIC", value_name = "TOPIC", default_value = contracts::topics::PROJECT_EVENTS)]
    pub kafka_topic: String,
    /// Consumer group protocol.
    #[arg(long = "kafka-group-protocol", env = "CTMS_KAFKA_GROUP_PROTOCOL", value_enum, default_value_t = GroupProtocolArg::Auto)]
    pub kafka_group_protocol: GroupProtocolArg,
    /// Further librdkafka property; repeat it, or separate with commas in the environment.
    #[arg(long = "kafka-property", env = "CTMS_KAFKA_PROPERTY", value_name = "KEY=VALUE", value_delimiter = ',')]
    pub kafka_property: Vec<KafkaProperty>,
    /// File with one KEY=VALUE a line (for secrets such as sasl.password); `#` starts a comment.
    #[arg(long = "kafka-property-file", env = "CTMS_KAFKA_PROPERTY_FILE", value_name = "FILE")]
    pub kafka_property_file: Option<PathBuf>,
}

impl KafkaArgs {
    /// All further properties: those of the file first, so that a flag replaces them.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it is no `key=value`; names the file and the line's number, never the line.
    pub fn properties(&self) -> Result<Vec<(String, String)>, String> {
        let mut properties = Vec::new();
        if let Some(path) = &self.kafka_property_file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                format!("cannot read {}: {error}; check the path and its permissions", path.display())
            })?;
            for (index, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let property: KafkaProperty =
                    line.parse().map_err(|error| format!("{} line {}: {error}", path.display(), index + 1))?;
                properties.push((property.key, property.value));
            }
        }
        properties.extend(self.kafka_property.iter().map(|p| (p.key.clone(), p.value.clone())));
        Ok(properties)
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        for broker in self.kafka_brokers.split(',') {
            let port = broker
                .trim()
                .rsplit_once(':')
                .and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok()).flatten());
            if port.is_none_or(|port| port == 0) {
                problems.add(
                    "kafka-brokers",
                    format!("{broker:?} is no HOST:PORT"),
                    "write e.g. kafka:9092, several with commas",
                );
            }
        }
        if self.kafka_topic.is_empty() {
            problems.add("kafka-topic", "it is empty", format!("the default is {}", contracts::topics::PROJECT_EVENTS));
        }
        if let Err(wrong) = self.properties() {
            problems.add("kafka-property-file", wrong, "write one key=value a line");
        }
        for property in &self.kafka_property {
            if property.key.starts_with("enable.auto.")
                || property.key == "group.id"
                || property.key == "bootstrap.servers"
            {
                problems.add(
                    "kafka-property",
                    format!("{} is set by the service itself", property.key),
                    "remove it: delivery guarantees depend on it (brokers: --kafka-brokers)",
                );
            }
        }
    }
}

/// Transactions at once of a service that reacts, unless `--pool-workers` says otherwise. More would only wait for each other in the database,
/// in smaller batches: what waits for a worker is handled together.
pub const POOL_WORKERS: usize = 4;

/// The bounded worker pool behind a consumer.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Worker pool")]
pub struct PoolArgs {
    /// Batches handled at once, each in a transaction of its own.
    #[arg(long = "pool-workers", env = "CTMS_POOL_WORKERS", value_name = "N", default_value_t = POOL_WORKERS)]
    pub pool_workers: usize,
    /// Records waiting at most; beyond it fetching stops.
    #[arg(long = "pool-queue-capacity", env = "CTMS_POOL_QUEUE_CAPACITY", value_name = "N", default_value_t = 8_192)]
    pub pool_queue_capacity: usize,
    /// Bytes of waiting records at most; beyond it fetching stops.
    #[arg(
        long = "pool-buffer-bytes",
        env = "CTMS_POOL_BUFFER_BYTES",
        value_name = "BYTES",
        default_value_t = 33_554_432
    )]
    pub pool_buffer_bytes: usize,
    /// Records in one handler call, that is in one transaction.
    #[arg(long = "pool-max-batch", env = "CTMS_POOL_MAX_BATCH", value_name = "N", default_value_t = 256)]
    pub pool_max_batch: usize,
    /// Attempts before a record becomes a dead letter.
    #[arg(long = "pool-max-attempts", env = "CTMS_POOL_MAX_ATTEMPTS", value_name = "N", default_value_t = 5)]
    pub pool_max_attempts: u32,
    /// Longest time of one handler call; keep it above --database-transaction-timeout.
    #[arg(long = "pool-handler-timeout", env = "CTMS_POOL_HANDLER_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub pool_handler_timeout: Duration,
    /// Time to finish what is in flight when partitions leave or the service stops.
    #[arg(long = "pool-drain-timeout", env = "CTMS_POOL_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub pool_drain_timeout: Duration,
}

impl PoolArgs {
    /// Adds everything impossible; call it from [`super::ServiceConfig::check`].
    pub fn check(&self, base: &super::BaseArgs, problems: &mut Problems) {
        problems.refuse_zero("pool-workers", self.pool_workers as u64);
        problems.refuse_zero("pool-queue-capacity", self.pool_queue_capacity as u64);
        problems.refuse_zero("pool-buffer-bytes", self.pool_buffer_bytes as u64);
        problems.refuse_zero("pool-max-batch", self.pool_max_batch as u64);
        problems.refuse_zero("pool-max-attempts", u64::from(self.pool_max_attempts));
        refuse_no_time(problems, "pool-handler-timeout", self.pool_handler_timeout);
        refuse_no_time(problems, "pool-drain-timeout", self.pool_drain_timeout);
        let ShutdownArgs { shutdown_grace } = base.shutdown;
        if self.pool_drain_timeout >= shutdown_grace {
            problems.add(
                "pool-drain-timeout",
                format!("{:?} leaves nothing of --shutdown-grace {shutdown_grace:?}", self.pool_drain_timeout),
                "make the grace longer than the drain, or offsets are never committed",
            );
        }
        let transaction = base.database.database_transaction_timeout;
        if transaction >= self.pool_handler_timeout {
            problems.add(
                "pool-handler-timeout",
                format!("{:?} is not above --database-transaction-timeout {transaction:?}", self.pool_handler_timeout),
                "a timed-out attempt is over only when its transaction is: make it longer",
            );
        }
    }
}
