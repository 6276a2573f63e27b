//! The relay on both databases against the embedded broker: everything accepted arrives, in order, whatever dies or stands in the way.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use std::time::{Duration, Instant};

use kafka_worker_pool::Handler as _;
use outbox::{
    db::{self, Database},
    ops::{self, Republish},
};
use support::{
    kafka::{Running, broker, event_ids, options, read, until},
    *,
};

on_both! {
    events_arrive_in_order_with_their_envelope
    a_commit_wakes_the_relay
    rows_that_were_acknowledged_and_not_marked_are_sent_again_and_applied_once
    of_two_relays_one_sends_and_the_other_takes_over
    a_relay_that_lost_its_lease_stops_sending
    a_refused_row_holds_only_its_stream
    a_broker_that_was_away_gets_everything_in_order
    a_fatal_producer_is_rebuilt
    a_stop_gives_the_lease_up
    letters_and_outcomes_reach_the_dead_letter_topic
    a_refill_reaches_one_group_or_all
    a_lease_from_a_clock_that_went_back_does_not_hold
    a_batch_that_is_refused_is_taken_apart
}

fn numbered(stream: &str, from: i64, to: i64) -> Vec<outbox::NewEvent> {
    (from..=to).map(|seq| event(stream, seq).new_event()).collect()
}

fn ids(stream: &str, from: i64, to: i64) -> Vec<String> {
    (from..=to).map(|seq| format!("{stream}-{seq}")).collect()
}

async fn events_arrive_in_order_with_their_envelope(db: Database) {
    let broker = broker();
    append_all(&db, numbered("P", 1, 2_500)).await;
    let relay = Running::start(&db, options(&broker));
    let records = read(&broker, TOPIC, 2_500).await;
    assert_eq!(event_ids(&records), ids("P", 1, 2_500));
    let sent = event("P", 1).record();
    assert_eq!(records[0].key, sent.key);
    assert_eq!(records[0].value, sent.value);
    assert_eq!(records[0].headers.get("ce_sequence"), Some(&b"1"[..]));
    until("all rows are marked", async || ops::unpublished(&db).await.unwrap().pending == 0).await;
    assert_eq!(relay.handle.status().published, 2_500, "nothing is sent twice");
    relay.stop().await;
}

