//! A project from its creation to its end through the API, and what each refusal looks like.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use contracts::project::v1::*;
use outbox::db;
use support::*;
use tonic::Code;
use tonic_types::StatusExt as _;

on_both_databases!(
    a_project_created_after_a_restore_numbers_its_events_in_the_new_epoch,
    a_restore_that_left_no_project_begins_the_new_epoch_too,
    a_study_goes_through_its_whole_life,
    a_start_lists_every_open_item,
    every_wrong_field_is_named_at_once,
    etags_refuse_lost_updates,
    unknown_things_are_not_found,
    lists_are_paged_and_filtered,
    the_audit_trail_is_complete_and_cannot_be_changed,
);

async fn a_study_goes_through_its_whole_life(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    let prepared = ready(&mut client, "P-1").await;
    assert_eq!((prepared.state(), prepared.last_event_sequence), (ProjectState::Preparing, 7));
    assert!(prepared.startup_items.iter().all(|item| item.completed), "{:?}", prepared.startup_items);

    let answer = client.start_project(start("P-1", "")).await.unwrap().into_inner();
    let started = answer.project.unwrap();
    assert!(answer.success);
    assert_eq!(started.state(), ProjectState::Started);
    client.activate_site(activate("P-1", "S-2", "Necker")).await.unwrap();
    let why = |reason: &str| ("P-1".to_owned(), reason.to_owned());
    let (project_id, reason) = why("safety signal");
    client.suspend_project(SuspendProjectRequest { project_id, reason, ..Default::default() }).await.unwrap();
    let (project_id, reason) = why("");
    client.resume_project(ResumeProjectRequest { project_id, reason, ..Default::default() }).await.unwrap();
    let (project_id, reason) = why("last patient out");
    client.complete_project(CompleteProjectRequest { project_id, reason, ..Default::default() }).await.unwrap();

    let ended = get(&mut client, "P-1").await;
    assert_eq!((ended.state(), ended.started_at), (ProjectState::Completed, started.started_at));
    let events = events(&database.open().await, "P-1").await;
    let numbers: Vec<i64> = events.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    assert_eq!(events.last().map(|event| &event.2), Some(&ended.last_event_id));
    let (_, kind, id, payload) = &events[7];
    assert_eq!((kind.as_str(), id), ("ProjectStarted", &started.last_event_id));
    assert_eq!(payload["projectId"], "P-1");
    assert_eq!(payload["startTime"], started.started_at.unwrap().seconds);
    assert_eq!(payload["sites"][0]["siteId"], "S-1");
    assert_eq!(events[8].1, "SiteActivated");
    assert_eq!(events[9].3["reason"], "safety signal");
    service.stop().await;
}

async fn a_start_lists_every_open_item(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    client.create_project(new_project("P-1")).await.unwrap();
    client.complete_startup_item(item("P-1", StartupItemKind::EthicsApproval)).await.unwrap();
    let status = assert_code(client.start_project(start("P-1", "")).await, Code::FailedPrecondition);
    let open =
        ["REGULATORY_APPROVAL", "CONTRACT_AND_BUDGET", "PROTOCOL_VERSION", "SITE_ACTIVATED", "DATA_CAPTURE_LIVE"];
    let failure = status.get_details_precondition_failure().unwrap();
    assert_eq!(failure.violations.iter().map(|violation| violation.subject.as_str()).collect::<Vec<_>>(), open);
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("STARTUP_INCOMPLETE", "ctms"));
    assert_eq!(info.metadata["subjects"], open.join(","));
    assert_eq!(events(&database.open().await, "P-1").await.len(), 2);

    let again = client.complete_startup_item(item("P-1", StartupItemKind::EthicsApproval)).await;
    assert_code(again, Code::FailedPrecondition);
    let by_hand = client.complete_startup_item(item("P-1", StartupItemKind::SiteActivated)).await;
    assert!(assert_code(by_hand, Code::InvalidArgument).message().contains("ActivateSite"));
}

