//! Who prepares the databases for a broker that forgets needs them alone: a relay that works is left alone, a dead one is not waited for
//! longer than it can be known to be dead.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use std::time::{Duration, Instant};

use outbox::{
    TakeoverError,
    db::{self, Database},
    ops,
};
use support::{
    kafka::{Running, broker, options, until},
    *,
};

on_both! {
    a_relay_that_works_is_never_robbed
    a_relay_that_was_killed_is_waited_for
    the_lease_of_a_process_that_is_gone_is_taken_at_once
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
    let next = Running::start(&db, options(&broker));
    let asked = Instant::now();
    until("the next relay leads", async || next.handle.status().active).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "the lease is free again: {:?}", asked.elapsed());
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
    db::exec(db.writer(), sql, [gone.into(), (db::now() + Duration::from_secs(5)).into()]).await.unwrap();
    let asked = Instant::now();
    ops::embedded_restart(&db, std::slice::from_ref(&db)).await.unwrap();
    if cfg!(target_os = "linux") {
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    }
}