async fn a_commit_wakes_the_relay(db: Database) {
    let broker = broker();
    let mut slow = options(&broker);
    slow.poll = Duration::from_secs(3_600);
    slow.lease = Duration::from_secs(3_600);
    let relay = Running::start(&db, slow);
    append_all(&db, numbered("P", 1, 1)).await;
    until("the first event is published", async || relay.handle.status().published == 1).await;
    let mut latencies = Vec::new();
    for seq in 2..=40 {
        let committed = Instant::now();
        append_all(&db, numbered("P", seq, seq)).await;
        while relay.handle.status().published < seq.unsigned_abs() {
            assert!(committed.elapsed() < support::kafka::PATIENCE, "without the poll only the commit can wake it");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        latencies.push(committed.elapsed());
    }
    latencies.sort();
    eprintln!(
        "append to acknowledged and marked: p50 {:?}, max {:?}",
        latencies[latencies.len() / 2],
        latencies.last().unwrap()
    );
    relay.stop().await;
}

async fn rows_that_were_acknowledged_and_not_marked_are_sent_again_and_applied_once(db: Database) {
    let broker = broker();
    append_all(&db, numbered("P", 1, 5)).await;
    let relay = Running::start(&db, options(&broker));
    until("all rows are marked", async || relay.handle.status().published == 5).await;
    relay.kill().await;
    db::exec(db.writer(), "UPDATE outbox SET published_at = NULL WHERE stream_seq > 2", []).await.unwrap();
    append_all(&db, numbered("P", 6, 7)).await;
    let relay = Running::start(&db, options(&broker));
    let records = read(&broker, TOPIC, 10).await;
    relay.stop().await;
    let (gate, _) = gate(&db);
    gate.handle(&records).await.unwrap();
    assert_eq!(effects(&db).await, ids("P", 1, 7));
}

async fn of_two_relays_one_sends_and_the_other_takes_over(db: Database) {
    let broker = broker();
    let first = Running::start(&db, options(&broker));
    until("the first relay leads", async || first.handle.status().active).await;
    let second = Running::start(&db, options(&broker));
    append_all(&db, numbered("P", 1, 20)).await;
    assert_eq!(event_ids(&read(&broker, TOPIC, 20).await), ids("P", 1, 20));
    assert!(!second.handle.status().active);
    first.kill().await;
    append_all(&db, numbered("P", 21, 40)).await;
    until("the second relay takes over", async || second.handle.status().active).await;
    until("all rows are marked", async || ops::unpublished(&db).await.unwrap().pending == 0).await;
    let (gate, _) = gate(&db);
    gate.handle(&read(&broker, TOPIC, 40).await).await.unwrap();
    assert_eq!(effects(&db).await, ids("P", 1, 40));
    second.stop().await;
}

/// What a relay finds that was stopped past its lease and goes on: another has taken it.
async fn a_relay_that_lost_its_lease_stops_sending(db: Database) {
    let broker = broker();
    let relay = Running::start(&db, options(&broker));
    append_all(&db, numbered("P", 1, 1)).await;
    until("the relay leads", async || relay.handle.status().published == 1).await;
    let taken = "UPDATE relay_lease SET owner = 'another', epoch = epoch + 1, expires_at = $1";
    db::exec(db.writer(), taken, [(db::now() + Duration::from_secs(3)).into()]).await.unwrap();
    append_all(&db, numbered("P", 2, 2)).await;
    until("the relay sees it", async || !relay.handle.status().active).await;
    assert_eq!(relay.handle.status().published, 1, "its mark does not count");
    until("it leads again after the other's lease ran out", async || relay.handle.status().published == 2).await;
    let (gate, _) = gate(&db);
    let records = read(&broker, TOPIC, 2).await;
    gate.handle(&records).await.unwrap();
    assert_eq!(effects(&db).await, ids("P", 1, 2));
    relay.stop().await;
}

async fn a_refused_row_holds_only_its_stream(db: Database) {
    let broker = broker();
    let mut narrow = options(&broker);
    narrow.client = vec![("message.max.bytes".to_owned(), "2000".to_owned())];
    let relay = Running::start(&db, narrow);
    let large = event("P", 2).payload(&[b'x'; 5_000]).new_event();
    let mut events = numbered("P", 1, 1);
    events.push(large);
    events.extend(numbered("P", 3, 4));
    events.extend(numbered("Q", 1, 3));
    append_all(&db, events).await;
    until("the row has failed", async || ops::failed_rows(&db).await.unwrap().len() == 1).await;
    until("the others are gone", async || ops::unpublished(&db).await.unwrap().pending == 3).await;
    let failed = ops::failed_rows(&db).await.unwrap().remove(0);
    assert_eq!((failed.event_id.as_str(), failed.stream_id.as_str()), ("P-2", "P"));
    assert!(failed.cause.contains("MessageSizeTooLarge"), "{}", failed.cause);
    append_all(&db, numbered("Q", 4, 4)).await;
    until("other streams go on", async || relay.handle.status().published == 5).await;
    relay.stop().await;

    let wide = Running::start(&db, options(&broker));
    assert_eq!(ops::retry_failed(&db, Some("P")).await.unwrap(), 1);
    until("the stream goes on", async || ops::unpublished(&db).await.unwrap().pending == 0).await;
    let sent = event_ids(&read(&broker, TOPIC, 8).await);
    let of_p: Vec<_> = sent.into_iter().filter(|id| id.starts_with('P')).collect();
    assert_eq!(of_p, ids("P", 1, 4));
    wide.stop().await;
}

async fn a_broker_that_was_away_gets_everything_in_order(db: Database) {
    let broker = broker();
    let relay = Running::start(&db, options(&broker));
    append_all(&db, numbered("P", 1, 3)).await;
    until("the first rows are marked", async || relay.handle.status().published == 3).await;
    broker.set_down().unwrap();
    for seq in 4..=8 {
        append_all(&db, numbered("P", seq, seq)).await;
    }
    until("the backlog shows", async || relay.handle.status().pending == 5).await;
    until("the trouble shows", async || relay.handle.status().last_error.is_some()).await;
    // Longer than the lease: it must be kept while nothing is acknowledged.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(relay.handle.status().active);
    broker.set_up().unwrap();
    until("all rows are marked", async || relay.handle.status().published == 8).await;
    until("the trouble is over", async || relay.handle.status().last_error.is_none()).await;
    assert_eq!(event_ids(&read(&broker, TOPIC, 8).await), ids("P", 1, 8));
    relay.stop().await;
}

async fn a_fatal_producer_is_rebuilt(db: Database) {
    const PRODUCE: i16 = 0;
    let broker = broker();
    let relay = Running::start(&db, options(&broker));
    append_all(&db, numbered("P", 1, 3)).await;
    until("the first rows are marked", async || relay.handle.status().published == 3).await;
    let fenced = rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
    broker.push_request_errors(PRODUCE, &[fenced]);
    append_all(&db, numbered("P", 4, 6)).await;
    until("all rows are marked", async || relay.handle.status().published == 6).await;
    let (gate, _) = gate(&db);
    gate.handle(&read(&broker, TOPIC, 6).await).await.unwrap();
    assert_eq!(effects(&db).await, ids("P", 1, 6));
    relay.stop().await;
}

async fn a_stop_gives_the_lease_up(db: Database) {
    let broker = broker();
    let mut patient = options(&broker);
    patient.lease = Duration::from_secs(3_600);
    let first = Running::start(&db, patient.clone());
    until("the first relay leads", async || first.handle.status().active).await;
    first.stop().await;
    patient.owner = "another".to_owned();
    let second = Running::start(&db, patient);
    until("the next one leads at once", async || second.handle.status().active).await;
    second.stop().await;
}

async fn letters_and_outcomes_reach_the_dead_letter_topic(db: Database) {
    let broker = broker();
    let relay = Running::start(&db, options(&broker));
    let (gate, recorder) = gate(&db);
    recorder.fail("P-1", Mood::Reject, 1);
    deliver(&gate, &event("P", 1).record()).await.unwrap();
    let letter = read(&broker, DLQ, 1).await.remove(0);
    let header = |name: &str| letter.headers.get(name);
    let parsed = contracts::control::Letter::from_headers(&header).unwrap();
    assert_eq!(
        (parsed.cause.as_str(), parsed.attempts, parsed.group.as_str(), parsed.topic.as_str()),
        ("the rule says no", 1, GROUP, TOPIC)
    );
    assert_eq!(letter.key.as_deref(), Some(parsed.letter_id.as_bytes()));
    assert_eq!(letter.headers.get("ce_id"), Some(&b"P-1"[..]), "the record as it came");
    deliver(&gate, &event("P", 1).replay_of(&parsed.letter_id).record()).await.unwrap();
    let outcome = read(&broker, DLQ, 2).await.remove(1);
    let header = |name: &str| outcome.headers.get(name);
    let parsed_outcome = contracts::control::Outcome::from_headers(&header).unwrap().unwrap();
    assert_eq!(parsed_outcome.kind, contracts::control::OutcomeKind::Replayed);
    assert_eq!(parsed_outcome.decision, verdict(&parsed.letter_id));
    assert_eq!(outcome.key, letter.key);
    relay.stop().await;
}

async fn a_refill_reaches_one_group_or_all(db: Database) {
    let broker = broker();
    let relay = Running::start(&db, options(&broker));
    append_all(&db, numbered("P", 1, 3)).await;
    append_all(&db, numbered("Q", 1, 1)).await;
    until("all rows are marked", async || relay.handle.status().published == 4).await;
    let refill = ops::republish(&db, Republish::Project("P".to_owned()), Some(GROUP)).await.unwrap();
    assert_eq!(refill.events, 3);
    let records = read(&broker, RETRY, 3).await;
    assert_eq!(event_ids(&records), ids("P", 1, 3), "the events as they were");
    assert_eq!(ops::republish(&db, Republish::Since(time::OffsetDateTime::UNIX_EPOCH), None).await.unwrap().events, 4);
    assert_eq!(event_ids(&read(&broker, TOPIC, 8).await).len(), 8);
    let (gate, _) = gate(&db);
    gate.handle(&records).await.unwrap();
    assert_eq!(effects(&db).await, ids("P", 1, 3));
    relay.stop().await;
}

/// A dead owner's lease, written before the clock was set back by an hour.
async fn a_lease_from_a_clock_that_went_back_does_not_hold(db: Database) {
    let broker = broker();
    let sql = "INSERT INTO relay_lease (shard, owner, epoch, expires_at) VALUES ('outbox', 'dead', 3, $1)";
    db::exec(db.writer(), sql, [(db::now() + Duration::from_secs(3_600)).into()]).await.unwrap();
    let relay = Running::start(&db, options(&broker));
    append_all(&db, numbered("P", 1, 1)).await;
    until("the relay leads", async || relay.handle.status().published == 1).await;
    relay.stop().await;
}

/// Brokers judge a batch as a whole: what they refuse of many rows says nothing about each.
async fn a_batch_that_is_refused_is_taken_apart(db: Database) {
    const PRODUCE: i16 = 0;
    let broker = broker();
    let mut together = options(&broker);
    together.client = vec![("linger.ms".to_owned(), "100".to_owned())];
    let too_large = rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    broker.push_request_errors(PRODUCE, &[too_large]);
    append_all(&db, numbered("P", 1, 5)).await;
    let relay = Running::start(&db, together);
    until("all rows are marked", async || relay.handle.status().published == 5).await;
    assert_eq!(ops::failed_rows(&db).await.unwrap(), []);
    let (gate, _) = gate(&db);
    gate.handle(&read(&broker, TOPIC, 5).await).await.unwrap();
    assert_eq!(effects(&db).await, ids("P", 1, 5));
    // One that is refused alone is refused for good.
    broker.push_request_errors(PRODUCE, &[too_large, too_large]);
    append_all(&db, numbered("P", 6, 8)).await;
    until("the row has failed", async || ops::failed_rows(&db).await.unwrap().len() == 1).await;
    assert_eq!(ops::failed_rows(&db).await.unwrap()[0].event_id, "P-6");
    relay.stop().await;
}

/// A relay that stands by must not go on saying what has passed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_with_the_database_passes_while_standing_by() {
    let test = TestDatabase::sqlite().await;
    let broker = broker();
    db::exec(test.db.writer(), "ALTER TABLE relay_lease RENAME TO away", []).await.unwrap();
    let relay = Running::start(&test.db, options(&broker));
    until("the trouble shows", async || relay.handle.status().last_error.is_some()).await;
    let leads = "INSERT INTO away (shard, owner, epoch, expires_at) VALUES ('outbox', 'another', 1, $1)";
    db::exec(test.db.writer(), leads, [(db::now() + Duration::from_secs(4)).into()]).await.unwrap();
    db::exec(test.db.writer(), "ALTER TABLE away RENAME TO relay_lease", []).await.unwrap();
    until("the trouble is over", async || relay.handle.status().last_error.is_none()).await;
    assert!(!relay.handle.status().active, "it does not lead yet");
    relay.stop().await;
}

