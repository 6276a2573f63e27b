//! The gate on both databases: each event applied once and in order, whatever comes twice, early, broken or in another form.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use contracts::control::stream_letter_id;
use kafka_worker_pool::{DeadLetter, DeadLetterSink as _, Handler as _, HandlerError, Headers};
use outbox::{db::Database, ops};
use support::*;

on_both! {
    a_batch_of_many_streams_is_applied_in_order
    a_repeated_event_is_dropped_and_another_under_its_number_is_quarantined
    a_gap_parks_and_what_fills_it_drains
    an_early_batch_backwards_is_applied_in_order
    a_rejected_event_blocks_its_stream_alone
    a_corrected_replay_goes_on_and_drains_in_order
    a_failing_replay_adds_an_attempt_and_stays_open
    a_discard_passes_the_number
    a_parked_record_that_fails_is_the_culprit_itself
    a_parked_record_is_tried_again_before_it_is_given_up
    a_malformed_record_has_a_letter_and_blocks_nothing
    a_broken_payload_under_an_envelope_blocks_its_number
    the_letter_of_an_applied_record_is_not_written
    a_decision_about_another_letter_does_not_pass_the_number
    foreign_then_numbered_start_has_one_effect
    numbered_then_foreign_start_has_one_effect
    epochs_follow_each_other
    the_environment_counts_no_attempt_and_leaves_nothing
    at_the_bound_the_gate_holds
    two_deliveries_at_once_have_one_effect
}

fn letter_id(stream: &str, seq: i64) -> String {
    stream_letter_id(GROUP, "ctms/project-srv", stream, 0, seq)
}

async fn a_batch_of_many_streams_is_applied_in_order(db: Database) {
    let (gate, _) = gate(&db);
    let batch: Vec<_> =
        (1..=3).flat_map(|seq| ["P-1", "P-2", "P-3"].map(|stream| event(stream, seq).record())).collect();
    gate.handle(&batch).await.unwrap();
    gate.handle(&batch).await.unwrap();
    let effects = effects(&db).await;
    assert_eq!(effects.len(), 9, "each once: {effects:?}");
    for stream in ["P-1", "P-2", "P-3"] {
        let of_stream: Vec<_> = effects.iter().filter(|id| id.starts_with(stream)).collect();
        assert_eq!(of_stream, [&format!("{stream}-1"), &format!("{stream}-2"), &format!("{stream}-3")]);
    }
}

async fn a_repeated_event_is_dropped_and_another_under_its_number_is_quarantined(db: Database) {
    let (gate, _) = gate(&db);
    deliver_all(
        &gate,
        &[event("P", 1).record(), event("P", 2).record(), event("P", 2).record(), event("P", 1).record()],
    )
    .await;
    assert_eq!(effects(&db).await, ["P-1", "P-2"]);
    assert!(ops::open_letters(&db).await.unwrap().is_empty());

    let impostor = event("P", 2).id("another").at(TOPIC, 9).record();
    deliver_all(&gate, &[impostor.clone(), impostor]).await;
    assert_eq!(effects(&db).await, ["P-1", "P-2"], "never merged");
    let letters = ops::open_letters(&db).await.unwrap();
    assert_eq!(letters.len(), 1, "one letter however often it comes: {letters:?}");
    assert_eq!(letters[0].state, "quarantined");
    assert!(letters[0].cause.contains("was applied as event P-2"), "{}", letters[0].cause);
    deliver_all(&gate, &[event("P", 3).record()]).await;
    assert_eq!(effects(&db).await, ["P-1", "P-2", "P-3"], "it blocks nothing");
    deliver_all(&gate, &[event("P", 2).id("another").skip(&letters[0].letter_id).record()]).await;
    assert!(ops::open_letters(&db).await.unwrap().is_empty(), "and can be discarded");
}

async fn a_gap_parks_and_what_fills_it_drains(db: Database) {
    let (gate, _) = gate(&db);
    deliver_all(
        &gate,
        &[event("P", 1).record(), event("P", 3).record(), event("P", 4).record(), event("P", 3).record()],
    )
    .await;
    assert_eq!(effects(&db).await, ["P-1"]);
    assert_eq!(count(&db, "parked").await, 2);
    let gaps = ops::gaps(&db, std::time::Duration::ZERO).await.unwrap();
    assert_eq!((gaps[0].stream_id.as_str(), gaps[0].missing, gaps[0].parked), ("P", 2, 2));
    let report = gate.report().await.unwrap();
    assert_eq!(report.parked, 2);
    assert_eq!(report.gaps, [], "it is younger than the alarm");

    deliver(&gate, &event("P", 2).record()).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1", "P-2", "P-3", "P-4"]);
    assert_eq!(count(&db, "parked").await, 0);
    assert!(ops::gaps(&db, std::time::Duration::ZERO).await.unwrap().is_empty());
}

