//! What this crate, the pool and the relay lean on, held against the librdkafka that is linked. A failure here after an
//! upgrade names the assumption that no longer holds. Each test is one fact.
#![allow(clippy::unwrap_used, reason = "a test: the panic is its answer")]

mod support;

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as RdHeader, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::util::get_rdkafka_version;
use rdkafka::{ClientConfig, ClientContext};
use rdkafka_ext::{FaultError, NativeMessage, SharedQueue, test_fatal_error};
use rdkafka_sys::rd_kafka_message_t;
use support::{
    Context, DEADLINE, Member, broker, consumer_config, eventually, partition_list, produce, producer, producer_with,
};

const TOPIC: &str = "study.events";
/// Long enough to tell a call that waits from one that does not; nothing takes this long by itself.
const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

/// A consumer of partition 0 from offset 0, assigned by hand, with its queue.
fn assigned(bootstrap: &str, settings: &[(&str, &str)]) -> SharedQueue<Context> {
    let config = consumer_config(bootstrap, "g", settings);
    let consumer: BaseConsumer<Context> = config.create_with_context(Context::default()).unwrap();
    let queue = SharedQueue::new(Arc::new(consumer)).unwrap();
    queue.forward_partition(TOPIC, 0).unwrap();
    queue.consumer().assign(&partition_list(&[(TOPIC, 0, 0)])).unwrap();
    queue
}

fn idle_queue() -> SharedQueue<DefaultConsumerContext> {
    let consumer: BaseConsumer = ClientConfig::new().set("group.id", "g").create().unwrap();
    SharedQueue::new(Arc::new(consumer)).unwrap()
}

// Layout and version

#[test]
fn the_linked_library_is_the_one_this_was_measured_on() {
    let (number, name) = get_rdkafka_version();
    assert_eq!(
        number >> 16,
        0x020c,
        "librdkafka {name}: read its changelog for queues, the mock cluster and fatal errors"
    );
}

#[test]
fn a_native_message_is_one_pointer_so_a_batch_is_written_in_place() {
    assert_eq!(size_of::<NativeMessage>(), size_of::<*mut rd_kafka_message_t>());
    assert_eq!(size_of::<Option<NativeMessage>>(), size_of::<NativeMessage>());
    // err, rkt, partition, payload, len, key, key_len, offset, _private on a 64-bit machine.
    if size_of::<*mut c_void>() == 8 {
        assert_eq!(size_of::<rd_kafka_message_t>(), 72);
        assert_eq!(std::mem::offset_of!(rd_kafka_message_t, rkt), 8);
        assert_eq!(std::mem::offset_of!(rd_kafka_message_t, payload), 24);
        assert_eq!(std::mem::offset_of!(rd_kafka_message_t, key_len), 48);
        assert_eq!(std::mem::offset_of!(rd_kafka_message_t, offset), 56);
    }
}

#[test]
fn no_key_no_value_and_no_header_differ_from_empty_ones() {
    let broker = broker(&[(TOPIC, 1)]);
    let producer = producer(broker.bootstrap());
    producer.send(BaseRecord::<(), ()>::to(TOPIC).partition(0)).unwrap();
    producer.send(BaseRecord::to(TOPIC).partition(0).key("").payload("")).unwrap();
    producer.flush(DEADLINE).unwrap();
    let member = Member::join(broker.bootstrap(), "g", &[TOPIC], &[]);
    let messages = member.take(2);
    assert_eq!((messages[0].key(), messages[0].payload()), (None, None));
    assert_eq!((messages[1].key(), messages[1].payload()), (Some(&b""[..]), Some(&b""[..])));
    assert_eq!(messages[0].headers().count(), 0);
    assert_eq!(messages[0].leader_epoch(), Some(0), "the first leader's");
    drop(messages);
    assert_eq!(member.leave(), 0);
}