/// With nothing to send, too: what is said of Kafka must not come and go while no broker is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_with_kafka_stays_until_a_broker_answers() {
    let test = TestDatabase::sqlite().await;
    let broker = broker();
    let relay = Running::start(&test.db, options(&broker));
    append_all(&test.db, numbered("P", 1, 1)).await;
    until("the first row is marked", async || relay.handle.status().published == 1).await;
    broker.set_down().unwrap();
    said_without_a_pause(&relay).await;
    broker.set_up().unwrap();
    until("the trouble is over", async || relay.handle.status().last_error.is_none()).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_with_kafka_stays_where_no_broker_ever_was() {
    let test = TestDatabase::sqlite().await;
    let mut nobody = outbox::RelayOptions::new("127.0.0.1:1");
    nobody.lease = Duration::from_secs(2);
    let relay = Running::start(&test.db, nobody);
    said_without_a_pause(&relay).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_with_kafka_stays_when_the_broker_is_gone() {
    let test = TestDatabase::sqlite().await;
    let broker = broker();
    let relay = Running::start(&test.db, options(&broker));
    append_all(&test.db, numbered("P", 1, 1)).await;
    until("the first row is marked", async || relay.handle.status().published == 1).await;
    tokio::task::spawn_blocking(move || broker.stop()).await.unwrap();
    said_without_a_pause(&relay).await;
    relay.stop().await;
}

async fn said_without_a_pause(relay: &Running) {
    until("the trouble shows", async || relay.handle.status().last_error.is_some()).await;
    let mut said = vec![relay.handle.status().last_error.unwrap()];
    let shown = Instant::now();
    while shown.elapsed() < Duration::from_secs(6) {
        let now = relay.handle.status().last_error;
        let now = now.unwrap_or_else(|| panic!("after {:?} nothing is said any more; said: {said:?}", shown.elapsed()));
        if said.last() != Some(&now) {
            said.push(now);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(said.len() <= 3, "it changes all the time: {said:?}");
}