async fn an_early_batch_backwards_is_applied_in_order(db: Database) {
    let (gate, _) = gate(&db);
    let backwards: Vec<_> = (1..=50).rev().map(|seq| event("P", seq).record()).collect();
    gate.handle(&backwards).await.unwrap();
    let expected: Vec<_> = (1..=50).map(|seq| format!("P-{seq}")).collect();
    assert_eq!(effects(&db).await, expected);
    assert_eq!(count(&db, "parked").await, 0);
}

async fn a_rejected_event_blocks_its_stream_alone(db: Database) {
    let (gate, recorder) = gate(&db);
    recorder.fail("P-2", Mood::Reject, 1);
    deliver_all(
        &gate,
        &[event("P", 1).record(), event("P", 2).record(), event("P", 3).record(), event("Q", 1).record()],
    )
    .await;
    assert_eq!(effects(&db).await, ["P-1", "Q-1"]);
    deliver_all(&gate, &[event("P", 2).record(), event("P", 2).at(TOPIC, 77).record()]).await;
    assert_eq!(effects(&db).await, ["P-1", "Q-1"], "only a replay passes");
    assert_eq!(count(&db, "dead_letter").await, 1);
    let mail = column(&db, "SELECT topic AS value FROM outbox").await;
    assert_eq!(mail, [DLQ], "one letter");
    assert_eq!(ops::open_letters(&db).await.unwrap()[0].letter_id, letter_id("P", 2));
    assert!(ops::gaps(&db, std::time::Duration::ZERO).await.unwrap().is_empty(), "a letter is no gap");
}

async fn a_corrected_replay_goes_on_and_drains_in_order(db: Database) {
    let (gate, recorder) = gate(&db);
    recorder.fail("P-2", Mood::Reject, 1);
    deliver_all(
        &gate,
        &[event("P", 1).record(), event("P", 2).record(), event("P", 3).record(), event("P", 4).record()],
    )
    .await;
    let replay = event("P", 2).payload(b"{\"corrected\":true}").at(TOPIC, 1).replay_of(&letter_id("P", 2));
    deliver_all(&gate, &[replay.record(), replay.record()]).await;
    assert_eq!(effects(&db).await, ["P-1", "P-2", "P-3", "P-4"]);
    assert!(ops::open_letters(&db).await.unwrap().is_empty());
    let states =
        column(&db, "SELECT state || ' by ' || decided_by || ': ' || decided_why AS value FROM dead_letter").await;
    assert_eq!(states, ["replayed by ada: seen to"]);
    let mail = column(&db, "SELECT event_type AS value FROM outbox ORDER BY id").await;
    assert_eq!(mail, ["DeadLetter", "DeadLetterOutcome"], "the outcome is published once");
    deliver(&gate, &event("P", 5).record()).await.unwrap();
    assert_eq!(effects(&db).await.len(), 5);
}

async fn a_failing_replay_adds_an_attempt_and_stays_open(db: Database) {
    let (gate, recorder) = gate(&db);
    recorder.fail("P-1", Mood::Reject, 3);
    let replay = |offset| event("P", 1).at(RETRY, offset).replay_of(&letter_id("P", 1));
    deliver_all(&gate, &[event("P", 1).record(), replay(1).record(), replay(1).record()]).await;
    let letters = ops::open_letters(&db).await.unwrap();
    assert_eq!(letters[0].attempts, 2, "the same replay read twice is one attempt");
    assert_eq!(effects(&db).await, [""; 0]);
    deliver(&gate, &replay(2).record()).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1"]);
    let mail = column(&db, "SELECT event_type AS value FROM outbox ORDER BY id").await;
    assert_eq!(
        mail,
        ["DeadLetter", "DeadLetter", "DeadLetterOutcome"],
        "the letter again with its new count, then the outcome"
    );
}

async fn a_discard_passes_the_number(db: Database) {
    let (gate, recorder) = gate(&db);
    recorder.fail("P-1", Mood::Reject, u32::MAX);
    deliver_all(&gate, &[event("P", 1).record(), event("P", 2).record(), event("P", 3).record()]).await;
    deliver(&gate, &event("P", 1).skip(&letter_id("P", 1)).record()).await.unwrap();
    assert_eq!(effects(&db).await, ["P-2", "P-3"]);
    assert_eq!(column(&db, "SELECT state AS value FROM dead_letter").await, ["discarded"]);
    deliver_all(&gate, &[event("P", 1).record(), event("P", 4).record()]).await;
    assert_eq!(effects(&db).await, ["P-2", "P-3", "P-4"], "the discarded event stays discarded");
}