async fn every_wrong_field_is_named_at_once(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    let mut wrong = new_project("P 1");
    wrong.name.clear();
    wrong.sites.push(PlannedSite { site_id: "S-1".into(), name: String::new(), country_code: "Germany".into() });
    wrong.request_id = "x".repeat(129);
    let mut request = tonic::Request::new(wrong);
    request.metadata_mut().insert("x-actor", "".parse().unwrap());
    let status = assert_code(client.create_project(request).await, Code::InvalidArgument);
    let named: Vec<String> = status
        .get_details_bad_request()
        .unwrap()
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    let expected =
        ["x-actor", "project_id", "name", "request_id", "sites[1].name", "sites[1].country_code", "sites[1].site_id"];
    assert_eq!(named, expected);

    let no_reason = SuspendProjectRequest { project_id: String::new(), ..Default::default() };
    let status = assert_code(client.suspend_project(no_reason).await, Code::InvalidArgument);
    assert_eq!(status.get_details_bad_request().unwrap().field_violations.len(), 2);
    let page = ListProjectsRequest { page_size: -1, page_token: "zz".into(), state: 77 };
    let status = assert_code(client.list_projects(page).await, Code::InvalidArgument);
    assert_eq!(status.get_details_bad_request().unwrap().field_violations.len(), 3);
}

async fn etags_refuse_lost_updates(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    let created = client.create_project(new_project("P-1")).await.unwrap().into_inner().project.unwrap();
    let with_etag = |etag: &str, kind| CompleteStartupItemRequest { etag: etag.into(), ..item("P-1", kind) };
    let first = with_etag(&created.etag, StartupItemKind::EthicsApproval);
    let changed = client.complete_startup_item(first).await.unwrap().into_inner().project.unwrap();
    assert_ne!(changed.etag, created.etag);
    let stale = client.complete_startup_item(with_etag(&created.etag, StartupItemKind::ProtocolVersion)).await;
    let status = assert_code(stale, Code::Aborted);
    assert_eq!(status.get_details_error_info().unwrap().metadata["current_etag"], changed.etag);
    assert_eq!(get(&mut client, "P-1").await, changed, "the answer is what was committed");
}

async fn unknown_things_are_not_found(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    assert_code(client.get_project(GetProjectRequest { project_id: "P-0".into() }).await, Code::NotFound);
    assert_code(client.start_project(start("P-0", "r")).await, Code::NotFound);
    assert_code(client.watch_project(WatchProjectRequest { project_id: "P-0".into() }).await, Code::NotFound);
    let trail = ListAuditEntriesRequest { project_id: "P-0".into(), ..Default::default() };
    assert_code(client.list_audit_entries(trail).await, Code::NotFound);
    client.create_project(new_project("P-1")).await.unwrap();
    assert_code(client.activate_site(activate("P-1", "S-9", "")).await, Code::NotFound);
    assert_code(client.create_project(new_project("P-1")).await, Code::AlreadyExists);
}

