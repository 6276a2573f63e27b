//! The mock cluster itself: one broker, and the calls of librdkafka that steer it.

use std::ffi::{CStr, CString};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka_sys as rdsys;
use rdsys::rd_kafka_resp_err_t;

use super::{BrokerError, EmbeddedOptions};
use crate::group_protocol;

const BROKER_ID: i32 = 1;
const MAX_PARTITIONS: i32 = 1_000;
const MAX_TOPIC_LEN: usize = 249;
/// How long the cluster's thread sleeps when nobody wakes it.
const SLEEP: Duration = Duration::from_secs(1);

/// A running mock cluster. Its calls are answered by a thread of its own.
pub(super) struct Cluster {
    raw: NonNull<rdsys::rd_kafka_mock_cluster_t>,
    /// The client the cluster lives in; it connects to nothing. Dropped after the cluster is destroyed.
    _host: BaseProducer,
}

// SAFETY: librdkafka sends each call used here to the cluster's thread, or takes the cluster's lock.
unsafe impl Send for Cluster {}
// SAFETY: as above.
unsafe impl Sync for Cluster {}

impl Cluster {
    pub(super) fn start() -> Result<Self, BrokerError> {
        let start = |cause: String| BrokerError::Start(cause);
        // Nobody polls the host, so its log lines would pile up: let there be none.
        let host: BaseProducer = ClientConfig::new()
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create()
            .map_err(|cause| start(cause.to_string()))?;
        // SAFETY: the host is alive, and outlives the cluster as a field that is dropped after `Drop::drop` has run.
        let raw = unsafe { rdsys::rd_kafka_mock_cluster_new(host.client().native_ptr(), BROKER_ID) };
        let raw = NonNull::new(raw).ok_or_else(|| start("librdkafka gave no port or thread to it".to_owned()))?;
        Ok(Self { raw, _host: host })
    }

    /// Where it listens, `host:port`.
    pub(super) fn address(&self) -> String {
        // SAFETY: the cluster is alive; the text is made once at its start and ends with a NUL.
        unsafe { CStr::from_ptr(rdsys::rd_kafka_mock_cluster_bootstraps(self.raw.as_ptr())) }
            .to_string_lossy()
            .into_owned()
    }

    pub(super) fn set_group_timing(&self, options: &EmbeddedOptions) {
        let raw = self.raw.as_ptr();
        // SAFETY: the cluster is alive; each call takes its lock.
        unsafe {
            rdsys::rd_kafka_mock_group_initial_rebalance_delay_ms(raw, options.initial_rebalance_delay_ms);
            rdsys::rd_kafka_mock_set_group_consumer_session_timeout_ms(raw, options.consumer_session_timeout_ms);
            rdsys::rd_kafka_mock_set_group_consumer_heartbeat_interval_ms(raw, options.consumer_heartbeat_interval_ms);
        }
    }

    /// The broker answers as one that never heard of this kind of request.
    pub(super) fn disable_api(&self, api_key: i16) -> Result<(), BrokerError> {
        self.settle();
        // SAFETY: the cluster is alive.
        let code = unsafe { rdsys::rd_kafka_mock_set_apiversion(self.raw.as_ptr(), api_key, -1, -1) };
        accepted(code, || format!("disable API {api_key}"))
    }

    pub(super) fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), BrokerError> {
        let admitted = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let good_name = (1..=MAX_TOPIC_LEN).contains(&topic.len()) && topic.bytes().all(admitted);
        let name = CString::new(topic).ok().filter(|_| good_name && (1..=MAX_PARTITIONS).contains(&partitions));
        let name = name.ok_or_else(|| BrokerError::BadTopic { topic: topic.to_owned(), partitions })?;
        self.settle();
        // SAFETY: the cluster is alive, the name outlives the call.
        let code = unsafe { rdsys::rd_kafka_mock_topic_create(self.raw.as_ptr(), name.as_ptr(), partitions, 1) };
        accepted(code, || format!("create topic {topic}"))
    }

    pub(super) fn set_down(&self) -> Result<(), BrokerError> {
        self.settle();
        // SAFETY: the cluster is alive.
        let code = unsafe { rdsys::rd_kafka_mock_broker_set_down(self.raw.as_ptr(), BROKER_ID) };
        accepted(code, || "go down".to_owned())
    }

    pub(super) fn set_up(&self) -> Result<(), BrokerError> {
        self.settle();
        // SAFETY: the cluster is alive.
        let code = unsafe { rdsys::rd_kafka_mock_broker_set_up(self.raw.as_ptr(), BROKER_ID) };
        accepted(code, || "come up".to_owned())
    }

    pub(super) fn set_round_trip_time(&self, delay: Duration) -> Result<(), BrokerError> {
        let delay_ms = i32::try_from(delay.as_millis()).unwrap_or(i32::MAX);
        self.settle();
        // SAFETY: the cluster is alive.
        let code = unsafe { rdsys::rd_kafka_mock_broker_set_rtt(self.raw.as_ptr(), BROKER_ID, delay_ms) };
        accepted(code, || format!("answer {delay_ms} ms late"))
    }

    /// Returns once the thread has gone to sleep since the last call. It serves a call, then throws away what wakes it: a call that comes in
    /// between would wait until it wakes by itself. Who is answered on a connection of its own knows that it has been around since.
    fn settle(&self) {
        let answered = || -> io::Result<()> {
            let address: SocketAddr = self.address().parse().map_err(io::Error::other)?;
            let mut broker = TcpStream::connect_timeout(&address, SLEEP)?;
            broker.set_read_timeout(Some(SLEEP))?;
            broker.write_all(&group_protocol::request())?;
            broker.read_exact(&mut [0])
        };
        if let Err(error) = answered() {
            // It is down, or late on purpose: the call may take a second.
            tracing::debug!(%error, "the embedded broker does not answer");
        }
    }

    pub(super) fn push_request_errors(&self, api_key: i16, errors: &[rd_kafka_resp_err_t]) {
        // SAFETY: the cluster is alive and takes its lock; it copies the errors.
        unsafe {
            rdsys::rd_kafka_mock_push_request_errors_array(self.raw.as_ptr(), api_key, errors.len(), errors.as_ptr());
        }
    }

    pub(super) fn clear_request_errors(&self, api_key: i16) {
        // SAFETY: the cluster is alive and takes its lock.
        unsafe { rdsys::rd_kafka_mock_clear_request_errors(self.raw.as_ptr(), api_key) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.settle();
        // SAFETY: destroyed once, before its host; the call ends the cluster's thread and waits for it.
        unsafe { rdsys::rd_kafka_mock_cluster_destroy(self.raw.as_ptr()) }
    }
}

fn accepted(code: rd_kafka_resp_err_t, action: impl FnOnce() -> String) -> Result<(), BrokerError> {
    match code {
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(BrokerError::Refused { action: action(), code: code.into() }),
    }
}
