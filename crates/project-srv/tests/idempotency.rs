//! Request ids under repetition, races and misuse.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashSet;

use contracts::project::v1::*;
use futures_util::future::join_all;
use support::*;
use tonic::Code;
use tonic_types::StatusExt as _;

const CALLERS: usize = 50;

on_both_databases!(
    fifty_starts_with_one_request_id_get_fifty_equal_answers_and_one_event,
    fifty_starts_with_fifty_request_ids_get_one_ok_and_one_event,
    fifty_creates_with_one_request_id_make_one_project,
    a_repeated_request_gets_its_first_answer_even_later,
    a_request_id_cannot_be_used_for_anything_else,
);

async fn fifty_starts_with_one_request_id_get_fifty_equal_answers_and_one_event(database: TestDatabase) {
    let services = [Service::start(&database).await, Service::start(&database).await];
    ready(&mut services[0].client.clone(), "P-1").await;
    let answers = join_all((0..CALLERS).map(|caller| {
        let mut client = services[caller % 2].client.clone();
        async move { client.start_project(start("P-1", "one")).await.unwrap().into_inner() }
    }))
    .await;
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.success));
    assert_one_start(&database, &answers[0].project.as_ref().unwrap().last_event_id).await;
}

async fn fifty_starts_with_fifty_request_ids_get_one_ok_and_one_event(database: TestDatabase) {
    let services = [Service::start(&database).await, Service::start(&database).await];
    ready(&mut services[0].client.clone(), "P-1").await;
    let answers = join_all((0..CALLERS).map(|caller| {
        let mut client = services[caller % 2].client.clone();
        async move { client.start_project(start("P-1", &format!("id-{caller}"))).await }
    }))
    .await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((accepted.len(), refused.len()), (1, CALLERS - 1));
    for refusal in refused {
        assert_code(refusal, Code::FailedPrecondition);
    }
    let started = accepted.into_iter().next().unwrap().unwrap().into_inner().project.unwrap();
    assert_one_start(&database, &started.last_event_id).await;
}

async fn assert_one_start(database: &TestDatabase, event_id: &str) {
    let events = events(&database.open().await, "P-1").await;
    let starts: Vec<_> = events.iter().filter(|(_, kind, ..)| kind == "ProjectStarted").collect();
    assert_eq!(starts.len(), 1);
    assert_eq!(starts[0].2, event_id);
}

async fn fifty_creates_with_one_request_id_make_one_project(database: TestDatabase) {
    let services = [Service::start(&database).await, Service::start(&database).await];
    let answers = join_all((0..CALLERS).map(|caller| {
        let mut client = services[caller % 2].client.clone();
        let request = CreateProjectRequest { request_id: "create".into(), ..new_project("") };
        async move { client.create_project(request).await.unwrap().into_inner().project.unwrap() }
    }))
    .await;
    let ids: HashSet<_> = answers.iter().map(|project| project.project_id.clone()).collect();
    assert_eq!(ids.len(), 1);
    let all = services[0].client.clone().list_projects(ListProjectsRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.projects, answers[..1]);
}

async fn a_repeated_request_gets_its_first_answer_even_later(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    let prepared = ready(&mut client, "P-1").await;
    let request = StartProjectRequest { etag: prepared.etag, ..start("P-1", "one") };
    let first = client.start_project(request.clone()).await.unwrap().into_inner();
    let reason = "safety".to_owned();
    let suspend = SuspendProjectRequest { project_id: "P-1".into(), reason, ..Default::default() };
    client.suspend_project(suspend).await.unwrap();
    service.stop().await;

    let service = Service::start(&database).await;
    let again = service.client.clone().start_project(request).await.unwrap().into_inner();
    assert_eq!(again, first, "neither the etag nor the state of now matters to a call that was answered");
    service.stop().await;
}

async fn a_request_id_cannot_be_used_for_anything_else(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    ready(&mut client, "P-1").await;
    ready(&mut client, "P-2").await;
    client.start_project(start("P-1", "one")).await.unwrap();
    let other_body = client.start_project(start("P-2", "one")).await.map(|_| ());
    let complete = CompleteProjectRequest { project_id: "P-1".into(), request_id: "one".into(), ..Default::default() };
    let other_rpc = client.complete_project(complete).await.map(|_| ());
    for refused in [other_body, other_rpc] {
        let status = assert_code(refused, Code::InvalidArgument);
        assert_eq!(status.get_details_error_info().unwrap().reason, "REQUEST_ID_REUSED");
    }
    // Two at once, on rows that do not lock each other.
    let (mut left, mut right) = (client.clone(), client.clone());
    let site = |id| ActivateSiteRequest { request_id: "two".into(), ..activate(id, "S-7", "Seven") };
    let (left, right) = tokio::join!(left.activate_site(site("P-1")), right.activate_site(site("P-2")));
    let refused = if left.is_err() { (left, right) } else { (right, left) };
    assert_code(refused.0, Code::InvalidArgument);
    refused.1.unwrap();
}
