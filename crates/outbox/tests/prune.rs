//! Events are forgotten with their whole stream, long after it ended, and never while one of them waits.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use std::time::Duration;

use outbox::{
    db::{self, Database},
    ops::{self, Republish},
};
use support::*;

on_both! {
    only_whole_streams_that_ended_long_ago_are_forgotten
    nothing_is_forgotten_while_the_broker_forgets_too
}

const DAY: Duration = Duration::from_hours(24);

async fn create_projects(db: &Database) {
    let instant = outbox::ColumnTypes::of(db.kind()).instant;
    let sql = format!("CREATE TABLE project (id text PRIMARY KEY, ended_at {instant})");
    db::exec(db.writer(), &sql, []).await.unwrap();
}

async fn only_whole_streams_that_ended_long_ago_are_forgotten(db: Database) {
    create_projects(&db).await;
    let now = db::now();
    let projects =
        [("old", Some(now - DAY * 40)), ("waits", Some(now - DAY * 40)), ("young", Some(now - DAY)), ("runs", None)];
    for (project, ended_at) in projects {
        let sql = "INSERT INTO project VALUES ($1, $2)";
        db::exec(db.writer(), sql, [project.into(), ended_at.into()]).await.unwrap();
        append_all(&db, (1..=3).map(|seq| event(project, seq).new_event()).collect()).await;
    }
    ops::republish(&db, Republish::Project("runs".to_owned()), Some(GROUP)).await.unwrap();
    let published = "UPDATE outbox SET published_at = $1, created_at = $1 WHERE event_id <> 'waits-2'";
    db::exec(db.writer(), published, [(now - DAY * 50).into()]).await.unwrap();
    let left = "SELECT DISTINCT stream_id || ' ' || count(*) AS value FROM outbox GROUP BY stream_id ORDER BY 1";

    assert_eq!(ops::prune_ended(&db, "project", now - DAY * 30).await.unwrap(), 6, "the stream, and the copies");
    assert_eq!(column(&db, left).await, ["runs 3", "waits 3", "young 3"]);
    db::exec(db.writer(), "UPDATE outbox SET published_at = $1", [now.into()]).await.unwrap();
    assert_eq!(ops::prune_ended(&db, "project", now - DAY * 30).await.unwrap(), 3, "it has gone out");
    assert_eq!(ops::prune_ended(&db, "project", now - DAY * 30).await.unwrap(), 0);
}

/// What an embedded broker was told, and a consumer has not applied when it ends, is in the outbox alone.
async fn nothing_is_forgotten_while_the_broker_forgets_too(db: Database) {
    create_projects(&db).await;
    let now = db::now();
    db::exec(db.writer(), "INSERT INTO project VALUES ('old', $1)", [(now - DAY * 40).into()]).await.unwrap();
    append_all(&db, vec![event("old", 1).new_event()]).await;
    ops::embedded_restart(&db, std::slice::from_ref(&db)).await.unwrap();
    let publish = async || {
        db::exec(db.writer(), "UPDATE outbox SET published_at = $1", [(now - DAY * 35).into()]).await.unwrap();
    };
    publish().await;
    assert_eq!(ops::prune_ended(&db, "project", now - DAY * 30).await.unwrap(), 0, "no broker keeps it");
    assert_eq!(
        ops::leave_embedded(&db, std::slice::from_ref(&db)).await.unwrap().map(|restart| restart.events),
        Some(1)
    );
    publish().await;
    assert_eq!(ops::prune_ended(&db, "project", now - DAY * 30).await.unwrap(), 1, "the next broker has it");
}
