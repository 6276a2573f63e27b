//! The events: eight for each study up to its start, those of a thousand studies at a time side by side, as busy weeks look.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use contracts::{envelope::CloudEvent, topics::retry_topic};
use kafka_worker_pool::{Headers, Record};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};
use time::macros::datetime;
use uuid::Uuid;

use super::service::Reacting;

/// Events of one study.
pub(super) const OF_A_STUDY: u32 = 8;
/// As `ctms topics apply` makes them.
const PARTITIONS: i32 = 24;
/// Studies that prepare at the same time.
const AT_ONCE: u32 = 1_000;
const FLUSH_WITHIN: Duration = Duration::from_secs(120);
/// How long the producer waits when its queue is full.
const FULL_WAIT: Duration = Duration::from_millis(5);

/// Event `seq` (from 1) of study `number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) study: u32,
    pub(super) seq: u32,
}

/// So many events in the order of the topic.
pub(super) fn all(events: u32) -> impl Iterator<Item = Event> {
    let studies = events.div_ceil(OF_A_STUDY);
    let windows = (0..studies).step_by(AT_ONCE as usize).map(move |first| first..(first + AT_ONCE).min(studies));
    let event = move |window: std::ops::Range<u32>| {
        (1..=OF_A_STUDY).flat_map(move |seq| window.clone().map(move |study| Event { study, seq }))
    };
    // The last study is whole: a few events more than asked for would be counted as doubled otherwise.
    windows.flat_map(event).filter(move |event| event.study < events / OF_A_STUDY)
}

/// The number of the study with this id.
pub(super) fn study_number(id: &str) -> Option<u32> {
    id.strip_prefix("S-")?.parse().ok()
}

/// The id of a study.
pub(super) fn study_id(number: u32) -> String {
    format!("S-{number:07}")
}

impl Event {
    fn event_type(self) -> &'static str {
        match self.seq {
            1 => "ProjectCreated",
            2..=6 => "StartupItemCompleted",
            7 => "SiteActivated",
            _ => "ProjectStarted",
        }
    }

    fn payload(self) -> String {
        let id = study_id(self.study);
        let item =
            ["ETHICS_APPROVAL", "REGULATORY_APPROVAL", "CONTRACT_AND_BUDGET", "PROTOCOL_VERSION", "DATA_CAPTURE_LIVE"];
        match self.seq {
            1 => format!(r#"{{"projectId":"{id}","name":"Bench","sites":[{{"siteId":"S1"}}]}}"#),
            2..=6 => format!(r#"{{"projectId":"{id}","item":"{}"}}"#, item[self.seq as usize - 2]),
            7 => format!(r#"{{"projectId":"{id}","siteId":"S1","activatedAt":"2026-01-01T00:00:00Z"}}"#),
            _ => format!(
                r#"{{"projectId":"{id}","startTime":1767225600,"sites":[{{"siteId":"S1","activatedAt":"2026-01-01T00:00:00Z"}}]}}"#
            ),
        }
    }

    fn headers(self) -> Vec<(String, String)> {
        let id = study_id(self.study);
        let envelope = CloudEvent {
            id: Uuid::from_u128((u128::from(self.study) << 8) | u128::from(self.seq)).to_string(),
            source: "ctms/project-srv".to_owned(),
            event_type: self.event_type().to_owned(),
            time: Some(datetime!(2026-01-01 00:00 UTC)),
            subject: id.clone(),
            sequence: Some(i64::from(self.seq)),
            stream_epoch: 0,
            partition_key: id,
            traceparent: None,
        };
        envelope.to_headers()
    }

    /// As a consumer would get it.
    pub(super) fn record(self) -> Record {
        Record {
            topic: contracts::topics::PROJECT_EVENTS.into(),
            partition: 0,
            offset: i64::from(self.seq),
            timestamp_ms: Some(0),
            key: Some(Bytes::from(study_id(self.study))),
            value: Some(Bytes::from(self.payload())),
            headers: Headers::from_pairs(self.headers().into_iter().map(|(name, value)| (name, value.into_bytes()))),
        }
    }
}

/// Creates a topic with so many events, and the services' retry topics; returns its name.
pub(super) async fn preload(brokers: &str, events: u32) -> Result<String> {
    let topic = format!("bench-effects-{}", Uuid::new_v4().simple());
    create(brokers, &topic).await?;
    eprintln!("loading {events} events");
    let (brokers, name) = (brokers.to_owned(), topic.clone());
    tokio::task::spawn_blocking(move || produce(&brokers, &name, events)).await.context("the producer panicked")??;
    Ok(topic)
}

async fn create(brokers: &str, topic: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().context("cannot make a Kafka client")?;
    let retries =
        [Reacting::Epro, Reacting::Finance, Reacting::Monitor].map(|service| retry_topic(topic, service.name()));
    let mut topics = vec![NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1))];
    topics.extend(retries.iter().map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1))));
    for outcome in admin.create_topics(&topics, &AdminOptions::new()).await.context("cannot create topics")? {
        outcome.map_err(|(name, code)| anyhow::anyhow!("Kafka does not create {name}: {code}"))?;
    }
    Ok(())
}

fn produce(brokers: &str, topic: &str, events: u32) -> Result<()> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "200000");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().context("cannot make a producer")?;
    for event in all(events) {
        let (key, value) = (study_id(event.study), event.payload());
        let headers = event.headers();
        let headers = headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let mut record = BaseRecord::to(topic).key(&key).payload(&value).headers(headers);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    std::thread::sleep(FULL_WAIT);
                }
                Err((error, _)) => return Err(error).context("cannot produce"),
            }
        }
    }
    producer.flush(FLUSH_WITHIN).context("not everything was acknowledged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn studies_are_whole_and_their_events_in_order() {
        let events: Vec<Event> = all(10_007).collect();
        assert_eq!(events.len(), 10_000, "what does not fill a study is left out");
        for study in [0, 999, 1_000, 1_249] {
            let numbers: Vec<u32> = events.iter().filter(|event| event.study == study).map(|event| event.seq).collect();
            assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8], "study {study}");
        }
    }

    #[test]
    fn every_payload_is_of_the_contract() {
        for seq in 1..=OF_A_STUDY {
            let event = Event { study: 7, seq };
            let read = contracts::events::ProjectEvent::decode(event.event_type(), event.payload().as_bytes());
            assert!(matches!(read, Ok(Some(_))), "{}: {read:?}", event.event_type());
        }
    }
}
