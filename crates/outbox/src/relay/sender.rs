//! The Kafka producer, and what its answers mean for a row. One producer lives until its first trouble. It must not know the database.

use std::{sync::Arc, time::Duration};

use contracts::topics::MAX_LETTER_BYTES;
use rdkafka::{
    ClientConfig, ClientContext,
    config::FromClientConfigAndContext as _,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _, PurgeConfig},
};

use super::{options::RelayOptions, rows::Pending, status::Shared};

/// A producer that is let go waits for its threads; longer than this it is left to itself.
const DISCARD_WITHIN: Duration = Duration::from_secs(10);

/// How long a broker may take to show that it is there.
const METADATA_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct Sender {
    producer: FutureProducer<Context>,
}

/// What became of a row.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The broker will never take this record.
    Permanent(String),
    /// The producer can take no more at the moment.
    Full,
    /// Something is wrong that is not this record's fault: the producer must be rebuilt.
    Trouble(String),
}

struct Context {
    shared: Arc<Shared>,
    brokers: String,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        self.shared.suspect(trouble(&error, reason, &self.brokers));
    }
}

/// What the client says of its connections, in one sentence with the remedy.
fn trouble(error: &KafkaError, reason: &str, brokers: &str) -> String {
    let silence = [
        RDKafkaErrorCode::AllBrokersDown,
        RDKafkaErrorCode::BrokerTransportFailure,
        RDKafkaErrorCode::OperationTimedOut,
        RDKafkaErrorCode::Resolve,
    ];
    if error.rdkafka_error_code().is_some_and(|code| silence.contains(&code)) {
        format!("no broker answers at {brokers}; start it, or correct --kafka-brokers")
    } else {
        format!("the brokers at {brokers} are not of use: {reason}; check --kafka-brokers and the client properties")
    }
}

impl Sender {
    pub(super) fn new(options: &RelayOptions, shared: &Arc<Shared>) -> Result<Self, KafkaError> {
        let context = Context { shared: shared.clone(), brokers: options.brokers.clone() };
        Ok(Self { producer: FutureProducer::from_config_and_context(&config(options), context)? })
    }

    /// Whether librdkafka takes the configuration.
    pub(super) fn check(options: &RelayOptions) -> Result<(), KafkaError> {
        config(options).create_native_config().map(|_| ())
    }

    /// Whether a broker answers. A producer with nothing to send would not notice that its brokers are back.
    pub(super) async fn reaches_a_broker(&self) -> bool {
        let producer = self.producer.clone();
        let asked =
            tokio::task::spawn_blocking(move || producer.client().fetch_metadata(None, METADATA_WITHIN).is_ok());
        asked.await.unwrap_or(false)
    }

    /// Hands a row to the producer, which never waits here: the caller bounds what is in flight by its batch.
    pub(super) fn send(&self, row: &Pending) -> Result<DeliveryFuture, Refusal> {
        let headers =
            row.headers.iter().fold(OwnedHeaders::new_with_capacity(row.headers.len()), |headers, (key, value)| {
                headers.insert(Header { key, value: value.as_deref() })
            });
        let record = FutureRecord {
            topic: &row.topic,
            partition: None,
            payload: row.payload.as_deref(),
            key: Some(row.key.as_slice()),
            timestamp: None,
            headers: Some(headers),
        };
        self.producer.send_result(record).map_err(|(error, _)| refusal(&error))
    }

    /// Ends the producer: what it still holds is forgotten and will be read from the database again.
    pub(super) async fn discard(self) {
        let ended = tokio::task::spawn_blocking(move || {
            self.producer.purge(PurgeConfig::default().queue().inflight());
            drop(self);
        });
        if tokio::time::timeout(DISCARD_WITHIN, ended).await.is_err() {
            tracing::warn!("a Kafka producer did not end within {DISCARD_WITHIN:?}; it is left behind");
        }
    }
}

fn config(options: &RelayOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("client.id", "outbox-relay")
        .set("linger.ms", "0")
        // The largest that any topic of ours takes: a letter is larger than the record it is about.
        .set("message.max.bytes", MAX_LETTER_BYTES.to_string())
        .set("socket.nagle.disable", "true")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        // As Java's clients choose partitions, so that events of other producers meet ours.
        .set("partitioner", "murmur2_random");
    for (name, value) in &options.client {
        config.set(name, value);
    }
    // What the order of events rests on. A timeout that fires would leave a hole in the order: we wait instead.
    config.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", "0");
    config
}

/// What a producer's error says about the record.
pub(super) fn refusal(error: &KafkaError) -> Refusal {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::UnsupportedForMessageFormat
            | RDKafkaErrorCode::PolicyViolation,
        ) => Refusal::Permanent(error.to_string()),
        Some(RDKafkaErrorCode::QueueFull) => Refusal::Full,
        _ => Refusal::Trouble(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_says_is_one_plain_sentence() {
        let text = |code| trouble(&KafkaError::Global(code), "1/1 brokers are down", "kafka:9092");
        let silent = text(RDKafkaErrorCode::AllBrokersDown);
        assert_eq!(silent, "no broker answers at kafka:9092; start it, or correct --kafka-brokers");
        assert_eq!(text(RDKafkaErrorCode::BrokerTransportFailure), silent, "said once, whatever the client calls it");
        let refused = trouble(&KafkaError::Global(RDKafkaErrorCode::Authentication), "SASL login failed", "kafka:9092");
        assert!(refused.contains("SASL login failed") && !refused.contains("Global error"), "{refused}");
    }

    #[test]
    fn only_what_no_waiting_mends_is_permanent() {
        let of = |code| refusal(&KafkaError::MessageProduction(code));
        assert!(matches!(of(RDKafkaErrorCode::MessageSizeTooLarge), Refusal::Permanent(_)));
        assert!(matches!(of(RDKafkaErrorCode::TopicAuthorizationFailed), Refusal::Permanent(_)));
        assert!(matches!(of(RDKafkaErrorCode::QueueFull), Refusal::Full));
        assert!(matches!(of(RDKafkaErrorCode::UnknownTopic), Refusal::Trouble(_)));
        assert!(matches!(of(RDKafkaErrorCode::Fatal), Refusal::Trouble(_)));
        assert!(matches!(of(RDKafkaErrorCode::PurgeInflight), Refusal::Trouble(_)));
    }
}
