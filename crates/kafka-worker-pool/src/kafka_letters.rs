//! The pool's own place for dead letters: an acknowledged, idempotent produce to `<topic>.<group>.dlq`. The letter is the record itself, key,
//! value and headers kept, with further headers that say what happened to it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;

use crate::errors::StartError;
use crate::handler::BoxError;
use crate::letters::{DeadLetter, DeadLetterSink};

/// How long one letter may take; the pool tries again.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer causes are cut: a header is no place for a stack trace.
const CAUSE_BYTES_MAX: usize = 4_096;

/// Sends dead letters to `<topic>.<group>.dlq`. The default of a pool that is given no other sink.
///
/// Headers of a letter beside the record's own: `ctms_letter_id` (`<group>:<topic>:<partition>:<offset>`, the same for every copy of one
/// letter), `ctms_cause`, `ctms_attempts`, `ctms_group`, `ctms_topic`, `ctms_partition`, `ctms_offset`, `ctms_at` (milliseconds since
/// 1970). A letter may arrive twice where an acknowledgement was lost.
pub struct KafkaDeadLetters {
    config: ClientConfig,
    /// Made for the first letter: most pools never write one, and an idle producer costs a connection, three threads and half a percent of
    /// a core.
    producer: Mutex<Option<FutureProducer>>,
}

impl KafkaDeadLetters {
    /// Letters to these brokers, by a producer of its own that connects with the first letter. `client` are further librdkafka properties (security); those
    /// that only a consumer has are left out.
    pub fn new(brokers: &str, client: &BTreeMap<String, String>) -> Result<Self, StartError> {
        let mut config = ClientConfig::new();
        // A letter is as large as its record and some headers more: the broker says what is too large, not the client's default of 1 MB.
        config.set("message.max.bytes", "1000000000");
        for (name, value) in client.iter().filter(|(name, _)| is_for_producers(name)) {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", SEND_TIMEOUT.as_millis().to_string());
        // Made once here, so that a property librdkafka does not take is refused by the call that gave it.
        config.create_native_config().map_err(|error| StartError::Client(error.to_string()))?;
        Ok(Self { config, producer: Mutex::default() })
    }

    /// The producer to send by. One in a fatal error (a sequence lost, a fence) never heals, so another takes its place.
    fn producer(&self) -> Result<FutureProducer, BoxError> {
        let mut place = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((code, reason)) = place.as_ref().and_then(|producer| producer.client().fatal_error()) {
            tracing::warn!(%code, reason, "the producer of dead letters failed for good; making another");
            let failed = place.take();
            // Its drop waits for its thread.
            tokio::task::spawn_blocking(move || drop(failed));
        }
        let producer = match place.take() {
            Some(producer) => producer,
            None => self.config.create()?,
        };
        Ok(place.insert(producer).clone())
    }
}

impl std::fmt::Debug for KafkaDeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaDeadLetters").finish_non_exhaustive()
    }
}

/// Properties of connections and security hold for both kinds of client; those below only a consumer has.
fn is_for_producers(name: &str) -> bool {
    const CONSUMERS_ONLY: [&str; 9] = [
        "auto.",
        "check.crcs",
        "coordinator.",
        "fetch.",
        "group.",
        "heartbeat.",
        "isolation.level",
        "max.p",
        "queued.m",
    ];
    !name.starts_with("session.timeout") && !CONSUMERS_ONLY.iter().any(|prefix| name.starts_with(prefix))
}

impl DeadLetterSink for KafkaDeadLetters {
    async fn dead_letter(&self, letter: DeadLetter<'_>) -> Result<(), BoxError> {
        let record = letter.record;
        let topic = format!("{}.{}.dlq", record.topic, letter.group);
        let mut headers = OwnedHeaders::new();
        for (key, value) in record.headers.entries() {
            headers = headers.insert(Header { key, value });
        }
        for (key, value) in marks(&letter, SystemTime::now()) {
            headers = headers.insert(Header { key, value: Some(value.as_bytes()) });
        }
        let mut message: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&topic).headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        let sent = self.producer()?.send(message, Timeout::After(SEND_TIMEOUT)).await;
        match sent {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(format!("{topic}: {error}").into()),
        }
    }
}

/// The headers that say what happened.
fn marks(letter: &DeadLetter<'_>, at: SystemTime) -> [(&'static str, String); 8] {
    let record = letter.record;
    let at_ms = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut cut = letter.cause.len().min(CAUSE_BYTES_MAX);
    while !letter.cause.is_char_boundary(cut) {
        cut -= 1;
    }
    [
        ("ctms_letter_id", format!("{}:{}:{}:{}", letter.group, record.topic, record.partition, record.offset)),
        ("ctms_cause", letter.cause[..cut].to_owned()),
        ("ctms_attempts", letter.attempts.to_string()),
        ("ctms_group", letter.group.to_owned()),
        ("ctms_topic", record.topic.to_string()),
        ("ctms_partition", record.partition.to_string()),
        ("ctms_offset", record.offset.to_string()),
        ("ctms_at", at_ms.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    #[tokio::test]
    async fn a_fatal_error_costs_a_producer_and_no_letter_on_the_embedded_broker() {
        let broker = rdkafka_ext::EmbeddedBroker::start(&rdkafka_ext::EmbeddedOptions::default()).unwrap();
        let letters = KafkaDeadLetters::new(broker.bootstrap(), &BTreeMap::new()).unwrap();
        let record = Record { offset: 1, ..Record::empty() };
        let letter = DeadLetter { record: &record, group: "g", cause: "planned", attempts: 1 };
        letters.dead_letter(letter).await.unwrap();
        let code = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        let producer = letters.producer.lock().unwrap().clone().unwrap();
        rdkafka_ext::test_fatal_error(producer.client(), code, "planned").unwrap();
        drop(producer);
        letters.dead_letter(letter).await.unwrap();
    }

    #[tokio::test]
    async fn a_letter_may_be_larger_than_what_clients_send_by_default_on_the_embedded_broker() {
        let broker = rdkafka_ext::EmbeddedBroker::start(&rdkafka_ext::EmbeddedOptions::default()).unwrap();
        let letters = KafkaDeadLetters::new(broker.bootstrap(), &BTreeMap::new()).unwrap();
        let record = Record { value: Some(vec![b'x'; 1_048_000].into()), ..Record::empty() };
        letters.dead_letter(DeadLetter { record: &record, group: "g", cause: "planned", attempts: 1 }).await.unwrap();
    }

    #[test]
    fn a_letter_says_where_it_comes_from_and_long_causes_are_cut_between_characters() {
        let record = Record { partition: 3, offset: 42, ..Record::empty() };
        let cause = "é".repeat(CAUSE_BYTES_MAX);
        let letter = DeadLetter { record: &record, group: "g", cause: &cause, attempts: 5 };
        let marks = marks(&letter, UNIX_EPOCH + Duration::from_millis(7));
        let of = |name| marks.iter().find(|(mark, _)| *mark == name).map(|(_, value)| value.as_str());
        assert_eq!(of("ctms_letter_id"), Some("g:t:3:42"));
        assert_eq!(of("ctms_at"), Some("7"));
        assert_eq!(of("ctms_cause").map(str::len), Some(CAUSE_BYTES_MAX));
    }
}
