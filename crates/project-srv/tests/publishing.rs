//! What reaches Kafka: every accepted event once, in order, with its envelope, also those accepted while it was away.
//! The broker is the embedded one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use contracts::envelope::CloudEvent;
use contracts::events::ProjectEvent;
use contracts::topics::PROJECT_EVENTS;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};
use support::*;

const PARTITIONS: i32 = 4;

on_both_databases!(what_was_accepted_while_kafka_was_away_is_published_in_order_once_it_is_back);

async fn what_was_accepted_while_kafka_was_away_is_published_in_order_once_it_is_back(database: TestDatabase) {
    let topics = vec![(PROJECT_EVENTS.to_owned(), PARTITIONS)];
    let broker = EmbeddedBroker::start(&EmbeddedOptions { topics, ..EmbeddedOptions::default() }).unwrap();
    let brokers = broker.bootstrap().to_owned();
    let service = Service::start_with(&database, &["--kafka-brokers", &brokers]).await;
    let mut client = service.client.clone();
    ready(&mut client, "P-1").await;
    broker.set_down().unwrap();
    let started = client.start_project(start("P-1", "")).await.unwrap().into_inner().project.unwrap();
    client.activate_site(activate("P-1", "S-2", "Necker")).await.unwrap();
    broker.set_up().unwrap();

    let last = get(&mut client, "P-1").await.last_event_id;
    let published = tokio::task::spawn_blocking(move || read_until(&brokers, &last)).await.unwrap();
    let numbers: Vec<_> = published.iter().map(|(envelope, _)| envelope.sequence.unwrap()).collect();
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
    let (envelope, event) = &published[7];
    assert_eq!((&envelope.id, envelope.event_type.as_str()), (&started.last_event_id, "ProjectStarted"));
    assert_eq!((envelope.subject.as_str(), envelope.partition_key.as_str()), ("P-1", "P-1"));
    let ProjectEvent::ProjectStarted(payload) = event else { panic!("{event:?}") };
    assert_eq!(payload.start_time.unix_timestamp(), started.started_at.unwrap().seconds);
    assert_eq!(payload.sites.len(), 1);
    service.stop().await;
}

/// Reads the topic from its beginning up to the event `last`; repeated deliveries are left out, as the gate does.
fn read_until(brokers: &str, last: &str) -> Vec<(CloudEvent, ProjectEvent)> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "test").create().unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(PROJECT_EVENTS, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let mut read: Vec<(CloudEvent, ProjectEvent)> = Vec::new();
    let begin = Instant::now();
    while read.last().is_none_or(|(envelope, _)| envelope.id != last) {
        assert!(begin.elapsed() < DEADLINE, "{last} did not arrive; {} events did", read.len());
        let Some(polled) = consumer.poll(Duration::from_millis(100)) else { continue };
        // A broker that was away is an error here until it is back.
        let Ok(record) = polled else { continue };
        assert_eq!(record.key(), Some(b"P-1".as_slice()));
        let headers = record.headers().unwrap();
        let header = |name: &str| headers.iter().find(|header| header.key == name).and_then(|header| header.value);
        let envelope = CloudEvent::from_headers(&header).unwrap();
        let event = ProjectEvent::decode(&envelope.event_type, record.payload().unwrap()).unwrap().unwrap();
        if read.iter().all(|(seen, _)| seen.id != envelope.id) {
            read.push((envelope, event));
        }
    }
    read
}