async fn lists_are_paged_and_filtered(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    for number in 0..5 {
        client.create_project(new_project(&format!("P-{number}"))).await.unwrap();
    }
    ready(&mut client, "P-5").await;
    client.start_project(start("P-5", "")).await.unwrap();
    let chosen = client.create_project(new_project("")).await.unwrap().into_inner().project.unwrap();

    let mut pages = Vec::new();
    let mut request = ListProjectsRequest { page_size: 3, state: ProjectState::Preparing.into(), ..Default::default() };
    loop {
        let page = client.list_projects(request.clone()).await.unwrap().into_inner();
        pages.push(page.projects.into_iter().map(|project| project.project_id).collect::<Vec<_>>());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    let mut listed = pages.concat();
    listed.sort();
    let mut expected: Vec<String> = (0..5).map(|number| format!("P-{number}")).chain([chosen.project_id]).collect();
    expected.sort();
    assert_eq!(listed, expected);

    let first = ListProjectsRequest { page_size: 1, ..Default::default() };
    let token = client.list_projects(first).await.unwrap().into_inner().next_page_token;
    let other = ListProjectsRequest { page_token: token, state: ProjectState::Started.into(), ..Default::default() };
    assert_code(client.list_projects(other).await, Code::InvalidArgument);
}

async fn the_audit_trail_is_complete_and_cannot_be_changed(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    ready(&mut client, "P-1").await;
    let mut by_weber = tonic::Request::new(start("P-1", ""));
    by_weber.metadata_mut().insert("x-actor", "dr.weber".parse().unwrap());
    let started = client.start_project(by_weber).await.unwrap().into_inner().project.unwrap();
    let reason = "sponsor decision".to_owned();
    let terminate = TerminateProjectRequest { project_id: "P-1".into(), reason, ..Default::default() };
    client.terminate_project(terminate).await.unwrap();

    let mut request = ListAuditEntriesRequest { project_id: "P-1".into(), page_size: 4, ..Default::default() };
    let mut trail = Vec::new();
    loop {
        let page = client.list_audit_entries(request.clone()).await.unwrap().into_inner();
        trail.extend(page.entries);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(trail.len(), 9);
    assert_eq!(
        (trail[0].action.as_str(), trail[0].from_state(), trail[0].to_state()),
        ("CreateProject", ProjectState::Unspecified, ProjectState::Preparing)
    );
    assert_eq!(trail[0].actor, "anonymous");
    let start = &trail[7];
    assert_eq!((start.actor.as_str(), start.occurred_at), ("dr.weber", started.started_at));
    assert_eq!((start.from_state(), start.to_state()), (ProjectState::Preparing, ProjectState::Started));
    assert_eq!(start.event_id, started.last_event_id);
    assert_eq!((trail[8].reason.as_str(), trail[8].to_state()), ("sponsor decision", ProjectState::Terminated));

    let db = database.open().await;
    for statement in ["UPDATE project_audit SET actor = 'nobody'", "DELETE FROM project_audit"] {
        let refused = db::exec(db.writer(), statement, []).await.unwrap_err();
        assert!(refused.to_string().contains("project_audit is append-only"), "{refused}");
    }
}

/// Consumers know the id of a project that the restored database has lost: in the old epoch they would take its events for others.
async fn a_project_created_after_a_restore_numbers_its_events_in_the_new_epoch(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    client.create_project(new_project("P-1")).await.unwrap();
    service.stop().await;
    let db = database.open().await;
    let (_, epoch) = outbox::ops::new_epoch(&db, "project").await.unwrap();

    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    client.create_project(new_project("P-2")).await.unwrap();
    let row = outbox::db::query_one(db.reader(), "SELECT stream_epoch FROM outbox WHERE stream_id = 'P-2'", []).await;
    assert_eq!(row.unwrap().unwrap().try_get::<i64>("", "stream_epoch").unwrap(), epoch);
    service.stop().await;
}

/// The backup is from before the first project: nothing is left that could carry the epoch.
async fn a_restore_that_left_no_project_begins_the_new_epoch_too(database: TestDatabase) {
    let db = database.open().await;
    outbox::migrate(&db, project_srv::migrations()).await.unwrap();
    let (projects, epoch) = outbox::ops::new_epoch(&db, "project").await.unwrap();
    assert_eq!(projects, 0);

    let service = Service::start(&database).await;
    service.client.clone().create_project(new_project("P-1")).await.unwrap();
    let row = outbox::db::query_one(db.reader(), "SELECT stream_epoch FROM outbox WHERE stream_id = 'P-1'", []).await;
    assert_eq!(row.unwrap().unwrap().try_get::<i64>("", "stream_epoch").unwrap(), epoch);
    service.stop().await;
}
