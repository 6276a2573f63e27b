//! Everything that can be set, with its default and its unit. Values that cannot work are refused at start, with the remedy.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::errors::StartError;
use crate::record::TopicPartition;
pub use worker_pool::{AdaptiveConcurrency, Backoff, FailingCircuit, OnTimeout};

/// Which records may not swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Order {
    /// Records of one key run one after the other, across all topics of the pool. A record without a key is ordered by its partition.
    #[default]
    Key,
    /// Records of one partition run one after the other.
    Partition,
    /// No order: every record stands for itself.
    Unordered,
}

/// How the group divides its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum GroupProtocol {
    /// KIP-848 where the broker offers it, else classic.
    #[default]
    Auto,
    /// KIP-848 (`group.protocol=consumer`, Kafka 4.0 or newer). The session timeout is the broker's.
    Consumer,
    /// The classic protocol with the cooperative-sticky assignor.
    Classic,
}

/// Where a partition starts for which neither a store nor Kafka has a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// At the earliest record.
    #[default]
    Earliest,
    /// At the end: only records written after the assignment. Records written before it are skipped.
    Latest,
    /// At the first record written at this time or later, by the records' timestamps; at the end where there is none. An embedded broker
    /// knows no times: there it is [`Start::Earliest`].
    Timestamp {
        /// Milliseconds since 1970.
        ms: i64,
    },
}

/// Tuning of a pool. `Options::default()` suits a service; change fields as needed:
///
/// ```
/// let mut options = kafka_worker_pool::Options::default();
/// options.max_batch = 64;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Handler calls in flight at once, over all lanes. Default 64.
    pub workers: usize,
    /// Threads for a handler that blocks, see [`blocking`](crate::blocking): no more of its calls than that at once, rounded up to a multiple
    /// of `lanes`. `None` (the default): one for each of `workers`, 512 at most.
    pub blocking_threads: Option<usize>,
    /// Lanes; each is one task. Default: one per core.
    pub lanes: usize,
    /// Records taken from Kafka and not yet done. Default 8,192.
    pub queue_capacity: usize,
    /// Bytes of records held: half for those taken and not done, half for librdkafka's fetch queues. Default 64 MiB.
    pub buffer_bytes: usize,
    /// Records of one key not yet done; at the cap the partition of its next record alone stops until half are done. Default 1,024; never
    /// more than a quarter of `queue_capacity`, so that one key cannot fill the pool.
    pub key_backlog: usize,
    /// Records a handler may get in one call. Default 1.
    pub max_batch: usize,
    /// Attempts of one record before it becomes a dead letter. Default 5.
    pub max_attempts: u32,
    /// The wait between attempts of one record. Default 100 ms doubling to 10 s, with jitter.
    pub backoff: Backoff,
    /// The pause after an error of the environment. Default 100 ms doubling to 5 s, with jitter.
    pub circuit: Backoff,
    /// Lets the number of handler calls at once follow how long they take, between bounds, so that a database that slows down is not drowned.
    /// Default: `None`, `workers` alone bounds them. `Some(AdaptiveConcurrency::default())` is a start.
    pub adaptive: Option<AdaptiveConcurrency>,
    /// Stops the pool while every attempt of every key fails, and lets one call in a while try: instead of a topic that turns into dead
    /// letters. Default: `None`, each failing record goes its own way. `Some(FailingCircuit::default())` is a start.
    pub failing_circuit: Option<FailingCircuit>,
    /// While handler calls end at once and take no longer than this on average, the pool makes them on the thread that takes records from
    /// Kafka, one after the other, because giving a record to another core would cost more. Zero: never; for a handler that now and then
    /// blocks though most of its calls take nanoseconds. Default 800 ns.
    pub direct_below: Duration,
    /// How long a handler call may take. Default 30 s.
    pub handler_timeout: Duration,
    /// What happens to a call past its timeout. Default: it is dropped. One that blocks is always awaited.
    pub on_timeout: OnTimeout,
    /// How long a revoke or a stop waits for records in hand. Keep it under half of `max.poll.interval.ms`. Default 10 s.
    pub drain_timeout: Duration,
    /// Which records may not swap.
    pub order: Order,
    /// How the group divides its partitions.
    pub protocol: GroupProtocol,
    /// Classic only: how long a silent member keeps its partitions. Default 10,000 ms.
    pub session_timeout_ms: u32,
    /// Classic only: how often a member shows life. Default 3,000 ms.
    pub heartbeat_interval_ms: u32,
    /// How long the broker waits for records before it answers a fetch empty: what an idle pool asks again after, and what a
    /// partition that is new or resumed may have to wait. Default 100 ms.
    pub fetch_wait_max_ms: u32,
    /// How often positions that moved are committed to Kafka: what a killed process did since is done again. Default 200 ms.
    pub commit_interval_ms: u32,
    /// Bytes that may stand beside each committed offset, in its metadata, to say which records above it are done: a new assignment does
    /// not hand those out again. Zero: none, and what others wrote there is not read. Nothing is written or read where a `PositionStore`
    /// is given, or on brokers whose topics have no id (older than 2.8). Default 4,096, which is Kafka's `offset.metadata.max.bytes`.
    pub commit_metadata_bytes: usize,
    /// How often positions go to the `PositionStore`, if one is given. Default 250 ms.
    pub save_interval: Duration,
    /// Where a partition without any position starts. What is chosen is kept at once, as a position like any other: a restart before the
    /// first record does not choose again.
    pub start: Start,
    /// Offsets at which these partitions start where they have no position, instead of by `start`. An offset the broker does not have
    /// means its earliest record. Default: none.
    pub start_offsets: BTreeMap<TopicPartition, i64>,
    /// The label `pool` of the metrics. Default: the group. Give it where several pools of one process are in one group.
    pub name: Option<String>,
    /// The name of this instance in broker logs and group listings. Default `<group>-<process id>`.
    pub client_id: Option<String>,
    /// Further librdkafka properties (security, tuning), passed on as they are. Those the pool's guarantees rest on are refused at start.
    pub client: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 64,
            blocking_threads: None,
            lanes: std::thread::available_parallelism().map_or(1, usize::from),
            queue_capacity: 8_192,
            buffer_bytes: 64 * 1024 * 1024,
            key_backlog: 1_024,
            max_batch: 1,
            max_attempts: 5,
            backoff: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) },
            circuit: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) },
            adaptive: None,
            failing_circuit: None,
            direct_below: Duration::from_nanos(800),
            handler_timeout: Duration::from_secs(30),
            on_timeout: OnTimeout::Drop,
            drain_timeout: Duration::from_secs(10),
            order: Order::Key,
            protocol: GroupProtocol::Auto,
            session_timeout_ms: 10_000,
            heartbeat_interval_ms: 3_000,
            fetch_wait_max_ms: 100,
            commit_interval_ms: 200,
            commit_metadata_bytes: 4_096,
            save_interval: Duration::from_millis(250),
            start: Start::Earliest,
            start_offsets: BTreeMap::new(),
            name: None,
            client_id: None,
            client: BTreeMap::new(),
        }
    }
}

