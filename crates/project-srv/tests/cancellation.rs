//! Callers that hang up at any moment: state and event always agree, nothing is half done, and the service goes on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use futures_util::future::join_all;
use outbox::db;
use support::*;

const CALLS: u64 = 60;

on_both_databases!(a_caller_may_hang_up_at_any_moment);

async fn a_caller_may_hang_up_at_any_moment(database: TestDatabase) {
    let service = Service::start(&database).await;
    let ids: Vec<String> = (0..CALLS).map(|number| format!("P-{number}")).collect();
    join_all(ids.iter().map(|id| {
        let mut client = service.client.clone();
        async move { ready(&mut client, id).await }
    }))
    .await;

    // From before the request leaves to after the answer is there, in steps far below one statement.
    let hung_up = join_all(ids.iter().zip(0..).map(|(id, step)| {
        let mut client = service.client.clone();
        let patience = Duration::from_micros(step * 400);
        async move { tokio::time::timeout(patience, client.start_project(start(id, id))).await.is_err() }
    }))
    .await;
    assert!(hung_up.iter().any(|gone| *gone), "some callers hung up");

    // The same calls again, patiently: each has one answer and one event, whatever became of the first try.
    let db = database.open().await;
    for id in &ids {
        let mut client = service.client.clone();
        let answer = client.start_project(start(id, id)).await.unwrap().into_inner().project.unwrap();
        let events = events(&db, id).await;
        let starts: Vec<_> = events.iter().filter(|(_, kind, ..)| kind == "ProjectStarted").collect();
        assert_eq!((starts.len(), &starts[0].2), (1, &answer.last_event_id), "{id}");
        let numbers: Vec<i64> = events.iter().map(|(number, ..)| *number).collect();
        assert_eq!(numbers, (1..=answer.last_event_sequence).collect::<Vec<_>>(), "{id}");
    }
    let orphans = "SELECT COUNT(*) AS n FROM outbox o LEFT JOIN project_audit a \
                   ON a.project_id = o.stream_id AND a.version = o.stream_seq WHERE a.id IS NULL";
    let row = db::query_one(db.reader(), orphans, []).await.unwrap().unwrap();
    assert_eq!(row.try_get::<i64>("", "n").unwrap(), 0, "no event without state");
}
