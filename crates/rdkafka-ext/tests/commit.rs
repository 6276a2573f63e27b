//! A commit with a time limit keeps it, whatever the coordinator does, and leaves nothing behind that its consumer's drop would wait for.
#![allow(clippy::unwrap_used, reason = "a test: the panic is its answer")]

mod support;

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_ext::{CommitError, commit_metadata, commit_stored};
use support::{Context, DEADLINE, broker, consumer_config, eventually, partition_list, produce, producer};

const TOPIC: &str = "study.events";

/// A consumer that commits when it is told to, with its first record taken.
fn reading(brokers: &str, protocol: &str) -> BaseConsumer<Context> {
    let settings = [("group.protocol", protocol), ("enable.auto.commit", "false")];
    let config = consumer_config(brokers, "g", &settings);
    let consumer: BaseConsumer<Context> = config.create_with_context(Context::default()).unwrap();
    consumer.assign(&partition_list(&[(TOPIC, 0, 0)])).unwrap();
    eventually("a record", || consumer.poll(Duration::from_millis(50)).map(|record| record.map(drop).unwrap()));
    consumer
}

#[test]
fn a_commit_says_what_became_of_it_and_never_waits_longer_than_told() {
    for protocol in ["classic", "consumer"] {
        let broker = broker(&[(TOPIC, 1)]);
        produce(&producer(broker.bootstrap()), TOPIC, 0, 10);
        let consumer = reading(broker.bootstrap(), protocol);

        let nothing = eventually("an answer", || commit_stored(&consumer, DEADLINE).err());
        assert_eq!(nothing, CommitError::Refused(RDKafkaErrorCode::NoOffset), "{protocol}");
        consumer.store_offsets(&partition_list(&[(TOPIC, 0, 5)])).unwrap();
        assert_eq!(commit_stored(&consumer, DEADLINE), Ok(()), "{protocol}");

        broker.set_down().unwrap();
        consumer.store_offsets(&partition_list(&[(TOPIC, 0, 7)])).unwrap();
        let began = Instant::now();
        let away = commit_stored(&consumer, Duration::from_millis(300));
        assert_eq!(away, Err(CommitError::NoAnswer { timeout_ms: 300 }), "{protocol}");
        assert!(began.elapsed() < Duration::from_secs(5), "{protocol}: {:?}", began.elapsed());

        broker.set_up().unwrap();
        let (tell, dropped) = channel();
        thread::spawn(move || {
            drop(consumer);
            tell.send(()).ok();
        });
        dropped.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{protocol}: the drop hangs"));
    }
}

/// One partition at this offset, with this beside it.
fn noted(offset: i64, metadata: &str) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(TOPIC, 0);
    element.set_offset(Offset::Offset(offset)).unwrap();
    element.set_metadata(metadata);
    list
}

#[test]
fn metadata_goes_with_stored_offsets_and_a_commit_by_list_takes_it_to_an_offset_that_stands_still() {
    for protocol in ["classic", "consumer"] {
        let broker = broker(&[(TOPIC, 1)]);
        produce(&producer(broker.bootstrap()), TOPIC, 0, 10);
        let consumer = reading(broker.bootstrap(), protocol);
        let kept = || {
            let list = consumer.committed_offsets(partition_list(&[(TOPIC, 0, 0)]), DEADLINE).unwrap();
            (list.elements()[0].offset(), commit_metadata(&list))
        };

        consumer.store_offsets(&noted(5, "first")).unwrap();
        eventually("a commit", || commit_stored(&consumer, DEADLINE).ok());
        assert_eq!(kept(), (Offset::Offset(5), vec!["first".to_owned()]), "{protocol}");

        // Why the pool commits by list what is done above a position that stands still.
        consumer.store_offsets(&noted(5, "second")).unwrap();
        let refused = commit_stored(&consumer, DEADLINE);
        assert_eq!(refused, Err(CommitError::Refused(RDKafkaErrorCode::NoOffset)), "{protocol}");
        consumer.commit(&noted(5, "second"), CommitMode::Sync).unwrap();
        assert_eq!(kept(), (Offset::Offset(5), vec!["second".to_owned()]), "{protocol}");

        consumer.store_offsets(&partition_list(&[(TOPIC, 0, 6)])).unwrap();
        assert_eq!(commit_stored(&consumer, DEADLINE), Ok(()), "{protocol}");
        assert_eq!(kept(), (Offset::Offset(6), vec![String::new()]), "{protocol}: none is none");
    }
}
