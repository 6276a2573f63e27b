//! The whole way on the embedded broker: append, relay, broker, pool, gate, effect; and the way of a dead letter and back.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use std::time::{Duration, Instant};

use kafka_worker_pool::{Handle, KafkaWorkerPool, OnTimeout, Options};
use outbox::{Gate, NewEvent, db::Database, ops};
use rdkafka_ext::EmbeddedBroker;
use support::{
    kafka::{Running, broker, options, until},
    *,
};

on_both! {
    everything_accepted_is_applied_once_and_in_order
    a_dead_letter_goes_out_and_its_replay_comes_back
}

fn pool(broker: &EmbeddedBroker, gate: &Gate<Recorder>) -> Handle {
    let mut options = Options::default();
    options.max_batch = 64;
    options.on_timeout = OnTimeout::Await;
    options.fetch_wait_max_ms = 10;
    KafkaWorkerPool::builder(broker.bootstrap(), GROUP)
        .topics([TOPIC, RETRY])
        .options(options)
        .key(Gate::<Recorder>::key)
        .handler(gate.clone())
        .dead_letters(gate.clone())
        .positions(gate.clone())
        .start()
        .unwrap()
}

async fn everything_accepted_is_applied_once_and_in_order(db: Database) {
    const PROJECTS: usize = 50;
    const EVENTS: i64 = 4;
    let broker = broker();
    let relay = Running::start(&db, options(&broker));
    let (gate, _) = gate(&db);
    let handle = pool(&broker, &gate);
    handle.ready().await.unwrap();

    let mut latencies = Vec::new();
    for at in 0..PROJECTS {
        let project = format!("P{at:03}");
        for seq in 1..=EVENTS {
            append_all(&db, vec![event(&project, seq).new_event()]).await;
        }
        let committed = Instant::now();
        let last = format!("SELECT event_id AS value FROM effect WHERE event_id = '{project}-{EVENTS}'");
        while column(&db, &last).await.is_empty() {
            assert!(committed.elapsed() < support::kafka::PATIENCE, "{project} is not applied");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        latencies.push(committed.elapsed());
    }
    latencies.sort();
    let p50 = latencies[latencies.len() / 2];
    eprintln!("{:?}: commit to effect: p50 {p50:?}, max {:?}", db.kind(), latencies.last().unwrap());

    // A burst on top, of which some is sent twice.
    let burst: Vec<NewEvent> = (0..PROJECTS).map(|at| event(&format!("P{at:03}"), EVENTS + 1).new_event()).collect();
    append_all(&db, burst).await;
    ops::republish(&db, ops::Republish::Project("P007".to_owned()), None).await.unwrap();
    let expected = PROJECTS * usize::try_from(EVENTS + 1).unwrap();
    until("all effects are there", async || effects(&db).await.len() >= expected).await;
    handle.stop().await.unwrap();
    relay.stop().await;
    let effects = effects(&db).await;
    assert_eq!(effects.len(), expected, "none twice");
    for at in 0..PROJECTS {
        let project = format!("P{at:03}");
        let of_project: Vec<_> = effects.iter().filter(|id| id.starts_with(&project)).cloned().collect();
        let in_order: Vec<_> = (1..=EVENTS + 1).map(|seq| format!("{project}-{seq}")).collect();
        assert_eq!(of_project, in_order);
    }
    assert!(count(&db, "kafka_pos").await > 0, "positions are kept");
}

async fn a_dead_letter_goes_out_and_its_replay_comes_back(db: Database) {
    let broker = broker();
    let relay = Running::start(&db, options(&broker));
    let (gate, recorder) = gate(&db);
    let handle = pool(&broker, &gate);
    recorder.fail("P-2", Mood::Reject, 10);
    append_all(&db, (1..=4).map(|seq| event("P", seq).new_event()).collect()).await;
    until("the letter is open", async || ops::open_letters(&db).await.unwrap().len() == 1).await;
    let letter = support::kafka::read(&broker, DLQ, 1).await.remove(0);
    until("the later ones are parked", async || count(&db, "parked").await == 2).await;
    assert_eq!(effects(&db).await, ["P-1"]);

    recorder.fail("P-2", Mood::Reject, 0);
    let letter_id = String::from_utf8(letter.key.unwrap().to_vec()).unwrap();
    let replay = event("P", 2).payload(b"{\"corrected\":true}").replay_of(&letter_id);
    let mut mail = replay.new_event();
    mail.event_id = "replay".to_owned();
    mail.stream_id = "replay/1".to_owned();
    mail.headers.extend(replay.marks.iter().map(|(name, value)| (name.clone(), Some(value.clone().into_bytes()))));
    append_all(&db, vec![mail]).await;
    until("the stream goes on", async || effects(&db).await.len() == 4).await;
    assert_eq!(effects(&db).await, ["P-1", "P-2", "P-3", "P-4"]);
    let outcome = support::kafka::read(&broker, DLQ, 2).await.remove(1);
    assert_eq!(outcome.headers.get("ctms_outcome"), Some(&b"replayed"[..]));
    handle.stop().await.unwrap();
    relay.stop().await;
}
