//! Handlers that block, on threads of the pool's own: the rules of all handlers hold for them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Broker, Recorder, assert_all_and_in_order, assert_once_and_in_order, eventually, ready};
use kafka_worker_pool::{HandlerError, Record, StopError, blocking, blocking_batches};

on_all_brokers!(handlers_that_block_keep_order_attempts_letters_and_batches, a_revoke_waits_for_calls_that_block,);

on_real_kafka!(a_stop_gives_up_waiting_for_a_call_that_blocks_at_its_deadline, a_key_that_spins_holds_up_no_other,);

async fn handlers_that_block_keep_order_attempts_letters_and_batches(broker: Broker) {
    let topic = broker.topic(2).await;
    let letters = format!("{topic}.{}.dlq", broker.group);
    broker.create(&letters, 1).await;
    broker.send(&topic, 0..600, 30).await;
    let recorder = Recorder::new(Duration::from_millis(1), |number, tries| match number {
        7 => Err(HandlerError::reject("cannot be read")),
        29 if tries == 0 => panic!("planned"),
        31 if tries < 2 => Err(HandlerError::retry("fails twice")),
        _ => Ok(()),
    });
    let mut options = broker.options();
    options.max_attempts = 3;
    options.max_batch = 8;
    options.blocking_threads = Some(8);
    let pool = broker.pool(&topic).options(options).handler(blocking_batches(recorder.clone())).start().unwrap();
    recorder.until(599).await;
    assert_eq!(broker.read(&letters, 1).await[0].0, "k7");
    let report = pool.stop().await.unwrap();
    assert_eq!((report.handled, report.dead_lettered, report.undone), (600, 1, 0));
    let mut done = recorder.done();
    done.push(common::Seen { key: "the letter".to_owned(), number: 7, partition: 0, offset: 0 });
    assert_once_and_in_order(&done, 0..600);

    let next = Recorder::that_succeeds();
    let pool = broker.pool(&topic).handler(blocking_batches(next.clone())).start().unwrap();
    broker.send(&topic, 600..610, 30).await;
    next.until(10).await;
    pool.stop().await.unwrap();
    assert_once_and_in_order(&next.done(), 600..610);
}

async fn a_revoke_waits_for_calls_that_block(broker: Broker) {
    let topic = broker.topic(4).await;
    broker.send(&topic, 0..800, 40).await;
    let recorder = Recorder::new(Duration::from_millis(20), |_, _| Ok(()));
    let handler = || blocking_batches(recorder.clone());
    let first = broker.pool(&topic).handler(handler()).start().unwrap();
    ready(&first).await;
    recorder.until(100).await;
    let second = broker.pool(&topic).handler(handler()).start().unwrap();
    eventually("the second has its part", || second.status().assigned.len() == 2).await;
    let all = || recorder.done().iter().map(|seen| seen.number).collect::<BTreeSet<_>>().len() == 800;
    eventually("everything is done", all).await;
    second.stop().await.unwrap();
    first.stop().await.unwrap();
    if broker.may_double() {
        let numbers: Vec<u64> = recorder.done().iter().map(|seen| seen.number).collect();
        assert_all_and_in_order(&numbers, 0..800, 40);
    } else {
        assert_once_and_in_order(&recorder.done(), 0..800);
    }
}

async fn a_stop_gives_up_waiting_for_a_call_that_blocks_at_its_deadline(broker: Broker) {
    let topic = broker.topic(1).await;
    broker.send(&topic, 0..10, 10).await;
    let (free, freed) = std::sync::mpsc::channel::<()>();
    let (freed, begun) = (std::sync::Mutex::new(freed), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&begun);
    let handler = blocking(move |record: Record| {
        seen.fetch_add(1, Ordering::AcqRel);
        if record.offset == 5 {
            freed.lock().unwrap().recv().ok();
        }
        Ok(())
    });
    let mut options = broker.options();
    options.drain_timeout = Duration::from_millis(300);
    // Long past: a thread cannot be interrupted, so it changes nothing.
    options.handler_timeout = Duration::from_millis(50);
    let pool = broker.pool(&topic).options(options).handler(handler).start().unwrap();
    eventually("all have begun", || begun.load(Ordering::Acquire) == 10).await;
    eventually("one is left", || pool.status().in_flight == 1).await;
    let began = Instant::now();
    let Err(StopError::Deadline(report)) = pool.stop().await else { panic!("a record was not done") };
    assert_eq!((report.handled, report.undone), (9, 1));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    free.send(()).ok();
}

/// A key that spins for half a second a record holds one thread: the others are done before its second record is.
async fn a_key_that_spins_holds_up_no_other(broker: Broker) {
    let topic = broker.topic(4).await;
    let slow = (0..3).map(|n| ("slow".to_owned(), n.to_string()));
    let others = (3..1_003).map(|n| (format!("k{}", n % 100), n.to_string()));
    broker.send_all(&topic, slow.chain(others).collect()).await;
    let recorder = Recorder::that_succeeds();
    let seen = recorder.clone();
    let handler = blocking_batches(move |batch: &[Record]| {
        if batch[0].key.as_deref() == Some(b"slow") {
            let until = Instant::now() + Duration::from_millis(500);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
        kafka_worker_pool::BlockingHandler::handle_blocking(&seen, batch)
    });
    let pool = broker.pool(&topic).handler(handler).start().unwrap();
    recorder.until(1_003).await;
    let slow_before_the_last_other = |done: &[common::Seen]| {
        let last = done.iter().rposition(|seen| seen.key != "slow").unwrap();
        done[..last].iter().filter(|seen| seen.key == "slow").count()
    };
    let waited_for = slow_before_the_last_other(&recorder.done());
    assert!(waited_for <= 1, "the others waited for {waited_for} of 3 slow records");
    assert_eq!(pool.stop().await.unwrap().handled, 1_003);
    assert_once_and_in_order(&recorder.done(), 0..1_003);
}
