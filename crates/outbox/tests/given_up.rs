//! A number whose event exists nowhere any more: an operator gives it up, and what waits behind it goes on.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use contracts::control::stream_letter_id;
use kafka_worker_pool::Handler as _;
use outbox::{db::Database, ops};
use support::*;

on_both! {
    what_waits_behind_a_number_that_is_given_up_goes_on
    a_number_that_is_not_missing_is_not_given_up
    the_letter_of_a_number_is_not_ended_by_giving_it_up
    an_event_that_turns_up_after_all_has_no_effect
}

fn letter_id(seq: i64) -> String {
    stream_letter_id(GROUP, "ctms/project-srv", "P", 0, seq)
}

async fn what_waits_behind_a_number_that_is_given_up_goes_on(db: Database) {
    let (gate, _) = gate(&db);
    deliver_all(&gate, &[event("P", 1).record(), event("P", 4).record(), event("P", 5).record()]).await;
    let gaps = ops::gaps_of(&db, "P").await.unwrap();
    assert_eq!((gaps.len(), gaps[0].missing, gaps[0].parked), (1, 2, 2));
    deliver_all(&gate, &[event("P", 2).gap(&letter_id(2)).record()]).await;
    assert_eq!(ops::gaps_of(&db, "P").await.unwrap()[0].missing, 3, "one number at a time");
    deliver_all(&gate, &[event("P", 3).gap(&letter_id(3)).record()]).await;
    assert_eq!(effects(&db).await, ["P-1", "P-4", "P-5"]);

    let decided = "SELECT stream_seq || ' ' || state || ' by ' || decided_by || ': ' || decided_why AS value
                   FROM dead_letter ORDER BY stream_seq";
    assert_eq!(column(&db, decided).await, ["2 discarded by ada: seen to", "3 discarded by ada: seen to"]);
    let told = "SELECT event_type AS value FROM outbox ORDER BY id";
    let letter_and_outcome = ["DeadLetter", "DeadLetterOutcome"];
    assert_eq!(column(&db, told).await, [letter_and_outcome, letter_and_outcome].concat(), "the topic knows it too");
}

async fn a_number_that_is_not_missing_is_not_given_up(db: Database) {
    let (gate, _) = gate(&db);
    deliver_all(&gate, &[event("P", 1).record()]).await;
    // Nothing waits for number 2; number 1 is done; number 3 is behind another; number 4 is parked.
    deliver_all(&gate, &[event("P", 2).gap(&letter_id(2)).record(), event("P", 1).gap(&letter_id(1)).record()]).await;
    deliver_all(&gate, &[event("P", 4).record()]).await;
    deliver_all(&gate, &[event("P", 3).gap(&letter_id(3)).record(), event("P", 4).gap(&letter_id(4)).record()]).await;
    assert_eq!(count(&db, "dead_letter").await, 0);
    deliver_all(&gate, &[event("P", 2).record(), event("P", 3).record()]).await;
    assert_eq!(effects(&db).await, ["P-1", "P-2", "P-3", "P-4"]);
}

async fn the_letter_of_a_number_is_not_ended_by_giving_it_up(db: Database) {
    let (gate, recorder) = gate(&db);
    recorder.fail("P-1", Mood::Reject, 1);
    deliver_all(&gate, &[event("P", 1).record(), event("P", 2).record()]).await;
    deliver_all(&gate, &[event("P", 1).gap(&letter_id(1)).record()]).await;
    assert_eq!(ops::open_letters(&db).await.unwrap().len(), 1, "`ctms dlq discard` is for that");
    assert!(effects(&db).await.is_empty());
}

async fn an_event_that_turns_up_after_all_has_no_effect(db: Database) {
    let (gate, _) = gate(&db);
    deliver_all(&gate, &[event("P", 2).record(), event("P", 1).gap(&letter_id(1)).record()]).await;
    gate.handle(&[event("P", 1).record(), event("P", 3).record()]).await.unwrap();
    assert_eq!(effects(&db).await, ["P-2", "P-3"], "the decision stands");
}
