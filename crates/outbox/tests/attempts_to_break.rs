//! What tried to break the gate and the databases: hostile headers, decisions about the wrong letter, batches that take too long, positions
//! that are not there, servers that fall silent.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use std::time::Duration;

use contracts::control::stream_letter_id;
use kafka_worker_pool::{
    DeadLetter, DeadLetterSink as _, EARLIEST, Handler as _, HandlerError, Headers, PositionStore as _, TopicPartition,
};
use outbox::{
    Gate, GateOptions,
    db::{self, Database, DbErr},
    ops,
};
use support::{kafka::PATIENCE, *};

on_both! {
    a_nul_in_an_envelope_is_malformed_and_blocks_nothing
    a_letter_is_written_whatever_its_cause_and_its_decision_hold
    the_replay_of_a_quarantined_letter_does_not_take_a_parked_number
    a_batch_is_applied_in_the_order_of_its_streams
    a_batch_that_takes_longer_than_a_transaction_goes_on_in_several
    a_partition_without_a_position_starts_from_the_earliest_record
    a_foreign_start_that_had_its_effect_leaves_no_letter
    a_discard_without_a_number_leaves_a_letter_that_blocks_one
    what_an_embedded_broker_forgot_is_sent_to_the_one_that_takes_its_place
    a_database_of_the_version_before_learns_to_keep_facts
}

fn letter_id(stream: &str, seq: i64) -> String {
    stream_letter_id(GROUP, "ctms/project-srv", stream, 0, seq)
}

/// PostgreSQL's text cannot hold U+0000: such a record would fail for ever, and so would its letter.
async fn a_nul_in_an_envelope_is_malformed_and_blocks_nothing(db: Database) {
    let (gate, _) = gate(&db);
    let mut foreign_source = event("P", 1).at(TOPIC, 11);
    foreign_source.event.source = "so\0urce".to_owned();
    let mut typed = event("P", 1).at(TOPIC, 12);
    typed.event.event_type = "Some\0thing".to_owned();
    for record in [event("P", 1).id("a\0b").at(TOPIC, 10), foreign_source, typed] {
        deliver(&gate, &record.record()).await.unwrap();
    }
    deliver(&gate, &event("P", 1).record()).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1"]);
    assert_eq!(ops::open_letters(&db).await.unwrap().len(), 3, "each has a letter");
}

async fn a_letter_is_written_whatever_its_cause_and_its_decision_hold(db: Database) {
    let (gate, _) = gate(&db);
    let record = event("P", 1).record();
    let cause = format!("unknown variant `a\0b`{}", "x".repeat(1_000_000));
    gate.dead_letter(DeadLetter { record: &record, group: GROUP, cause: &cause, attempts: 1 }).await.unwrap();
    let letter = ops::open_letters(&db).await.unwrap().remove(0);
    assert!(letter.cause.len() < 10_000, "a cause has a bound: {}", letter.cause.len());

    let hostile = Headers::from_pairs([("ctms_replay_of".to_owned(), b"le\0tter".to_vec())]);
    deliver(&gate, &support::record(RETRY, 7, None, Some(b"{broken"), hostile)).await.unwrap();
    assert_eq!(ops::open_letters(&db).await.unwrap().len(), 2);

    let mut replay = event("P", 1).replay_of(&letter.letter_id);
    for (name, value) in &mut replay.marks {
        if name == "ctms_why" {
            *value = "be\0cause".to_owned();
        }
    }
    deliver(&gate, &replay.record()).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1"]);
}

async fn the_replay_of_a_quarantined_letter_does_not_take_a_parked_number(db: Database) {
    let (gate, _) = gate(&db);
    let impostor = event("P", 2).id("impostor").at(TOPIC, 9);
    deliver_all(&gate, &[event("P", 2).record(), impostor.record()]).await;
    let letter = ops::open_letters(&db).await.unwrap().remove(0);
    assert_eq!(letter.state, "quarantined");
    deliver(&gate, &impostor.replay_of(&letter.letter_id).record()).await.unwrap();
    deliver(&gate, &event("P", 1).record()).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1", "P-2"], "who came first keeps the number");
    assert_eq!(ops::open_letters(&db).await.unwrap().len(), 1, "the other still waits for a decision");
}

/// Effects lock studies: two transactions that lock several must do it in one order.
async fn a_batch_is_applied_in_the_order_of_its_streams(db: Database) {
    let (gate, _) = gate(&db);
    let batch: Vec<_> =
        ["Q", "P", "R"].iter().flat_map(|stream| [1, 2].map(|seq| event(stream, seq).record())).collect();
    gate.handle(&batch).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1", "P-2", "Q-1", "Q-2", "R-1", "R-2"]);
}

