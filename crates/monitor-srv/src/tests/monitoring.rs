//! How the life cycle of a study and its plan move the monitoring and its runs.

use proto::{CheckOutcome, CheckRunState, MonitoringState};

use super::*;

on_both_databases!(
    a_start_does_the_first_run_of_the_plan,
    a_plan_after_the_start_catches_up_with_the_event_of_the_start,
    while_suspended_runs_wait_and_a_resume_does_not_double_them,
    an_end_cancels_what_is_not_finished,
    a_plain_start_never_reopens,
    a_plan_is_set_once_per_request_id,
    runs_come_page_by_page_newest_first,
);

async fn a_start_does_the_first_run_of_the_plan(database: TestDatabase) {
    let service = Instance::on(&database).await;
    service.upload(STUDY, "vitals", VITALS).await;
    let checks = vec![row_count("vitals", 3), missing("vitals", "VALUE"), missing("labs", "VALUE")];
    assert_eq!(service.set_plan(STUDY, checks.clone()).await.version, 1);
    assert_eq!(service.monitoring(STUDY).await.state(), MonitoringState::Pending);
    let created = service.happens(STUDY, "ProjectStarted", 9).await;

    let run = service.run_in(STUDY, CheckRunState::Finished).await;
    assert_eq!((run.event_id.as_str(), run.plan_version), (created.as_str(), 1));
    assert!(run.started_at.is_some() && run.finished_at.is_some());
    let outcomes: Vec<_> = run.items.iter().map(|item| (item.outcome(), item.observed)).collect();
    assert_eq!(outcomes, [(CheckOutcome::Passed, 3), (CheckOutcome::Failed, 1), (CheckOutcome::Error, 0)]);
    assert!(run.items[2].message.contains("PUT /studies/trial-1/datasets/labs"), "{}", run.items[2].message);
    let kept: Vec<_> = run.items.into_iter().map(|item| item.check.unwrap()).collect();
    assert_eq!(kept, checks);

    let monitoring = service.monitoring(STUDY).await;
    assert_eq!((monitoring.state(), monitoring.check_run_count), (MonitoringState::Active, 1));
    assert_eq!((monitoring.last_event_id, monitoring.check_runs.len()), (created.clone(), 1));
    let applied: Vec<_> = monitoring.applied_events.iter().map(|one| (one.event_id.as_str(), one.sequence)).collect();
    assert_eq!(applied, [(created.as_str(), 9)]);
}

async fn a_plan_after_the_start_catches_up_with_the_event_of_the_start(database: TestDatabase) {
    let service = Instance::on(&database).await;
    let started = service.happens(STUDY, "ProjectStarted", 1).await;
    let monitoring = service.monitoring(STUDY).await;
    assert_eq!((monitoring.state(), monitoring.check_run_count), (MonitoringState::Active, 0));
    service.set_plan(STUDY, vec![row_count("vitals", 1)]).await;
    assert_eq!(service.set_plan(STUDY, vec![row_count("vitals", 2)]).await.version, 2);
    let run = service.run_in(STUDY, CheckRunState::Finished).await;
    assert_eq!((run.event_id, run.plan_version), (started, 1));
}

async fn while_suspended_runs_wait_and_a_resume_does_not_double_them(database: TestDatabase) {
    let mut service = Instance::idle(&database, args()).await;
    service.set_plan(STUDY, vec![row_count("vitals", 1)]).await;
    let started = service.happens(STUDY, "ProjectStarted", 1).await;
    service.happens(STUDY, "ProjectSuspended", 2).await;
    service.work();
    // What somebody asks for is done meanwhile, so the pool works; the run of the plan was there before and is not.
    service.upload(STUDY, "vitals", VITALS).await;
    let asked = serde_json::json!({"study": STUDY, "dataset": "vitals", "checks": [{"check": "row_count"}]});
    let (_, asked) = service.ask(&asked).await;
    service.finished(&asked).await;
    let waiting = service.runs(STUDY).await.into_iter().find(|run| run.event_id == started).unwrap();
    assert_eq!((waiting.state(), waiting.started_at), (CheckRunState::Queued, None));

    service.happens(STUDY, "ProjectResumed", 3).await;
    service.happens(STUDY, "ProjectSuspended", 4).await;
    service.happens(STUDY, "ProjectResumed", 5).await;
    wait_until("the run of the plan", DEADLINE, async || {
        let mut runs = service.runs(STUDY).await;
        assert_eq!(runs.len(), 2, "{runs:?}");
        runs.retain(|run| run.event_id == started && run.state() == CheckRunState::Finished);
        runs.pop()
    })
    .await;
    assert_eq!(service.monitoring(STUDY).await.applied_events.len(), 5);
}

