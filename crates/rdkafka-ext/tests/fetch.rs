//! How soon a partition flows again after a pause, on the embedded broker.
#![allow(clippy::unwrap_used, reason = "a test: the panic is its answer")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka_ext::{SharedQueue, wake_fetchers};
use support::{Context, broker, consumer_config, eventually, partition_list, produce, producer};

const TOPIC: &str = "study.events";
/// Far longer than a fetch takes, far shorter than the second an idle broker thread sleeps.
const SOON: Duration = Duration::from_millis(300);

/// The longest time from a resume of the only partition to its next record, over some rounds: when the thread falls asleep is chance.
fn longest_silence(go_on: impl Fn(&BaseConsumer<Context>)) -> Duration {
    let broker = broker(&[(TOPIC, 1)]);
    let producer = producer(broker.bootstrap());
    let config = consumer_config(broker.bootstrap(), "g", &[]);
    let consumer: Arc<BaseConsumer<Context>> = Arc::new(config.create_with_context(Context::default()).unwrap());
    let queue = SharedQueue::new(Arc::clone(&consumer)).unwrap();
    queue.forward_partition(TOPIC, 0).unwrap();
    consumer.assign(&partition_list(&[(TOPIC, 0, 0)])).unwrap();
    let partition = partition_list(&[(TOPIC, 0, -1001)]);
    let mut longest = Duration::ZERO;
    for _ in 0..8 {
        produce(&producer, TOPIC, 0, 1);
        eventually("a record", || queue.consume_one(Duration::from_millis(10)));
        consumer.pause(&partition).unwrap();
        produce(&producer, TOPIC, 0, 1);
        assert!(queue.consume_one(Duration::from_millis(100)).is_none(), "it is paused");
        consumer.resume(&partition).unwrap();
        let resumed = Instant::now();
        go_on(&consumer);
        eventually("the next record", || queue.consume_one(Duration::from_millis(10)));
        longest = longest.max(resumed.elapsed());
    }
    drop(queue);
    longest
}

#[test]
fn a_resumed_partition_flows_at_once_when_its_fetcher_is_woken() {
    let longest = longest_silence(|consumer| wake_fetchers(consumer, &partition_list(&[(TOPIC, 0, 0)])));
    assert!(longest < SOON, "{longest:?}");
}

#[test]
fn librdkafka_does_not_wake_it_by_itself() {
    let longest = longest_silence(|_| {});
    assert!(longest > SOON, "{longest:?}: then `wake_fetchers` is needed no longer");
}
