//! Brings operators' decisions to a group's retry topic, each acknowledged before the next. Nothing is sent twice by itself.

use std::time::Duration;

use anyhow::Context as _;
use contracts::topics::MAX_LETTER_BYTES;
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};

/// The broker acknowledges within this time, or the command fails.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(15);

/// A record on its way to a retry topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parcel<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: Option<&'a [u8]>,
    /// The record's own headers.
    pub(crate) headers: &'a [(String, Vec<u8>)],
    /// The headers of the decision.
    pub(crate) decision: &'a [(String, String)],
    pub(crate) payload: Option<&'a [u8]>,
}

/// A producer for decisions.
pub(crate) struct Courier {
    producer: FutureProducer,
}

impl Courier {
    /// # Errors
    /// The Kafka client refuses its settings.
    pub(crate) fn new(config: &ClientConfig) -> anyhow::Result<Self> {
        let producer = config
            .clone()
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("message.max.bytes", MAX_LETTER_BYTES.to_string())
            // As the other producers of these topics choose partitions, so that decisions about a project keep their order.
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", ACKNOWLEDGE_TIMEOUT.as_millis().to_string())
            .create()
            .context("the Kafka client refuses its settings")?;
        Ok(Self { producer })
    }

    /// Sends one record and waits until it is acknowledged.
    ///
    /// # Errors
    /// The broker does not acknowledge: whether it has the record is unknown.
    pub(crate) async fn send(&self, parcel: Parcel<'_>) -> anyhow::Result<()> {
        let Parcel { topic, key, headers, decision, payload } = parcel;
        let mut all = OwnedHeaders::new();
        for (key, value) in headers {
            all = all.insert(Header { key, value: Some(value) });
        }
        for (key, value) in decision {
            all = all.insert(Header { key, value: Some(value) });
        }
        let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(all);
        record.key = key;
        record.payload = payload;
        self.producer.send(record, ACKNOWLEDGE_TIMEOUT).await.map_err(|(error, _)| error).with_context(|| {
            format!(
                "the broker did not acknowledge the decision on {topic}; look before you send it again: ctms dlq list"
            )
        })?;
        Ok(())
    }
}