async fn an_end_cancels_what_is_not_finished(database: TestDatabase) {
    let mut service = Instance::idle(&database, args()).await;
    service.set_plan(STUDY, vec![row_count("vitals", 1)]).await;
    service.happens(STUDY, "ProjectStarted", 1).await;
    service.happens(STUDY, "ProjectTerminated", 2).await;
    service.work();
    let run = service.run_in(STUDY, CheckRunState::Cancelled).await;
    assert_eq!(run.items[0].outcome(), CheckOutcome::Unspecified);
    assert_eq!(service.monitoring(STUDY).await.state(), MonitoringState::Closed);
    let late = plan(STUDY, vec![row_count("vitals", 1)], "");
    let status = refused(service.api.set_monitoring_plan(Request::new(late)).await, Code::FailedPrecondition);
    assert!(status.message().contains("CLOSED"), "{status:?}");
}

async fn a_plain_start_never_reopens(database: TestDatabase) {
    let service = Instance::on(&database).await;
    let started = service.happens(STUDY, "ProjectStarted", 0).await;
    let monitoring = service.monitoring(STUDY).await;
    let applied: Vec<_> = monitoring.applied_events.iter().map(|one| (one.event_id.as_str(), one.sequence)).collect();
    assert_eq!(applied, [(started.as_str(), 0)]);
    for (sequence, (ending, state)) in
        (1..).zip([("ProjectSuspended", MonitoringState::Suspended), ("ProjectCompleted", MonitoringState::Closed)])
    {
        service.happens(STUDY, ending, sequence).await;
        service.happens(STUDY, "ProjectStarted", 0).await;
        assert_eq!(service.monitoring(STUDY).await.state(), state);
    }
}

async fn a_plan_is_set_once_per_request_id(database: TestDatabase) {
    let service = Instance::on(&database).await;
    let unknown = proto::GetMonitoringRequest { study_id: STUDY.into() };
    refused(service.api.get_monitoring(Request::new(unknown)).await, Code::NotFound);
    let request = plan(STUDY, vec![row_count("vitals", 1)], "r-1");
    let first = service.api.set_monitoring_plan(Request::new(request.clone())).await.unwrap().into_inner();
    let again = service.api.set_monitoring_plan(Request::new(request)).await.unwrap().into_inner();
    assert_eq!(first, again);
    for other in
        [plan(STUDY, vec![row_count("vitals", 2)], "r-1"), plan("trial-2", vec![row_count("vitals", 1)], "r-1")]
    {
        refused(service.api.set_monitoring_plan(Request::new(other)).await, Code::InvalidArgument);
    }
    assert_eq!(service.monitoring(STUDY).await.plan_version, 1);
    let unknown = proto::GetMonitoringRequest { study_id: "trial-2".into() };
    refused(service.api.get_monitoring(Request::new(unknown)).await, Code::NotFound);
}

async fn runs_come_page_by_page_newest_first(database: TestDatabase) {
    let service = Instance::on(&database).await;
    service.upload(STUDY, "vitals", VITALS).await;
    let mut asked = Vec::new();
    for _ in 0..5 {
        let body = serde_json::json!({"study": STUDY, "dataset": "vitals", "checks": [{"check": "row_count"}]});
        let (status, answer) = service.ask(&body).await;
        assert_eq!(status, 200, "{answer}");
        service.finished(&answer).await;
        asked.insert(0, answer["jobId"].as_str().unwrap().to_owned());
    }
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    for expected in [2, 2, 1] {
        let state = CheckRunState::Finished.into();
        let request = proto::ListCheckRunsRequest { study_id: STUDY.into(), page_size: 2, page_token, state };
        let page = service.api.list_check_runs(Request::new(request)).await.unwrap().into_inner();
        assert_eq!(page.check_runs.len(), expected);
        listed.extend(page.check_runs.into_iter().map(|run| run.check_run_id));
        page_token = page.next_page_token;
    }
    assert_eq!((listed, page_token.as_str()), (asked, ""));
    let queued = CheckRunState::Queued.into();
    let request = proto::ListCheckRunsRequest { study_id: STUDY.into(), state: queued, ..Default::default() };
    let page = service.api.list_check_runs(Request::new(request)).await.unwrap().into_inner();
    assert!(page.check_runs.is_empty());
}
