//! Groups on the embedded broker whose partitions flow into a shared queue.
#![allow(clippy::unwrap_used, reason = "a test: the panic is its answer")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka_ext::{ForwardError, NativeMessage, SharedQueue};
use support::{Context, Member, broker, consumer_config, eventually, partition_list, produce, producer};

const TOPIC: &str = "study.events";

/// (partition, offset) of each, in order of arrival.
fn positions(messages: &[NativeMessage]) -> Vec<(i32, i64)> {
    messages.iter().map(|message| (message.partition(), message.offset())).collect()
}

fn assert_complete_and_in_order(messages: &[NativeMessage], partitions: i32, each: usize) {
    let mut offsets = BTreeMap::<i32, Vec<i64>>::new();
    for (partition, offset) in positions(messages) {
        offsets.entry(partition).or_default().push(offset);
    }
    let expected: Vec<i64> = (0..i64::try_from(each).unwrap()).collect();
    assert_eq!(offsets.len(), usize::try_from(partitions).unwrap());
    assert!(offsets.values().all(|found| *found == expected), "{offsets:?}");
}

#[test]
fn a_record_comes_out_as_it_was_sent() {
    let broker = broker(&[(TOPIC, 1)]);
    produce(&producer(broker.bootstrap()), TOPIC, 0, 2);
    let member = Member::join(broker.bootstrap(), "g", &[TOPIC], &[]);
    let messages = member.take(2);
    let message = &messages[1];
    assert_eq!((message.error(), message.is_error()), (None, false));
    assert_eq!((message.topic(), message.partition(), message.offset()), (TOPIC, 0, 1));
    assert_eq!((message.key(), message.payload()), (Some(&b"key-1"[..]), Some(&b"0/1"[..])));
    assert_eq!(message.topic_ptr(), messages[0].topic_ptr());
    assert!(message.timestamp_ms().is_some_and(|at| at > 1_600_000_000_000));
    let headers: Vec<_> = message.headers().collect();
    assert_eq!((message.headers().len(), headers.len()), (1, 1));
    assert_eq!((&*headers[0].name_str(), headers[0].value), ("ce_id", Some(&b"0/1"[..])));
    drop(messages);
    assert_eq!(member.leave(), 0);
}

#[test]
fn twenty_four_partitions_flow_into_one_queue_under_both_protocols() {
    let broker = broker(&[(TOPIC, 24)]);
    let producer = producer(broker.bootstrap());
    for partition in 0..24 {
        produce(&producer, TOPIC, partition, 100);
    }
    for settings in [&[][..], &[("group.protocol", "consumer")]] {
        let start = Instant::now();
        let group = format!("g-{}", settings.len());
        let member = Member::join(broker.bootstrap(), &group, &[TOPIC], settings);
        let messages = member.take(2400);
        println!("{settings:?}: 2400 records {:?} after subscribe", start.elapsed());
        assert_complete_and_in_order(&messages, 24, 100);
        drop(messages);
        assert_eq!(member.leave(), 0, "records in the consumer's own queue");
    }
}

#[test]
fn two_groups_each_read_everything() {
    let broker = broker(&[(TOPIC, 4)]);
    let producer = producer(broker.bootstrap());
    let members = ["epro", "finance"].map(|group| Member::join(broker.bootstrap(), group, &[TOPIC], &[]));
    for partition in 0..4 {
        produce(&producer, TOPIC, partition, 10);
    }
    for member in members {
        let messages = member.take(40);
        assert_complete_and_in_order(&messages, 4, 10);
        drop(messages);
        assert_eq!(member.leave(), 0);
    }
}

#[test]
fn two_members_share_the_partitions_and_one_takes_over_under_both_protocols() {
    for settings in [&[][..], &[("group.protocol", "consumer")]] {
        let broker = broker(&[(TOPIC, 8)]);
        let producer = producer(broker.bootstrap());
        let first = Member::join(broker.bootstrap(), "g", &[TOPIC], settings);
        eventually("the first has all", || (first.assigned() == 8).then_some(()));
        let second = Member::join(broker.bootstrap(), "g", &[TOPIC], settings);
        let start = Instant::now();
        eventually("both have four", || (first.assigned() == 4 && second.assigned() == 4).then_some(()));
        println!("{settings:?}: a second member has its half after {:?}", start.elapsed());
        for partition in 0..8 {
            produce(&producer, TOPIC, partition, 10);
        }
        let (of_first, of_second) = (positions(&first.take(40)), positions(&second.take(40)));
        let both: BTreeSet<_> = of_first.iter().chain(&of_second).collect();
        assert_eq!((of_first.len(), of_second.len(), both.len()), (40, 40, 80));

        let done: Vec<_> = of_second.iter().filter(|(_, offset)| *offset == 9).map(|(p, _)| (TOPIC, *p, 10)).collect();
        second.consumer.store_offsets(&partition_list(&done)).unwrap();
        second.consumer.commit_consumer_state(CommitMode::Sync).unwrap();
        assert_eq!(second.leave(), 0);
        eventually("the first has all again", || (first.assigned() == 8).then_some(()));
        for partition in 0..8 {
            produce(&producer, TOPIC, partition, 1);
        }
        let mut later = positions(&first.take(8));
        later.sort_unstable();
        assert_eq!(later, (0..8).map(|partition| (partition, 10)).collect::<Vec<_>>());
        assert_eq!(first.leave(), 0);
    }
}

#[test]
fn an_offset_out_of_range_comes_as_an_error_in_the_queue() {
    let broker = broker(&[(TOPIC, 1)]);
    produce(&producer(broker.bootstrap()), TOPIC, 0, 3);
    let config = consumer_config(broker.bootstrap(), "g", &[("auto.offset.reset", "error")]);
    let consumer =
        Arc::new(config.create_with_context::<_, rdkafka::consumer::BaseConsumer<_>>(Context::default()).unwrap());
    let queue = SharedQueue::new(Arc::clone(&consumer)).unwrap();
    queue.forward_partition(TOPIC, 0).unwrap();
    consumer.assign(&partition_list(&[(TOPIC, 0, 1000)])).unwrap();
    let message = eventually("the error", || queue.consume_one(Duration::from_millis(10)));
    let error = message.error().unwrap();
    assert!(message.is_error());
    assert_eq!((&*error.topic, error.partition), (TOPIC, 0));
    assert_eq!(error.code, rdkafka::types::RDKafkaErrorCode::AutoOffsetReset);
    assert!(!error.reason.is_empty());
    drop(message);
    drop(queue);
}

#[test]
fn a_handle_refuses_what_would_lose_records() {
    let consumer = || {
        let config = consumer_config("127.0.0.1:1", "g", &[]);
        Arc::new(config.create_with_context::<_, rdkafka::consumer::BaseConsumer<_>>(Context::default()).unwrap())
    };
    let (ours, other) = (consumer(), consumer());
    let queue = SharedQueue::new(Arc::clone(&ours)).unwrap();
    let handle = queue.handle();
    assert!(matches!(handle.forward_partition(&other, TOPIC, 0), Err(ForwardError::OtherConsumer { .. })));
    assert!(matches!(handle.forward_partition(&ours, "a\0b", 0), Err(ForwardError::BadTopic(_))));
    drop(queue);
    assert!(matches!(handle.forward_partition(&ours, TOPIC, 0), Err(ForwardError::QueueGone)));
    handle.yield_now();
}
