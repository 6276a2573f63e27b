//! The embedded broker as its users meet it.
#![allow(clippy::unwrap_used, reason = "a test: the panic is its answer")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka_ext::{
    BrokerError, EmbeddedBroker, EmbeddedOptions, GroupProtocolSupport, GroupProtocols, cluster_id,
    probe_group_protocol, topic_ids,
};
use support::{DEADLINE, Member, broker, produce, producer};

const TOPIC: &str = "study.events";

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn partitions(producer: &BaseProducer, topic: &str) -> usize {
    producer.client().fetch_metadata(Some(topic), DEADLINE).unwrap().topics()[0].partitions().len()
}

#[test]
fn a_fixed_port_serves_and_can_be_had_again_after_stop() {
    let listen = free_address();
    for round in 0..2 {
        let options = EmbeddedOptions { listen, topics: vec![(TOPIC.to_owned(), 2)], ..EmbeddedOptions::default() };
        let broker = EmbeddedBroker::start(&options).unwrap();
        assert_eq!(broker.bootstrap(), listen.to_string());
        let producer = producer(broker.bootstrap());
        produce(&producer, TOPIC, 1, 5);
        let member = Member::join(broker.bootstrap(), "g", &[TOPIC], &[]);
        assert_eq!(member.take(5).len(), 5, "round {round}: it forgets on exit");
        assert_eq!(member.leave(), 0);
        drop(producer);
        let start = Instant::now();
        broker.stop();
        println!("stopped in {:?}", start.elapsed());
    }
}

#[test]
fn it_starts_with_many_topics_at_once() {
    let topics = (0..20).map(|number| (format!("{TOPIC}.{number}"), 4)).collect();
    let start = Instant::now();
    let broker = EmbeddedBroker::start(&EmbeddedOptions { topics, ..EmbeddedOptions::default() }).unwrap();
    for number in 20..40 {
        broker.create_topic(&format!("{TOPIC}.{number}"), 4).unwrap();
    }
    let took = start.elapsed();
    assert!(took < Duration::from_millis(900), "{took:?}: a topic waited for the broker's thread to wake by itself");
}

#[test]
fn a_taken_port_is_named_with_its_remedy() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = holder.local_addr().unwrap();
    let error = EmbeddedBroker::start(&EmbeddedOptions { listen, ..EmbeddedOptions::default() }).err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, BrokerError::Listen { .. }));
    assert!(text.contains(&listen.to_string()) && text.contains("choose another port"), "{text}");
}

#[test]
fn an_address_others_can_reach_is_refused() {
    let listen = "0.0.0.0:9092".parse().unwrap();
    let error = EmbeddedBroker::start(&EmbeddedOptions { listen, ..EmbeddedOptions::default() }).err().unwrap();
    assert!(error.to_string().contains("127.0.0.1:9092"), "{error}");
}

#[test]
fn topics_have_the_partitions_asked_for_and_unknown_ones_four() {
    let broker = broker(&[(TOPIC, 24)]);
    broker.create_topic("later", 3).unwrap();
    let producer = producer(broker.bootstrap());
    assert_eq!(partitions(&producer, TOPIC), 24);
    assert_eq!(partitions(&producer, "later"), 3);
    assert_eq!(partitions(&producer, "unheard.of"), 4);
    let error = broker.create_topic("later", 3).unwrap_err();
    assert!(matches!(error, BrokerError::Refused { code: RDKafkaErrorCode::TopicAlreadyExists, .. }), "{error}");
    for (topic, partitions) in [("", 1), ("a b", 1), ("a\0b", 1), ("ok", 0), ("ok", 1_001)] {
        assert!(matches!(broker.create_topic(topic, partitions), Err(BrokerError::BadTopic { .. })), "{topic:?}");
    }
}

#[tokio::test]
async fn it_runs_inside_an_async_program_and_speaks_the_new_group_protocol() {
    let listen = free_address();
    let broker = EmbeddedBroker::start(&EmbeddedOptions { listen, ..EmbeddedOptions::default() }).unwrap();
    assert_eq!(probe_group_protocol(broker.bootstrap(), DEADLINE).await, GroupProtocolSupport::Consumer);
    let through_a_dead_one = format!("127.0.0.1:1,PLAINTEXT://{}", broker.bootstrap());
    assert_eq!(probe_group_protocol(&through_a_dead_one, DEADLINE).await, GroupProtocolSupport::Consumer);
    broker.stop();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for nobody in [listen.to_string(), silent.local_addr().unwrap().to_string(), String::new()] {
        let support = probe_group_protocol(&nobody, Duration::from_millis(100)).await;
        assert_eq!(support, GroupProtocolSupport::Unknown, "{nobody:?}");
    }
}

#[tokio::test]
async fn as_a_broker_before_kafka_4_it_offers_classic_groups_only() {
    let options = EmbeddedOptions {
        topics: vec![(TOPIC.to_owned(), 1)],
        group_protocols: GroupProtocols::ClassicOnly,
        ..EmbeddedOptions::default()
    };
    let broker = EmbeddedBroker::start(&options).unwrap();
    assert_eq!(probe_group_protocol(broker.bootstrap(), DEADLINE).await, GroupProtocolSupport::ClassicOnly);
    produce(&producer(broker.bootstrap()), TOPIC, 0, 1);
    let member = Member::join(broker.bootstrap(), "g", &[TOPIC], &[]);
    assert_eq!(member.take(1).len(), 1);
    assert_eq!(member.leave(), 0);
}

#[test]
fn its_cluster_has_an_id_and_its_topics_have_none() {
    let broker = broker(&[(TOPIC, 1)]);
    let producer = producer(broker.bootstrap());
    assert!(cluster_id(producer.client(), DEADLINE).is_some_and(|id| id.starts_with("mockCluster")));
    let start = Instant::now();
    assert_eq!(topic_ids(producer.client(), &[TOPIC, "other"], DEADLINE).unwrap(), [None, None]);
    assert!(start.elapsed() < DEADLINE / 2, "it is not asked, for it would not answer");
    let error = topic_ids(support::producer("127.0.0.1:1").client(), &[TOPIC], Duration::from_millis(100)).unwrap_err();
    assert!(error.to_string().contains("100 ms"), "{error}");
}

#[test]
fn down_and_up_again_it_has_what_was_stored() {
    let broker = broker(&[(TOPIC, 1)]);
    let producer = producer(broker.bootstrap());
    produce(&producer, TOPIC, 0, 3);
    broker.set_down().unwrap();
    assert!(producer.client().fetch_metadata(Some(TOPIC), Duration::from_millis(200)).is_err());
    broker.set_up().unwrap();
    produce(&producer, TOPIC, 0, 1);
    let member = Member::join(broker.bootstrap(), "g", &[TOPIC], &[]);
    assert_eq!(member.take(4).len(), 4);
    assert_eq!(member.consumer.fetch_watermarks(TOPIC, 0, DEADLINE).unwrap(), (0, 4));
    assert_eq!(member.leave(), 0);
}
