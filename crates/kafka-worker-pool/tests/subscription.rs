//! What a pool reads and from where, when nobody has a position yet: lists and patterns of topics, the end, a time, explicit offsets. And what a
//! user can stop: single partitions; one pool of several in a process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Broker, Recorder, assert_once_and_in_order, eventually, ready};
use kafka_worker_pool::{Start, TopicPartition};

on_all_brokers!(
    a_pattern_reads_the_topics_of_now_and_of_later,
    the_end_that_was_chosen_holds_before_the_first_record,
    a_time_starts_at_the_first_record_that_late,
    explicit_offsets_hold_only_where_there_is_no_position,
    a_paused_partition_stands_still_alone_and_stays_paused_when_it_comes_back,
    pools_of_one_process_do_not_touch_each_other,
);

async fn a_pattern_reads_the_topics_of_now_and_of_later(broker: Broker) {
    let family = broker.topic(1).await;
    let (named, first, second) = (broker.topic(1).await, format!("{family}.eu"), format!("{family}.us"));
    broker.create(&first, 2).await;
    // Its name matches, but these are the group's own dead letters.
    let letters = format!("{first}.{}.dlq", broker.group);
    broker.create(&letters, 1).await;
    broker.send(&letters, 9_000..9_010, 5).await;
    broker.send(&named, 0..20, 5).await;
    broker.send(&first, 20..60, 5).await;
    let recorder = Recorder::that_succeeds();
    let pattern = format!("^{family}\\..*");
    let none = format!("^{family}-none");
    let topics = [named.as_str(), pattern.as_str(), none.as_str()];
    let pool = broker.pool(&family).topics(topics).handler(recorder.clone()).start().unwrap();
    recorder.until(60).await;
    eventually("what matches nothing is named", || pool.status().missing_topics == [none.as_str()]).await;
    if broker.embedded.is_some() && pool.status().protocol == "consumer" {
        // The embedded broker assigns by KIP-848 only when membership changes.
        pool.stop().await.unwrap();
        return;
    }
    broker.create(&second, 2).await;
    broker.send(&second, 60..100, 5).await;
    recorder.until(100).await;
    let of_topics: BTreeSet<String> = pool.status().assigned.iter().map(|name| name.topic.to_string()).collect();
    assert_eq!(of_topics, BTreeSet::from([named, first, second]));
    pool.stop().await.unwrap();
    // The topics have the same keys, and nothing orders one topic before the other.
    let mut numbers: Vec<u64> = recorder.done().iter().map(|seen| seen.number).collect();
    numbers.sort_unstable();
    if broker.may_double() {
        numbers.dedup();
    }
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

async fn the_end_that_was_chosen_holds_before_the_first_record(broker: Broker) {
    let topic = broker.topic(2).await;
    broker.send(&topic, 0..50, 5).await;
    let mut options = broker.options();
    options.start = Start::Latest;
    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(&topic).options(options.clone()).handler(recorder.clone()).start().unwrap();
    // The end is looked up before the first assignment is told.
    ready(&pool).await;
    broker.send(&topic, 50..60, 5).await;
    recorder.until(10).await;
    pool.stop().await.unwrap();
    assert_once_and_in_order(&recorder.done(), 50..60);

    // A pool that saw no record at all leaves the position it chose.
    let quiet = broker.topic(2).await;
    broker.send(&quiet, 0..50, 5).await;
    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(&quiet).options(options.clone()).handler(recorder.clone()).start().unwrap();
    ready(&pool).await;
    assert_eq!(pool.stop().await.unwrap().handled, 0);
    broker.send(&quiet, 50..80, 5).await;
    let pool = broker.pool(&quiet).options(options).handler(recorder.clone()).start().unwrap();
    recorder.until(30).await;
    pool.stop().await.unwrap();
    assert_once_and_in_order(&recorder.done(), 50..80);
}

async fn a_time_starts_at_the_first_record_that_late(broker: Broker) {
    const EPOCH_MS: i64 = 1_700_000_000_000;
    let topic = broker.topic(1).await;
    broker.send_at(&topic, 0..50, 5, |number| EPOCH_MS + i64::try_from(number).unwrap() * 1_000).await;
    let mut options = broker.options();
    options.start = Start::Timestamp { ms: EPOCH_MS + 29_500 };
    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(&topic).options(options.clone()).handler(recorder.clone()).start().unwrap();
    // The embedded broker knows no times: there everything is read.
    let first = if broker.embedded.is_some() { 0 } else { 30 };
    recorder.until(50 - first).await;
    pool.stop().await.unwrap();
    assert_once_and_in_order(&recorder.done(), first as u64..50);

    // No record is that late: the end.
    if broker.embedded.is_none() {
        let other = broker.topic(1).await;
        broker.send_at(&other, 0..50, 5, |_| EPOCH_MS).await;
        let recorder = Recorder::that_succeeds();
        let pool = broker.pool(&other).options(options).handler(recorder.clone()).start().unwrap();
        ready(&pool).await;
        broker.send_at(&other, 50..60, 5, |_| EPOCH_MS).await;
        recorder.until(10).await;
        pool.stop().await.unwrap();
        assert_once_and_in_order(&recorder.done(), 50..60);
    }
}

async fn explicit_offsets_hold_only_where_there_is_no_position(broker: Broker) {
    let (topic, other) = (broker.topic(1).await, broker.topic(1).await);
    broker.send(&topic, 0..100, 5).await;
    broker.send(&other, 100..200, 5).await;
    let mut options = broker.options();
    options.start_offsets.insert(TopicPartition::new(topic.as_str(), 0), 70);
    let recorder = Recorder::that_succeeds();
    let both = [topic.as_str(), other.as_str()];
    let pool = broker.pool(&topic).topics(both).options(options).handler(recorder.clone()).start().unwrap();
    recorder.until(130).await;
    pool.stop().await.unwrap();
    // `other` was not named, so `start` holds for it: the earliest.
    assert_once_and_in_order(&recorder.done(), 70..200);

    // Now there is a position, and offsets are no longer asked.
    let mut options = broker.options();
    options.start_offsets.insert(TopicPartition::new(topic.as_str(), 0), 3);
    broker.send(&topic, 200..210, 5).await;
    let again = Recorder::that_succeeds();
    let pool = broker.pool(&topic).options(options.clone()).handler(again.clone()).start().unwrap();
    again.until(10).await;
    pool.stop().await.unwrap();
    assert_once_and_in_order(&again.done(), 200..210);

    // An offset the broker does not have: its earliest record, and that is where positions go on from.
    let third = broker.topic(1).await;
    broker.send(&third, 0..20, 5).await;
    options.start_offsets.insert(TopicPartition::new(third.as_str(), 0), 9_000);
    let all = Recorder::that_succeeds();
    let pool = broker.pool(&third).options(options.clone()).handler(all.clone()).start().unwrap();
    all.until(20).await;
    pool.stop().await.unwrap();
    broker.send(&third, 20..30, 5).await;
    let pool = broker.pool(&third).options(options).handler(all.clone()).start().unwrap();
    all.until(30).await;
    pool.stop().await.unwrap();
    assert_once_and_in_order(&all.done(), 0..30);
}

async fn a_paused_partition_stands_still_alone_and_stays_paused_when_it_comes_back(broker: Broker) {
    let topic = broker.topic(2).await;
    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(&topic).handler(recorder.clone()).start().unwrap();
    eventually("both partitions are here", || pool.status().assigned.len() == 2).await;
    let paused = TopicPartition::new(topic.as_str(), 0);
    pool.pause_partitions([paused.clone()]);
    eventually("the pause shows", || pool.status().paused_partitions == [paused.clone()]).await;
    broker.send(&topic, 0..400, 40).await;
    let of_partition = |partition| recorder.done().iter().filter(|seen| seen.partition == partition).count();
    eventually("the other partition goes on", || of_partition(1) > 100).await;

    // Another member takes a partition and gives it back.
    let other = broker.pool(&topic).handler(Recorder::that_succeeds()).start().unwrap();
    eventually("each has one", || pool.status().assigned.len() == 1 && other.status().assigned.len() == 1).await;
    other.stop().await.unwrap();
    eventually("both are back", || pool.status().assigned.len() == 2).await;
    let before = of_partition(1);
    broker.send(&topic, 400..800, 40).await;
    eventually("the other partition goes on again", || of_partition(1) > before + 100).await;
    assert_eq!(pool.status().paused_partitions, std::slice::from_ref(&paused));
    let mine: BTreeSet<u64> =
        recorder.done().iter().filter(|seen| seen.partition == 0).map(|seen| seen.number).collect();
    assert!(mine.is_empty(), "the paused partition stood still");

    pool.resume_partitions([paused]);
    eventually("it goes on", || of_partition(0) > 100).await;
    pool.stop().await.unwrap();
}

async fn pools_of_one_process_do_not_touch_each_other(broker: Broker) {
    let (topic, other_topic) = (broker.topic(4).await, broker.topic(2).await);
    broker.send(&topic, 0..500, 50).await;
    broker.send(&other_topic, 0..500, 50).await;
    let (ours, others, third) = (Recorder::that_succeeds(), Recorder::that_succeeds(), Recorder::that_succeeds());
    // Two members of one group, a second group on the same topic, a third on another.
    let mut options = broker.options();
    options.name = Some("second-of-group".to_owned());
    let first = broker.pool(&topic).handler(ours.clone()).start().unwrap();
    eventually("the first has all", || first.status().assigned.len() == 4).await;
    let second = broker.pool(&topic).options(options).handler(ours.clone()).start().unwrap();
    let elsewhere = broker.pool_of(&format!("{}-b", broker.group), &topic).handler(others.clone()).start().unwrap();
    let apart = broker.pool_of(&format!("{}-c", broker.group), &other_topic).handler(third.clone()).start().unwrap();
    others.until(500).await;
    third.until(500).await;
    ours.until(500).await;
    eventually("the group is shared", || first.status().assigned.len() == 2 && second.status().assigned.len() == 2)
        .await;
    // One of them is paused and ends; the others do not notice.
    elsewhere.pause();
    second.stop().await.unwrap();
    broker.send(&topic, 500..600, 50).await;
    broker.send(&other_topic, 500..600, 50).await;
    let all =
        |recorder: &Recorder| recorder.done().iter().map(|seen| seen.number).collect::<BTreeSet<_>>().len() == 600;
    eventually("the group goes on", || all(&ours)).await;
    eventually("the third goes on", || all(&third)).await;
    assert_eq!(others.count(), 500, "paused");
    elsewhere.resume();
    others.until(600).await;
    for pool in [first, elsewhere, apart] {
        tokio::time::timeout(Duration::from_secs(40), pool.stop()).await.unwrap().unwrap();
    }
    assert_once_and_in_order(&others.done(), 0..600);
    assert_once_and_in_order(&third.done(), 0..600);
}