async fn a_batch_that_takes_longer_than_a_transaction_goes_on_in_several(db: Database) {
    let limit = Duration::from_secs(2);
    let hasty = hasty(&db, limit).await;
    let (gate, recorder) = gate(&hasty);
    let batch: Vec<_> = (1..=3).map(|at| event(&format!("P{at}"), 1).record()).collect();
    let parked: Vec<_> = (2..=4).map(|seq| event("Q", seq).record()).collect();
    for record in batch.iter().chain(&parked) {
        // Two of them and a little take longer than a transaction may.
        recorder.slow(std::str::from_utf8(record.headers.get("ce_id").unwrap()).unwrap(), limit / 2);
    }
    until_taken(&gate, &batch).await;
    assert_eq!(effects(&db).await.len(), 3);
    until_taken(&gate, &parked).await;
    until_taken(&gate, &[event("Q", 1).record()]).await;
    assert_eq!(effects(&db).await.len(), 7);
    hasty.close().await;
}

/// A database from before the first position of a partition would otherwise go on from Kafka's commit, past what it has lost.
async fn a_partition_without_a_position_starts_from_the_earliest_record(db: Database) {
    let (gate, _) = gate(&db);
    let (known, unknown) = (TopicPartition::new(TOPIC, 0), TopicPartition::new(TOPIC, 1));
    gate.save(&[(known.clone(), 7)]).await.unwrap();
    let loaded = gate.load(&[known.clone(), unknown.clone()]).await.unwrap();
    assert_eq!(loaded, [(known, Some(7)), (unknown, Some(EARLIEST))]);
}

async fn a_foreign_start_that_had_its_effect_leaves_no_letter(db: Database) {
    let (gate, _) = gate(&db);
    let start = foreign_start("P", 1);
    deliver(&gate, &start).await.unwrap();
    let late = DeadLetter { record: &start, group: GROUP, cause: "timed out", attempts: 5 };
    gate.dead_letter(late).await.unwrap();
    assert_eq!(ops::open_letters(&db).await.unwrap().len(), 0, "another instance's attempt had committed");
}

/// It would end the letter and leave the stream blocked, with nothing to be seen of it.
async fn a_discard_without_a_number_leaves_a_letter_that_blocks_one(db: Database) {
    let (gate, recorder) = gate(&db);
    recorder.fail("P-1", Mood::Reject, 1);
    deliver_all(&gate, &[event("P", 1).record(), event("P", 2).record()]).await;
    let marks = Headers::from_pairs(verdict(&letter_id("P", 1)).skip_headers());
    deliver(&gate, &support::record(RETRY, 1, None, None, marks)).await.unwrap();
    assert_eq!(ops::open_letters(&db).await.unwrap().len(), 1);
    deliver(&gate, &event("P", 1).skip(&letter_id("P", 1)).record()).await.unwrap();
    assert_eq!(effects(&db).await, ["P-2"]);
}

/// From `ctms dev` to `ctms dev --kafka` on the same data: what was accepted and not applied is only in the outbox.
async fn what_an_embedded_broker_forgot_is_sent_to_the_one_that_takes_its_place(db: Database) {
    let all = || std::slice::from_ref(&db);
    append_all(&db, vec![event("P", 1).new_event()]).await;
    db::exec(db.writer(), "UPDATE outbox SET published_at = $1", [db::now().into()]).await.unwrap();
    let nothing = ops::leave_embedded(&db, all()).await.unwrap();
    assert_eq!(nothing, None, "a broker that remembers has it, whether or not anyone has read it yet");
    ops::embedded_restart(&db, all()).await.unwrap();
    db::exec(db.writer(), "UPDATE outbox SET published_at = $1", [db::now().into()]).await.unwrap();
    assert_eq!(ops::leave_embedded(&db, all()).await.unwrap().map(|restart| restart.events), Some(1));
    assert_eq!(ops::leave_embedded(&db, all()).await.unwrap(), None, "once");
}

/// The tables of events came first, and hold what was accepted then.
async fn a_database_of_the_version_before_learns_to_keep_facts(db: Database) {
    append_all(&db, vec![event("P", 1).new_event()]).await;
    db::exec(db.writer(), "DROP TABLE outbox_fact", []).await.unwrap();
    let facts = "m20260102_outbox_0002_facts";
    db::exec(db.writer(), "DELETE FROM seaql_migrations WHERE version = $1", [facts.into()]).await.unwrap();
    assert_eq!(outbox::pending_migrations(&db, own_migrations()).await.unwrap(), [facts]);
    outbox::migrate(&db, own_migrations()).await.unwrap();
    assert_eq!(ops::begun_epoch(db.reader()).await.unwrap(), 0);
    ops::embedded_restart(&db, std::slice::from_ref(&db)).await.unwrap();
    assert!(ops::leave_embedded(&db, std::slice::from_ref(&db)).await.unwrap().is_some());
    assert_eq!(ops::unpublished(&db).await.unwrap().pending, 1);
}

