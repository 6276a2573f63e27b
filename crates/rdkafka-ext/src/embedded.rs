//! librdkafka's mock cluster as a broker inside this process. It forgets everything when it stops, keeps 5 MiB or 100,000
//! batches per partition, has no admin API and only pretends transactions. It must not know who uses it.

mod cluster;
mod proxy;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys::rd_kafka_resp_err_t;

use crate::group_protocol::CONSUMER_GROUP_HEARTBEAT;
use cluster::Cluster;
use proxy::Proxy;

/// How to start an [`EmbeddedBroker`].
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Where clients find it. Only loopback: it has no access control, and tells clients to come to 127.0.0.1.
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Topics and how many partitions each has. Any other topic comes up with four when somebody asks for it.
    pub topics: Vec<(String, i32)>,
    /// Which protocols groups may use.
    pub group_protocols: GroupProtocols,
    /// How long a classic group waits for more members before its first assignment. Kafka's own default is 3000.
    pub initial_rebalance_delay_ms: i32,
    /// After what silence a member of a KIP-848 group is out. (A classic member names its own.)
    pub consumer_session_timeout_ms: i32,
    /// How often a member of a KIP-848 group speaks: each step of a rebalance waits for it.
    pub consumer_heartbeat_interval_ms: i32,
}

/// Which group protocols the broker offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocols {
    /// As Kafka from 4.0 on.
    ClassicAndConsumer,
    /// As Kafka before 4.0: it does not know `ConsumerGroupHeartbeat`.
    ClassicOnly,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            topics: Vec::new(),
            group_protocols: GroupProtocols::ClassicAndConsumer,
            initial_rebalance_delay_ms: 0,
            consumer_session_timeout_ms: 10_000,
            consumer_heartbeat_interval_ms: 1_000,
        }
    }
}

/// Why the embedded broker refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The address is reachable from other machines.
    #[error("the embedded broker cannot listen on {0}: it has no access control, so choose a loopback address such as 127.0.0.1:{port}", port = .0.port())]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error(
        "the embedded broker cannot listen on {address}: {cause}; stop the program that holds it, or choose another port (0 takes a free one)"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// The mock cluster did not come up.
    #[error("the embedded broker did not start: {0}")]
    Start(String),
    /// A topic's name or number of partitions is out of range.
    #[error(
        "cannot create topic {topic:?} with {partitions} partitions: a name has 1 to 249 of [A-Za-z0-9._-], and a topic 1 to 1000 partitions"
    )]
    BadTopic {
        /// The name.
        topic: String,
        /// How many partitions were asked for.
        partitions: i32,
    },
    /// The mock cluster refused.
    #[error("the embedded broker refused to {action}: {code:?}")]
    Refused {
        /// What was asked.
        action: String,
        /// Its answer.
        code: RDKafkaErrorCode,
    },
}

/// A one-node Kafka inside this process, reached over TCP like any other.
///
/// It works on threads of its own, so it runs inside or outside of an async runtime, and its calls answer within
/// milliseconds. Stop every client before it: a client without its broker only waits for its timeouts.
pub struct EmbeddedBroker {
    proxy: Option<Proxy>,
    cluster: Cluster,
    bootstrap: String,
}

impl EmbeddedBroker {
    /// Starts the broker and creates its topics.
    ///
    /// # Errors
    /// If the address is not loopback or taken, a topic is impossible, or librdkafka cannot start it.
    pub fn start(options: &EmbeddedOptions) -> Result<Self, BrokerError> {
        if !options.listen.ip().is_loopback() {
            return Err(BrokerError::NotLoopback(options.listen));
        }
        // The mock cluster takes a port of its own choice and tells clients that one. So the fixed port is only the door:
        // who comes in by it learns the broker's own address, and works with that.
        let door = match options.listen.port() {
            0 => None,
            _ => Some(
                TcpListener::bind(options.listen)
                    .map_err(|cause| BrokerError::Listen { address: options.listen, cause })?,
            ),
        };
        let cluster = Cluster::start()?;
        cluster.set_group_timing(options);
        if options.group_protocols == GroupProtocols::ClassicOnly {
            cluster.disable_api(CONSUMER_GROUP_HEARTBEAT)?;
        }
        for (topic, partitions) in &options.topics {
            cluster.create_topic(topic, *partitions)?;
        }
        let bootstrap = if door.is_some() { options.listen.to_string() } else { cluster.address() };
        let proxy = match door {
            Some(door) => Some(
                Proxy::start(door, cluster.address())
                    .map_err(|cause| BrokerError::Listen { address: options.listen, cause })?,
            ),
            None => None,
        };
        Ok(Self { proxy, cluster, bootstrap })
    }

    /// What clients set as `bootstrap.servers`, in this process or another on this machine: the address asked for, or with
    /// port 0 the one it took.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// If it is there already (`TopicAlreadyExists`), or name or number are out of range.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), BrokerError> {
        self.cluster.create_topic(topic, partitions)
    }

    /// Test hook: closes every connection and takes no new one, as a broker that died.
    ///
    /// # Errors
    /// If librdkafka refuses.
    pub fn set_down(&self) -> Result<(), BrokerError> {
        self.cluster.set_down()
    }

    /// Test hook: takes connections again; what was stored is still there.
    ///
    /// # Errors
    /// If librdkafka refuses.
    pub fn set_up(&self) -> Result<(), BrokerError> {
        self.cluster.set_up()
    }

    /// Test hook: each answer is late by so much.
    ///
    /// # Errors
    /// If librdkafka refuses.
    pub fn set_round_trip_time(&self, delay: Duration) -> Result<(), BrokerError> {
        self.cluster.set_round_trip_time(delay)
    }

    /// Test hook: the next requests of this kind fail, one with each of these errors; `RD_KAFKA_RESP_ERR__TRANSPORT` closes the
    /// connection instead. The kinds are numbered by the Kafka protocol: 0 Produce, 1 Fetch, 3 Metadata, 8 `OffsetCommit`,
    /// 9 `OffsetFetch`, 10 `FindCoordinator`, 11 `JoinGroup`, 12 Heartbeat, 22 `InitProducerId`, 68 `ConsumerGroupHeartbeat`.
    pub fn push_request_errors(&self, api_key: i16, errors: &[rd_kafka_resp_err_t]) {
        self.cluster.push_request_errors(api_key, errors);
    }

    /// Test hook: forgets the errors pushed for this kind.
    pub fn clear_request_errors(&self, api_key: i16) {
        self.cluster.clear_request_errors(api_key);
    }

    /// Stops it and forgets all records. So does dropping it. Blocks for milliseconds.
    pub fn stop(mut self) {
        self.proxy = None;
    }
}