#[test]
fn the_byte_behind_a_value_tells_whether_there_are_headers() {
    for codec in ["none", "gzip"] {
        let broker = broker(&[(TOPIC, 1)]);
        let producer = producer_with(broker.bootstrap(), &[("compression.type", codec), ("linger.ms", "50")]);
        let expected: Vec<(usize, usize)> = (0..400).map(|n| (n % 7, (n / 7) % 3)).collect();
        for &(value_bytes, headers) in &expected {
            let list = (0..headers).fold(OwnedHeaders::new(), |list, n| {
                list.insert(RdHeader { key: "name", value: (n > 0).then_some("value") })
            });
            let value = vec![0; value_bytes];
            let record = BaseRecord::<(), [u8]>::to(TOPIC).partition(0).payload(&value);
            producer.send(if headers > 0 { record.headers(list) } else { record }).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(DEADLINE).unwrap();
        let member = Member::join(broker.bootstrap(), "g", &[TOPIC], &[]);
        let messages = member.take(expected.len());
        let found: Vec<_> = messages.iter().map(|m| (m.payload().unwrap().len(), m.headers().count())).collect();
        assert_eq!(found, expected, "{codec}");
        drop(messages);
        assert_eq!(member.leave(), 0);
    }
}

// Queues

#[test]
fn a_batch_never_waits_and_one_message_waits_to_its_timeout() {
    let queue = idle_queue();
    let (start, mut messages) = (Instant::now(), Vec::new());
    assert_eq!(queue.consume_batch(512, &mut messages), 0);
    assert!(start.elapsed() < SHORT && messages.is_empty() && queue.is_empty());
    let start = Instant::now();
    assert!(queue.consume_one(SHORT).is_none());
    assert!(start.elapsed() >= SHORT - Duration::from_millis(50));
}

#[test]
fn a_batch_is_appended_up_to_its_maximum_and_keeps_order() {
    let broker = broker(&[(TOPIC, 1)]);
    produce(&producer(broker.bootstrap()), TOPIC, 0, 100);
    let queue = assigned(broker.bootstrap(), &[]);
    eventually("all fetched", || (queue.len() >= 100).then_some(()));
    let mut messages = Vec::new();
    assert_eq!(queue.consume_batch(30, &mut messages), 30);
    assert_eq!(queue.consume_batch(0, &mut messages), 0);
    assert_eq!(queue.consume_batch(512, &mut messages), 70);
    assert!(messages.iter().map(NativeMessage::offset).eq(0..100));
}

#[test]
fn a_yield_wakes_who_waits_and_is_not_lost_to_a_batch_in_between() {
    let queue = idle_queue();
    let handle = queue.handle();
    let start = Instant::now();
    let waker = thread::spawn(move || handle.yield_now());
    assert!(queue.consume_one(LONG).is_none());
    waker.join().unwrap();
    queue.yield_now();
    assert_eq!(queue.consume_batch(512, &mut Vec::new()), 0);
    assert!(queue.consume_one(LONG).is_none());
    assert!(start.elapsed() < LONG);
}

#[test]
fn a_forwarded_partition_leaves_nothing_to_the_consumers_own_queue() {
    let broker = broker(&[(TOPIC, 1)]);
    produce(&producer(broker.bootstrap()), TOPIC, 0, 100);
    let queue = assigned(broker.bootstrap(), &[]);
    eventually("all fetched", || {
        assert!(queue.consumer().poll(Duration::from_millis(5)).is_none());
        (queue.len() >= 100).then_some(())
    });
}

#[test]
fn a_partition_held_back_is_silent_and_flows_on_in_order_when_forwarded() {
    let broker = broker(&[(TOPIC, 1)]);
    let producer = producer(broker.bootstrap());
    produce(&producer, TOPIC, 0, 10);
    let queue = assigned(broker.bootstrap(), &[]);
    let mut messages = Vec::new();
    eventually("all", || {
        queue.consume_batch(512, &mut messages);
        (messages.len() == 10).then_some(())
    });
    queue.unforward_partition(TOPIC, 0).unwrap();
    produce(&producer, TOPIC, 0, 10);
    assert!(queue.consumer().poll(SHORT).is_none());
    assert_eq!(queue.consume_batch(512, &mut messages), 0);
    queue.forward_partition(TOPIC, 0).unwrap();
    produce(&producer, TOPIC, 0, 10);
    eventually("the rest", || {
        queue.consume_batch(512, &mut messages);
        (messages.len() == 30).then_some(())
    });
    assert!(messages.iter().map(NativeMessage::offset).eq(0..30));
}

#[test]
fn a_partition_assigned_again_is_silent_until_it_is_forwarded_again() {
    let broker = broker(&[(TOPIC, 1)]);
    produce(&producer(broker.bootstrap()), TOPIC, 0, 10);
    let queue = assigned(broker.bootstrap(), &[]);
    let mut messages = Vec::new();
    eventually("all", || {
        queue.consume_batch(512, &mut messages);
        (messages.len() == 10).then_some(())
    });
    queue.consumer().unassign().unwrap();
    queue.consumer().assign(&partition_list(&[(TOPIC, 0, 0)])).unwrap();
    assert!(queue.consumer().poll(SHORT).is_none());
    assert_eq!(queue.consume_batch(512, &mut messages), 0);
    queue.forward_partition(TOPIC, 0).unwrap();
    eventually("all again", || {
        queue.consume_batch(512, &mut messages);
        (messages.len() == 20).then_some(())
    });
    assert!(messages.iter().map(NativeMessage::offset).eq((0..10).chain(0..10)));
}

// Lifetimes

#[test]
fn a_consumer_is_not_destroyed_while_a_message_of_it_lives() {
    let broker = broker(&[(TOPIC, 1)]);
    produce(&producer(broker.bootstrap()), TOPIC, 0, 1);
    let queue = assigned(broker.bootstrap(), &[]);
    let message = eventually("the record", || queue.consume_one(Duration::from_millis(10)));
    let (destroyed, seen) = channel();
    let destroyer = thread::spawn(move || {
        drop(queue);
        destroyed.send(()).unwrap();
    });
    assert!(seen.recv_timeout(SHORT).is_err(), "memory of a live message would be freed");
    assert_eq!((message.topic(), message.payload()), (TOPIC, Some(&b"0/0"[..])));
    drop(message);
    seen.recv_timeout(DEADLINE).unwrap();
    destroyer.join().unwrap();
}

#[test]
fn a_context_with_a_handle_does_not_keep_its_consumer() {
    let broker = broker(&[(TOPIC, 1)]);
    let member = Member::join(broker.bootstrap(), "g", &[TOPIC], &[]);
    let context = Arc::downgrade(member.consumer.context());
    assert_eq!(member.leave(), 0);
    assert!(context.upgrade().is_none());
}

// Offsets

#[test]
fn offsets_are_stored_only_for_partitions_we_have() {
    let broker = broker(&[(TOPIC, 2)]);
    let member = Member::join(broker.bootstrap(), "g", &[TOPIC], &[]);
    eventually("assignment", || (member.assigned() == 2).then_some(()));
    let (ours, not_ours) = ([(TOPIC, 0, 5)], [(TOPIC, 7, 5)]);
    member.consumer.store_offsets(&partition_list(&ours)).unwrap();
    assert!(member.consumer.store_offsets(&partition_list(&not_ours)).is_err());
    assert_eq!(member.leave(), 0);
}

// Producer: what the relay leans on

/// Notes each delivery: the partition's offset, or why not.
#[derive(Clone, Default)]
struct Deliveries(Arc<std::sync::Mutex<Vec<Result<i64, RDKafkaErrorCode>>>>);

impl ClientContext for Deliveries {}
impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let outcome = match result {
            Ok(record) => Ok(record.offset()),
            Err((KafkaError::MessageProduction(code), _)) => Err(*code),
            Err((other, _)) => panic!("{other}"),
        };
        self.0.lock().unwrap().push(outcome);
    }
}

