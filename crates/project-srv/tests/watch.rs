//! WatchProject: the current state first, then every event in order, whichever instance wrote it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use contracts::project::v1::*;
use support::*;
use tonic::{Code, Status, Streaming};

on_both_databases!(
    a_watcher_sees_the_state_and_then_every_event_of_any_instance,
    watchers_are_bounded_and_leaving_makes_room,
    a_watch_ends_when_the_service_stops,
);

async fn watch(client: &mut Client, id: &str) -> Result<Streaming<WatchProjectResponse>, Status> {
    client.watch_project(WatchProjectRequest { project_id: id.into() }).await.map(tonic::Response::into_inner)
}

async fn next(stream: &mut Streaming<WatchProjectResponse>) -> Result<Option<WatchProjectResponse>, Status> {
    tokio::time::timeout(DEADLINE, stream.message()).await.expect("the next message comes in time")
}

async fn a_watcher_sees_the_state_and_then_every_event_of_any_instance(database: TestDatabase) {
    let (here, there) = (Service::start(&database).await, Service::start(&database).await);
    let mut client = here.client.clone();
    client.create_project(new_project("P-1")).await.unwrap();
    let mut stream = watch(&mut client, "P-1").await.unwrap();
    let first = next(&mut stream).await.unwrap().unwrap();
    assert_eq!((first.event, first.project), (None, Some(get(&mut client, "P-1").await)));

    // Half of the changes come from another instance, whose commits only the poll can see.
    let mut expected = Vec::new();
    for (index, kind) in ITEMS.into_iter().enumerate() {
        let mut instance = if index % 2 == 0 { here.client.clone() } else { there.client.clone() };
        expected.push(instance.complete_startup_item(item("P-1", kind)).await.unwrap().into_inner().project.unwrap());
    }
    let mut instance = there.client.clone();
    expected
        .push(instance.activate_site(activate("P-1", "S-2", "Necker")).await.unwrap().into_inner().project.unwrap());
    expected.push(instance.start_project(start("P-1", "")).await.unwrap().into_inner().project.unwrap());
    for project in expected {
        let message = next(&mut stream).await.unwrap().unwrap();
        let event = message.event.unwrap();
        assert_eq!(
            (event.event_id.as_str(), event.sequence),
            (project.last_event_id.as_str(), project.last_event_sequence)
        );
        assert_eq!(event.occurred_at, project.updated_at);
        assert_eq!(message.project, Some(project));
    }
}

async fn watchers_are_bounded_and_leaving_makes_room(database: TestDatabase) {
    let service = Service::start_with(&database, &["--watch-limit", "1"]).await;
    let mut client = service.client.clone();
    client.create_project(new_project("P-1")).await.unwrap();
    let stream = watch(&mut client, "P-1").await.unwrap();
    assert_code(watch(&mut client, "P-1").await.map(drop), Code::ResourceExhausted);
    drop(stream);
    testkit::wait_until("room for a watcher", DEADLINE, async || watch(&mut client, "P-1").await.ok()).await;
}

async fn a_watch_ends_when_the_service_stops(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    client.create_project(new_project("P-1")).await.unwrap();
    let mut stream = watch(&mut client, "P-1").await.unwrap();
    next(&mut stream).await.unwrap().unwrap();
    service.stop().await;
    assert_code(next(&mut stream).await.map(drop), Code::Unavailable);
}