/// A server that is there and says nothing: every wait for it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_falls_silent_is_the_environment() {
    let Some(test) = TestDatabase::postgres().await else { return };
    let proxy = support::proxy::Proxy::to(&test.url).await;
    let mut options = db::Options::default();
    options.transaction_timeout = Duration::from_secs(1);
    options.acquire_timeout = Duration::from_secs(1);
    let db = Database::connect(&proxy.url, &options).await.unwrap();
    db.ping(PATIENCE).await.unwrap();
    proxy.fall_silent();
    let outcome = tokio::time::timeout(
        PATIENCE,
        db.transaction(|tx| Box::pin(async move { db::exec(tx, "DELETE FROM effect", []).await })),
    );
    let error: DbErr = outcome.await.expect("the wait ends").unwrap_err();
    assert!(db::is_environment(&error), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_refuses_is_named_at_once() {
    let error = connect_error("postgres://ctms:secret@127.0.0.1:1/ctms").await;
    assert!(error.contains("refused") && error.contains("check that PostgreSQL runs at this address"), "{error}");
    assert!(!error.contains("pool timed out") && !error.contains("secret"), "{error}");

    let Some(test) = TestDatabase::postgres().await else { return };
    let (server, _) = test.url.rsplit_once('/').unwrap();
    let error = connect_error(&format!("{server}/no_such_database")).await;
    assert!(error.contains("\"no_such_database\" does not exist"), "{error}");
    let error = connect_error(&test.url.replacen("postgres@", "no_such_role@", 1)).await;
    assert!(error.contains("\"no_such_role\" does not exist"), "{error}");
}

/// What is said long before the time for connecting is over.
async fn connect_error(url: &str) -> String {
    let mut options = db::Options::default();
    options.connect_timeout = PATIENCE * 2;
    let connected = tokio::time::timeout(PATIENCE, Database::connect(url, &options)).await.expect("it is said at once");
    connected.map(|db| db.shown().to_owned()).unwrap_err().to_string()
}

/// The room for parked records is for what comes early, and a letter's own replay needs none of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_goes_through_where_there_is_no_room_to_park() {
    let test = TestDatabase::sqlite().await;
    let (first, recorder) = gate(&test.db);
    recorder.fail("P-1", Mood::Reject, 1);
    deliver_all(&first, &[event("P", 1).record(), event("P", 2).record()]).await;
    let mut options = GateOptions::new(GROUP);
    options.max_parked_bytes = 1;
    let full = Gate::new(test.db.clone(), options, recorder);
    assert!(full.handle(&[event("P", 3).record()]).await.is_err());
    full.handle(&[event("P", 1).replay_of(&letter_id("P", 1)).record()]).await.unwrap();
    full.handle(&[event("P", 3).record()]).await.unwrap();
    assert_eq!(effects(&test.db).await, ["P-1", "P-2", "P-3"]);
}

/// On the retry topic the record that fills the gap, or gives its number up, may stand behind one that finds no room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fills_the_gap_is_reached_behind_a_record_that_finds_no_room() {
    let test = TestDatabase::sqlite().await;
    let mut options = GateOptions::new(GROUP);
    options.max_parked_per_stream = 2;
    let gate = Gate::new(test.db.clone(), options, Recorder::default());
    gate.handle(&[event("P", 3).record(), event("P", 4).record()]).await.unwrap();
    let held = gate.handle(&[event("P", 5).record()]).await.unwrap_err();
    assert!(matches!(held, HandlerError::Hold { .. }), "{held:?}");
    gate.handle(&[event("P", 5).at(RETRY, 0).record()]).await.unwrap();
    gate.handle(&[event("P", 6).at(RETRY, 1).record()]).await.unwrap();
    let held = gate.handle(&[event("P", 7).at(RETRY, 2).record()]).await.unwrap_err();
    assert!(matches!(held, HandlerError::Hold { .. }), "there is a bound all the same: {held:?}");
    gate.handle(&[event("P", 1).at(RETRY, 3).record(), event("P", 2).at(RETRY, 4).record()]).await.unwrap();
    gate.handle(&[event("P", 5).record(), event("P", 7).record()]).await.unwrap();
    assert_eq!(effects(&test.db).await, ["P-1", "P-2", "P-3", "P-4", "P-5", "P-6", "P-7"]);
}