impl Deliveries {
    fn producer(&self, bootstrap: &str) -> ThreadedProducer<Self> {
        ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "0")
            .create_with_context(self.clone())
            .unwrap()
    }
    fn all(&self) -> Vec<Result<i64, RDKafkaErrorCode>> {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn without_a_message_timeout_records_wait_for_the_broker_and_arrive_in_order() {
    let broker = broker(&[(TOPIC, 1)]);
    let deliveries = Deliveries::default();
    let producer = deliveries.producer(broker.bootstrap());
    produce_unflushed(&producer, 1);
    producer.flush(DEADLINE).unwrap();
    broker.set_down().unwrap();
    produce_unflushed(&producer, 4);
    assert!(producer.flush(SHORT).is_err(), "a flush ends at its timeout");
    broker.set_up().unwrap();
    producer.flush(DEADLINE).unwrap();
    assert_eq!(deliveries.all(), (0..5).map(Ok).collect::<Vec<_>>());
}

#[test]
fn a_purge_reports_each_record_as_failed_so_none_is_forgotten() {
    let deliveries = Deliveries::default();
    let producer = deliveries.producer("127.0.0.1:1");
    produce_unflushed(&producer, 3);
    producer.purge(PurgeConfig::default().queue().inflight());
    producer.flush(DEADLINE).unwrap();
    eventually("all reported", || (deliveries.all().len() == 3).then_some(()));
    assert_eq!(deliveries.all(), [Err(RDKafkaErrorCode::PurgeQueue); 3]);
}

#[test]
fn a_fatal_error_never_heals_and_fails_every_later_send() {
    let broker = broker(&[(TOPIC, 1)]);
    let producer = producer(broker.bootstrap());
    produce(&producer, TOPIC, 0, 1);
    assert!(producer.client().fatal_error().is_none());
    let fenced = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    assert!(matches!(test_fatal_error(producer.client(), fenced, "a\0b"), Err(FaultError::BadReason(_))));
    test_fatal_error(producer.client(), fenced, "planted").unwrap();
    let (code, reason) = producer.client().fatal_error().unwrap();
    assert_eq!(code, RDKafkaErrorCode::OutOfOrderSequenceNumber);
    assert!(reason.contains("planted"), "{reason}");
    let (error, _) = producer.send(BaseRecord::to(TOPIC).key("k").payload("v")).unwrap_err();
    assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::Fatal)), "{error}");
    assert!(matches!(test_fatal_error(producer.client(), fenced, "again"), Err(FaultError::AlreadyFatal)));
    produce(&support::producer(broker.bootstrap()), TOPIC, 0, 1);
}

