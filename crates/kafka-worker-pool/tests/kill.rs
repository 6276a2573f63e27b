//! A process killed in the middle of its work: nothing is lost, a little is doubled, no key's records swap, and what was done above a record
//! that is stuck is not done again. The test runs itself again as the process to kill.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::{Broker, Recorder, assert_all_and_in_order, eventually};
use kafka_worker_pool::{GroupProtocol, HandlerError, KafkaWorkerPool, Options, Record, each};

on_all_brokers!(
    a_killed_process_loses_nothing_and_swaps_nothing,
    what_a_killed_process_did_above_a_stuck_record_is_not_done_again,
);

/// Where the process to kill finds its orders: brokers, group, topic, file, protocol, session timeout, the record it never ends.
const ORDERS: &str = "POOL_KILL_TEST_ORDERS";

async fn a_killed_process_loses_nothing_and_swaps_nothing(broker: Broker) {
    let topic = broker.topic(4).await;
    broker.send(&topic, 0..6_000, 60).await;
    let (orders, file) = orders(&broker, &topic, "none");
    for kill in 1..=2 {
        let mut process = worker(&orders);
        eventually("the process works", || done(&file).len() >= kill * 1_500).await;
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let before = done(&file);
    assert!(before.len() < 6_000, "killed in the middle");

    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(&topic).handler(recorder.clone()).start().unwrap();
    let all = || {
        let numbers: BTreeSet<u64> =
            before.iter().copied().chain(recorder.done().iter().map(|seen| seen.number)).collect();
        numbers.len() == 6_000
    };
    eventually("everything is done", all).await;
    pool.stop().await.unwrap();
    let after = recorder.done();
    let numbers: Vec<u64> = before.into_iter().chain(after.iter().map(|seen| seen.number)).collect();
    assert_all_and_in_order(&numbers, 0..6_000, 60);
    std::fs::remove_file(file).unwrap();
}

async fn what_a_killed_process_did_above_a_stuck_record_is_not_done_again(broker: Broker) {
    let topic = broker.topic(1).await;
    broker.send(&topic, 0..2_000, 2_000).await;
    let (orders, file) = orders(&broker, &topic, "0");
    let mut process = worker(&orders);
    eventually("all but one are done", || done(&file).len() == 1_999).await;
    // Leader epoch 0, position 0; one offset is not told of, in 1,999 all is done.
    let deadline = Instant::now() + Duration::from_secs(40);
    while !broker.commit_of(&topic, 0).await.is_some_and(|(_, text)| text.ends_with(":BABv-B")) {
        assert!(Instant::now() < deadline, "what is done is not committed: {:?}", broker.commit_of(&topic, 0).await);
    }
    process.kill().unwrap();
    process.wait().unwrap();

    let recorder = Recorder::that_succeeds();
    let pool = broker.pool(&topic).handler(recorder.clone()).start().unwrap();
    broker.send(&topic, 2_000..2_010, 2_000).await;
    eventually("what is new is done", || recorder.done().iter().any(|seen| seen.number == 2_009)).await;
    pool.stop().await.unwrap();
    let mut numbers: Vec<u64> = recorder.done().iter().map(|seen| seen.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0].into_iter().chain(2_000..2_010).collect::<Vec<_>>());
    std::fs::remove_file(file).unwrap();
}

fn orders(broker: &Broker, topic: &str, stuck: &str) -> ([String; 7], PathBuf) {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(topic);
    let protocol = match broker.options().protocol {
        GroupProtocol::Classic => "classic",
        _ => "consumer",
    };
    let session_ms = broker.options().session_timeout_ms.to_string();
    let orders = [&broker.bootstrap, &broker.group, topic, file.to_str().unwrap(), protocol, &session_ms, stuck];
    (orders.map(String::from), file)
}

fn worker(orders: &[String]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["the_process_to_kill", "--exact", "--nocapture"])
        .env(ORDERS, orders.join(" "))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn done(file: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| line.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_to_kill() {
    let Ok(orders) = std::env::var(ORDERS) else {
        return;
    };
    let orders: Vec<&str> = orders.split(' ').collect();
    let file = std::fs::File::options().create(true).append(true).open(orders[3]).unwrap();
    let file: &'static Mutex<_> = Box::leak(Box::new(Mutex::new(file)));
    let mut options = Options::default();
    options.protocol = if orders[4] == "classic" { GroupProtocol::Classic } else { GroupProtocol::Consumer };
    options.session_timeout_ms = orders[5].parse().unwrap();
    options.heartbeat_interval_ms = options.session_timeout_ms / 6;
    let stuck: &'static str = Box::leak(orders[6].into());
    let handler = each(move |record: Record| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let number = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
        if number == stuck {
            return std::future::pending().await;
        }
        file.lock().unwrap().write_all(format!("{number}\n").as_bytes()).map_err(HandlerError::retry)
    });
    let pool = KafkaWorkerPool::builder(orders[0], orders[1])
        .topics([orders[2]])
        .options(options)
        .handler(handler)
        .start()
        .unwrap();
    pool.finished().await.unwrap();
}