async fn a_parked_record_that_fails_is_the_culprit_itself(db: Database) {
    let (gate, recorder) = gate(&db);
    // Once behind others, once alone.
    recorder.fail("P-3", Mood::Reject, 2);
    let early: Vec<_> = [2, 3, 4, 5].map(|seq| event("P", seq).record()).into();
    gate.handle(&early).await.unwrap();
    deliver(&gate, &event("P", 1).record()).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1", "P-2"], "what stands before the culprit is applied");
    let letters = ops::open_letters(&db).await.unwrap();
    assert_eq!((letters.len(), letters[0].stream_seq), (1, Some(3)));
    assert_eq!(count(&db, "parked").await, 2, "4 and 5 wait");
    deliver(&gate, &event("P", 3).replay_of(&letters[0].letter_id).record()).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1", "P-2", "P-3", "P-4", "P-5"]);
}

async fn a_parked_record_is_tried_again_before_it_is_given_up(db: Database) {
    let (gate, recorder) = gate(&db);
    recorder.fail("P-2", Mood::Retry, 3);
    recorder.fail("Q-2", Mood::Panic, u32::MAX);
    deliver_all(
        &gate,
        &[event("P", 2).record(), event("Q", 2).record(), event("P", 1).record(), event("Q", 1).record()],
    )
    .await;
    assert_eq!(effects(&db).await, ["P-1", "P-2", "Q-1"]);
    let letters = ops::open_letters(&db).await.unwrap();
    assert_eq!((letters.len(), letters[0].attempts), (1, 5));
}

async fn a_malformed_record_has_a_letter_and_blocks_nothing(db: Database) {
    let (gate, _) = gate(&db);
    let broken = record(TOPIC, 5, Some("P"), Some(b"{not json"), Headers::default());
    deliver_all(&gate, &[broken.clone(), broken, event("P", 1).record()]).await;
    assert_eq!(effects(&db).await, ["P-1"]);
    let letters = ops::open_letters(&db).await.unwrap();
    assert_eq!((letters.len(), letters[0].stream_id.as_deref()), (1, None));
    assert_eq!(letters[0].place, (TOPIC.to_owned(), 0, 5));

    let corrected = support::started_json("R");
    let headers = Headers::from_pairs(verdict(&letters[0].letter_id).replay_headers());
    deliver(&gate, &record(RETRY, 1, None, Some(&corrected), headers)).await.unwrap();
    assert_eq!(effects(&db).await.len(), 2, "a corrected replay is applied");
    assert!(ops::open_letters(&db).await.unwrap().is_empty());

    deliver(&gate, &record(TOPIC, 6, None, Some(b"nor this"), Headers::default())).await.unwrap();
    let letter = ops::open_letters(&db).await.unwrap().remove(0);
    let headers = Headers::from_pairs(verdict(&letter.letter_id).skip_headers());
    deliver(&gate, &record(RETRY, 2, None, None, headers)).await.unwrap();
    assert!(ops::open_letters(&db).await.unwrap().is_empty(), "a letter without a stream can be discarded");
}

async fn a_broken_payload_under_an_envelope_blocks_its_number(db: Database) {
    let (gate, _) = gate(&db);
    let broken = event("P", 1).started().payload(b"{broken");
    deliver_all(&gate, &[broken.record(), event("P", 2).record()]).await;
    assert_eq!(effects(&db).await, [""; 0]);
    deliver(&gate, &event("P", 1).started().replay_of(&letter_id("P", 1)).record()).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1", "P-2"]);
}

async fn the_letter_of_an_applied_record_is_not_written(db: Database) {
    let (gate, _) = gate(&db);
    let record = event("P", 1).record();
    deliver(&gate, &record).await.unwrap();
    let late = DeadLetter { record: &record, group: GROUP, cause: "timed out", attempts: 5 };
    gate.dead_letter(late).await.unwrap();
    assert_eq!(count(&db, "dead_letter").await, 0, "the attempt that timed out had committed");
    assert_eq!(count(&db, "outbox").await, 0);
}

async fn a_decision_about_another_letter_does_not_pass_the_number(db: Database) {
    let (gate, recorder) = gate(&db);
    recorder.fail("P-1", Mood::Reject, 1);
    deliver_all(&gate, &[event("P", 1).record(), event("P", 1).id("impostor").at(TOPIC, 8).record()]).await;
    let letters = ops::open_letters(&db).await.unwrap();
    let quarantined = letters.iter().find(|letter| letter.state == "quarantined").unwrap();
    let about_it = event("P", 1).id("impostor");
    deliver_all(&gate, &[about_it.clone().replay_of(&quarantined.letter_id).record()]).await;
    assert_eq!(effects(&db).await, [""; 0], "the number belongs to the other event");
    deliver_all(&gate, &[about_it.skip(&quarantined.letter_id).record()]).await;
    let letters = ops::open_letters(&db).await.unwrap();
    assert_eq!(
        (letters.len(), letters[0].letter_id.clone()),
        (1, letter_id("P", 1)),
        "only the impostor's letter is closed"
    );
    deliver(&gate, &event("P", 1).replay_of(&letter_id("P", 1)).record()).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1"]);
}

