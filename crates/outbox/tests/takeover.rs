//! Who prepares the databases for a broker that forgets needs them alone: a relay that works is left alone, a dead one is not waited for
//! longer than it can be known to be dead.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use std::time::Duration;

use outbox::{
    TakeoverError,
    db::{self, Database},
    ops,
};
use support::{
    kafka::{PATIENCE, Running, broker, options, until},
    *,
};

on_both! {
    a_relay_that_works_is_never_robbed
    a_relay_that_was_killed_is_waited_for
    the_lease_of_a_process_that_is_gone_is_taken_at_once
    what_the_broker_forgot_is_what_no_consumer_has
}

async fn a_relay_that_works_is_never_robbed(db: Database) {
    let broker = broker();
    let relay = Running::start(&db, options(&broker));
    append_all(&db, vec![event("P", 1).new_event()]).await;
    until("the event is marked", async || relay.handle.status().published == 1).await;
    let lease = column(&db, "SELECT owner || epoch AS value FROM relay_lease").await;
    let refused = ops::embedded_restart(&db, std::slice::from_ref(&db)).await.unwrap_err();
    assert!(matches!(&refused, TakeoverError::RelayRuns { database, .. } if *database == db.shown()), "{refused}");
    assert_eq!(column(&db, "SELECT owner || epoch AS value FROM relay_lease").await, lease);
    assert_eq!(ops::unpublished(&db).await.unwrap().pending, 0, "nothing was touched");
    assert!(relay.handle.status().active);
    relay.stop().await;
    assert_eq!(ops::embedded_restart(&db, std::slice::from_ref(&db)).await.unwrap().events, 1, "it gave its lease up");
}

/// In this very process, which lives: only the end of the lease shows it.
async fn a_relay_that_was_killed_is_waited_for(db: Database) {
    let broker = broker();
    let relay = Running::start(&db, options(&broker));
    until("the relay leads", async || relay.handle.status().active).await;
    relay.kill().await;
    ops::embedded_restart(&db, std::slice::from_ref(&db)).await.unwrap();
    let sql = "SELECT count(*) AS value FROM relay_lease WHERE expires_at > $1";
    let held = db::query_one(db.reader(), sql, [db::now().into()]).await.unwrap().unwrap();
    assert_eq!(held.try_get::<i64>("", "value").unwrap(), 0, "the lease is free again");
    let next = Running::start(&db, options(&broker));
    until("the next relay leads", async || next.handle.status().active).await;
    next.stop().await;
}

async fn the_lease_of_a_process_that_is_gone_is_taken_at_once(db: Database) {
    let broker = broker();
    let relay = Running::start(&db, options(&broker));
    until("the relay leads", async || relay.handle.status().active).await;
    relay.stop().await;
    let owner = column(&db, "SELECT owner AS value FROM relay_lease").await.remove(0);
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let gone = owner.replace(&format!("/{}/", std::process::id()), &format!("/{}/", child.id()));
    assert_ne!(gone, owner, "the owner names its process");
    let sql = "UPDATE relay_lease SET owner = $1, expires_at = $2";
    // Where the dead cannot be told from the living, the lease is waited for.
    let lease = if cfg!(target_os = "linux") { PATIENCE * 10 } else { Duration::from_secs(5) };
    db::exec(db.writer(), sql, [gone.into(), (db::now() + lease).into()]).await.unwrap();
    let restart = ops::embedded_restart(&db, std::slice::from_ref(&db));
    tokio::time::timeout(PATIENCE, restart).await.expect("nobody is waited for").unwrap();
}

/// One database plays all parts.
async fn what_the_broker_forgot_is_what_no_consumer_has(db: Database) {
    let (gate, recorder) = gate(&db);
    let events = ["P-1", "P-2", "P-3", "P-4", "P-5", "Q-1"].map(|id| {
        let (stream, seq) = id.split_once('-').unwrap();
        event(stream, seq.parse().unwrap()).new_event()
    });
    append_all(&db, events.to_vec()).await;
    // 1 is applied, 2 a letter, 4 parked; 3, 5 and another stream were never read.
    recorder.fail("P-2", Mood::Reject, 1);
    deliver_all(&gate, &[event("P", 1).record(), event("P", 2).record(), event("P", 4).record()]).await;
    let all = std::slice::from_ref(&db);
    let nothing = ops::send_forgotten_again(&db, all, db::now(), 1_000).await.unwrap();
    assert_eq!(nothing, 0, "what was not published is not forgotten");
    let published = db::now();
    db::exec(db.writer(), "UPDATE outbox SET published_at = $1", [published.into()]).await.unwrap();
    let before = ops::send_forgotten_again(&db, all, published - Duration::from_secs(1), 1_000).await.unwrap();
    assert_eq!(before, 0, "what is on its way is not forgotten");

    let free = "SELECT event_id AS value FROM outbox WHERE published_at IS NULL ORDER BY id";
    assert_eq!(ops::send_forgotten_again(&db, all, published, 1_000).await.unwrap(), 3);
    assert_eq!(column(&db, free).await, ["P-3", "P-5", "Q-1"]);
    db::exec(db.writer(), "UPDATE outbox SET published_at = $1", [published.into()]).await.unwrap();
    assert_eq!(ops::send_forgotten_again(&db, all, published, 1).await.unwrap(), 1, "within the bound");
    assert_eq!(column(&db, free).await, ["P-3"]);
}