/// Properties the pool sets itself because its guarantees rest on them.
const RESERVED: [&str; 9] = [
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "group.id",
    "group.protocol",
    "partition.assignment.strategy",
];

/// Longer drains cannot end before the broker takes the partitions away.
const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// What the protocol's strings can hold.
const COMMIT_METADATA_BYTES_MAX: usize = 32_767;

impl Options {
    /// The label `pool` of the metrics.
    pub(crate) fn label<'a>(&'a self, group: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(group)
    }

    /// Records of one key that may be undone at once.
    pub(crate) fn key_cap(&self) -> usize {
        self.key_backlog.min((self.queue_capacity / 4).max(1))
    }

    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let counts = [
            ("workers", self.workers),
            ("blocking_threads", self.blocking_threads.unwrap_or(1)),
            ("lanes", self.lanes),
            ("queue_capacity", self.queue_capacity),
            ("buffer_bytes", self.buffer_bytes),
            ("key_backlog", self.key_backlog),
            ("max_batch", self.max_batch),
            ("max_attempts", self.max_attempts as usize),
            // librdkafka takes zero as never.
            ("commit_interval_ms", self.commit_interval_ms as usize),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, value)| *value == 0) {
            return Err(StartError::option(name, "0", "use 1 or more"));
        }
        self.check_opted_in()?;
        let waits = [
            ("handler_timeout", self.handler_timeout),
            ("drain_timeout", self.drain_timeout),
            ("save_interval", self.save_interval),
            ("backoff.first", self.backoff.first),
            ("circuit.first", self.circuit.first),
        ];
        if let Some((name, _)) = waits.iter().find(|(_, wait)| wait.is_zero()) {
            return Err(StartError::option(name, "0", "use 1 ms or more"));
        }
        if let Some((name, offset)) = self.start_offsets.iter().find(|(_, offset)| **offset < 0) {
            return Err(StartError::option(&format!("start_offsets[{name}]"), &offset.to_string(), "use 0 or more"));
        }
        if self.drain_timeout > DRAIN_TIMEOUT_MAX {
            let value = format!("{:?}", self.drain_timeout);
            return Err(StartError::option(
                "drain_timeout",
                &value,
                "use an hour or less: a revoke waits for it, and the broker waits only for max.poll.interval.ms",
            ));
        }
        if self.commit_metadata_bytes > COMMIT_METADATA_BYTES_MAX {
            let value = self.commit_metadata_bytes.to_string();
            return Err(StartError::option(
                "commit_metadata_bytes",
                &value,
                "use 32767 or less: Kafka's protocol has no room for more",
            ));
        }
        if let Some((name, value)) = self.client.iter().find(|(name, _)| RESERVED.contains(&name.as_str())) {
            return Err(StartError::option(
                name,
                value,
                "leave it out of the client properties: the pool sets it, because its guarantees rest on it",
            ));
        }
        Ok(())
    }

    fn check_opted_in(&self) -> Result<(), StartError> {
        let refuse = |name: &str, value: &dyn std::fmt::Debug, remedy: &str| {
            Err(StartError::option(name, &format!("{value:?}"), remedy))
        };
        match &self.adaptive {
            Some(adaptive) if adaptive.min == 0 => return refuse("adaptive.min", &0, "use 1 or more"),
            Some(adaptive) if adaptive.max < adaptive.min => {
                return refuse("adaptive.max", &adaptive.max, &format!("use {} (adaptive.min) or more", adaptive.min));
            }
            Some(adaptive) if adaptive.tolerance_percent < 100 => {
                return refuse("adaptive.tolerance_percent", &adaptive.tolerance_percent, "use 100 or more");
            }
            _ => {}
        }
        match &self.failing_circuit {
            Some(circuit) if circuit.attempts == 0 => {
                refuse("failing_circuit.attempts", &0, "use 1 or more; 20 is the default")
            }
            Some(circuit) if circuit.keys == 0 || circuit.keys > circuit.attempts => {
                let remedy = format!("use 1 to {} (failing_circuit.attempts)", circuit.attempts);
                refuse("failing_circuit.keys", &circuit.keys, &remedy)
            }
            Some(circuit) if circuit.within.is_zero() => {
                refuse("failing_circuit.within", &circuit.within, "use 1 ms or more")
            }
            Some(circuit) if circuit.pause.first.is_zero() => {
                refuse("failing_circuit.pause.first", &circuit.pause.first, "use 1 ms or more")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_can_work() {
        assert!(Options::default().check().is_ok());
    }

    #[test]
    fn zero_and_reserved_are_refused_by_name() {
        let zero = Options { workers: 0, ..Options::default() };
        assert!(zero.check().unwrap_err().to_string().contains("workers"));
        let refused = |adaptive: Option<AdaptiveConcurrency>, failing_circuit: Option<FailingCircuit>| {
            let options = Options { adaptive, failing_circuit, ..Options::default() };
            options.check().unwrap_err().to_string()
        };
        assert!(refused(Some(AdaptiveConcurrency::between(0, 4)), None).contains("adaptive.min = 0"));
        assert!(refused(Some(AdaptiveConcurrency::between(8, 4)), None).contains("adaptive.max = 4: use 8"));
        let mut circuit = FailingCircuit::default();
        circuit.keys = 21;
        assert!(refused(None, Some(circuit)).contains("failing_circuit.keys = 21: use 1 to 20"));
        let opted_in = Options {
            adaptive: Some(AdaptiveConcurrency::default()),
            failing_circuit: Some(FailingCircuit::default()),
            ..Options::default()
        };
        assert!(opted_in.check().is_ok());
        let never = Options { commit_interval_ms: 0, ..Options::default() };
        assert!(never.check().unwrap_err().to_string().contains("commit_interval_ms = 0: use 1"));
        let mut never = Options::default();
        never.client.insert("auto.commit.interval.ms".into(), "0".into());
        assert!(never.check().unwrap_err().to_string().contains("auto.commit.interval.ms"));
        let mut reserved = Options::default();
        reserved.client.insert("enable.auto.commit".into(), "false".into());
        let message = reserved.check().unwrap_err().to_string();
        assert!(message.contains("enable.auto.commit"), "{message}");
    }
}