async fn foreign_then_numbered_start_has_one_effect(db: Database) {
    let (gate, _) = gate(&db);
    deliver_all(
        &gate,
        &[
            foreign_start("P", 1),
            foreign_start("P", 2),
            event("P", 1).record(),
            event("P", 2).started().record(),
            event("P", 3).record(),
        ],
    )
    .await;
    let effects = effects(&db).await;
    assert_eq!(effects.len(), 3, "one start and two others: {effects:?}");
    assert_eq!(&effects[1..], ["P-1", "P-3"], "the numbered start advanced the gate without an effect");
}

async fn numbered_then_foreign_start_has_one_effect(db: Database) {
    let (gate, _) = gate(&db);
    let batch = [event("P", 1).started().record(), foreign_start("P", 1), event("P", 2).record()];
    gate.handle(&batch).await.unwrap();
    deliver(&gate, &foreign_start("P", 2)).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1", "P-2"]);
}

async fn epochs_follow_each_other(db: Database) {
    let (gate, recorder) = gate(&db);
    recorder.fail("P-2", Mood::Reject, 1);
    deliver_all(
        &gate,
        &[
            event("P", 1).record(),
            event("P", 2).record(),
            event("P", 1).epoch(7).record(),
            event("P", 2).epoch(7).record(),
        ],
    )
    .await;
    assert_eq!(effects(&db).await, ["P-1"], "the new epoch waits for the old one's letter");
    deliver(&gate, &event("P", 2).replay_of(&letter_id("P", 2)).record()).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1", "P-2", "P-1-e7", "P-2-e7"]);
    deliver_all(&gate, &[event("P", 3).record(), event("P", 3).epoch(7).record()]).await;
    assert_eq!(effects(&db).await.last().unwrap(), "P-3-e7", "the old epoch is over");
    assert_eq!(effects(&db).await.len(), 5);
}

async fn the_environment_counts_no_attempt_and_leaves_nothing(db: Database) {
    let (gate, recorder) = gate(&db);
    recorder.fail("P-2", Mood::Environment, 1);
    let batch = [event("P", 1).record(), event("P", 2).record()];
    assert!(matches!(gate.handle(&batch).await, Err(HandlerError::Unavailable { .. })));
    assert_eq!(effects(&db).await, [""; 0], "rolled back whole");
    assert_eq!(count(&db, "stream_pos").await, 0);
    recorder.fail("P-2", Mood::Panic, 1);
    let panicked = gate.handle(&batch).await;
    assert!(
        matches!(&panicked, Err(HandlerError::Retry { cause, .. }) if cause.to_string().contains("panics")),
        "{panicked:?}"
    );
    assert_eq!(effects(&db).await, [""; 0], "a panic is a failed attempt that leaves nothing");
    gate.handle(&batch).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1", "P-2"]);
}

async fn at_the_bound_the_gate_holds(db: Database) {
    let mut options = outbox::GateOptions::new(GROUP);
    options.max_parked_per_stream = 2;
    let gate = outbox::Gate::new(db.clone(), options, Recorder::default());
    gate.handle(&[event("P", 2).record(), event("P", 3).record()]).await.unwrap();
    let refused = gate.handle(&[event("P", 4).record()]).await;
    assert!(
        matches!(&refused, Err(HandlerError::Hold { cause }) if cause.to_string().contains("republish --project P")),
        "{refused:?}"
    );
    assert_eq!(count(&db, "parked").await, 2);
    gate.handle(&[event("P", 1).at(RETRY, 1).record()]).await.unwrap();
    gate.handle(&[event("P", 4).record()]).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1", "P-2", "P-3", "P-4"]);
}

async fn two_deliveries_at_once_have_one_effect(db: Database) {
    let (first, _) = gate(&db);
    let (second, _) = gate(&db);
    let batch: Vec<_> = (1..=10).flat_map(|seq| ["P", "Q", "R"].map(|stream| event(stream, seq).record())).collect();
    let mut tasks = Vec::new();
    for (at, gate) in [first.clone(), second.clone(), first, second].into_iter().enumerate() {
        let mut batch = batch.clone();
        batch.rotate_left(at * 7);
        tasks.push(tokio::spawn(async move { gate.handle(&batch).await }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let effects = effects(&db).await;
    assert_eq!(effects.len(), 30, "{effects:?}");
    for stream in ["P", "Q", "R"] {
        let of_stream: Vec<_> = effects.iter().filter(|id| id.starts_with(stream)).cloned().collect();
        let expected: Vec<_> = (1..=10).map(|seq| format!("{stream}-{seq}")).collect();
        assert_eq!(of_stream, expected);
    }
}
