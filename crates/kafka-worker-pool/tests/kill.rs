//! A process killed in the middle of its work: nothing is lost, a little is doubled, no key's records swap. The test runs itself again as
//! the process to kill.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use common::{Broker, Recorder, assert_all_and_in_order, eventually};
use kafka_worker_pool::{GroupProtocol, HandlerError, KafkaWorkerPool, Options, Record, each};

on_all_brokers!(a_killed_process_loses_nothing_and_swaps_nothing);

/// Where the process to kill finds its orders: brokers, group, topic, file, protocol, session timeout.
const ORDERS: &str = "POOL_KILL_TEST_ORDERS";

async fn a_killed_process_loses_nothing_and_swaps_nothing(broker: Broker) {
    let topic = broker.topic(4).await;
    broker.send(&topic, 0..6_000, 60).await;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(&topic);
    let protocol = match broker.options().protocol {
        GroupProtocol::Classic => "classic",
        _ => "consumer",
    };
    let session_ms = broker.options().session_timeout_ms.to_string();
    let orders = [&broker.bootstrap, &broker.group, &topic, file.to_str().unwrap(), protocol, &session_ms];
    let orders = orders.map(String::from);
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
    let handler = each(move |record: Record| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let number = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
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
