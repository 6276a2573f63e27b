//! The same calls on a real Kafka: what the embedded broker cannot answer, and that the queue behaves alike.
#![allow(clippy::unwrap_used, reason = "a test: the panic is its answer")]

mod support;

use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::Producer;
use rdkafka_ext::{DescribeError, GroupProtocolSupport, cluster_id, probe_group_protocol, topic_ids};
use support::{DEADLINE, Member, eventually, produce, producer, real_kafka};

fn unique(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("{name}.{}.{now}", process::id())
}

struct Admin(AdminClient<DefaultClientContext>);

impl Admin {
    fn new(brokers: &str) -> Self {
        Self(ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap())
    }

    async fn create(&self, topic: &str, partitions: i32) {
        let spec = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        self.0.create_topics([&spec], &AdminOptions::new()).await.unwrap().pop().unwrap().unwrap();
    }

    async fn delete(&self, topic: &str) {
        self.0.delete_topics(&[topic], &AdminOptions::new()).await.unwrap().pop().unwrap().unwrap();
    }
}

#[tokio::test]
async fn real_kafka_offers_the_new_group_protocol() {
    let Some(brokers) = real_kafka() else { return };
    assert_eq!(probe_group_protocol(&brokers, DEADLINE).await, GroupProtocolSupport::Consumer);
}

#[tokio::test]
async fn real_kafka_names_its_cluster_and_each_life_of_a_topic() {
    let Some(brokers) = real_kafka() else { return };
    let (admin, topic, other) = (Admin::new(&brokers), unique("life"), unique("other"));
    admin.create(&topic, 1).await;
    admin.create(&other, 1).await;
    let producer = producer(&brokers);
    let cluster = cluster_id(producer.client(), DEADLINE).unwrap();
    assert!(!cluster.is_empty() && !cluster.starts_with("mockCluster"), "{cluster}");

    let ids = || topic_ids(producer.client(), &[&topic, &other], DEADLINE);
    let first = eventually("both described", || ids().ok());
    assert_eq!((first[0].as_ref().map(String::len), first[1].as_ref().map(String::len)), (Some(22), Some(22)));
    assert_ne!(first[0], first[1]);
    assert_eq!(ids().unwrap(), first, "an id stays");

    admin.delete(&topic).await;
    let gone = eventually("the topic is gone", || ids().err());
    assert!(matches!(&gone, DescribeError::Topic { topic: name, .. } if *name == topic), "{gone}");
    admin.create(&topic, 1).await;
    let second = eventually("both described", || ids().ok());
    assert_ne!(second[0], first[0], "another life");
    assert_eq!(second[1], first[1]);
    admin.delete(&topic).await;
    admin.delete(&other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_kafka_partitions_flow_into_one_queue_under_both_protocols() {
    let Some(brokers) = real_kafka() else { return };
    let (admin, topic) = (Admin::new(&brokers), unique("queue"));
    admin.create(&topic, 24).await;
    let producer = producer(&brokers);
    for partition in 0..24 {
        produce(&producer, &topic, partition, 50);
    }
    // A classic session below group.min.session.timeout.ms (6000 by default) is refused.
    for settings in [("session.timeout.ms", "6000"), ("group.protocol", "consumer")] {
        let group = format!("{topic}.{}", settings.1);
        let members = [(); 2].map(|()| Member::join(&brokers, &group, &[&topic], &[settings]));
        let mut positions = Vec::new();
        eventually("every record", || {
            for member in &members {
                let mut messages = Vec::new();
                member.queue.consume_batch(512, &mut messages);
                assert!(messages.iter().all(|message| !message.is_error()), "{messages:?}");
                positions.extend(messages.iter().map(|message| (message.partition(), message.offset())));
            }
            positions.sort_unstable();
            positions.dedup();
            (positions.len() == 24 * 50 && members[0].assigned() + members[1].assigned() == 24).then_some(())
        });
        for member in members {
            assert_eq!(member.leave(), 0, "records in the consumer's own queue");
        }
    }
    admin.delete(&topic).await;
}