#[test]
fn a_record_too_large_is_refused_at_once_and_the_producer_lives_on() {
    let broker = broker(&[(TOPIC, 1)]);
    let producer = producer_with(broker.bootstrap(), &[("message.max.bytes", "2000")]);
    let (error, _) = producer.send(BaseRecord::to(TOPIC).key("k").payload(&vec![0_u8; 5000])).unwrap_err();
    assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)), "{error}");
    produce(&producer, TOPIC, 0, 1);
}

#[test]
fn a_request_error_that_heals_is_retried_without_a_trace() {
    const PRODUCE: i16 = 0;
    let broker = broker(&[(TOPIC, 1)]);
    let deliveries = Deliveries::default();
    let producer = deliveries.producer(broker.bootstrap());
    broker.push_request_errors(
        PRODUCE,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT],
    );
    produce_unflushed(&producer, 3);
    producer.flush(DEADLINE).unwrap();
    broker.clear_request_errors(PRODUCE);
    assert_eq!(deliveries.all(), [Ok(0), Ok(1), Ok(2)]);
}

fn produce_unflushed(producer: &ThreadedProducer<Deliveries>, count: usize) {
    for _ in 0..count {
        producer.send(BaseRecord::to(TOPIC).partition(0).key("k").payload("v")).unwrap();
    }
}
