//! Submissions through the bounded intake.

use std::collections::HashSet;
use std::sync::Arc;

use contracts::epro::v1 as proto;
use contracts::epro::v1::epro_service_server::EproService as _;
use contracts::epro::v1::{AssignmentState, NotificationState};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::{Epro, STUDY, TestDatabase, enrolment, on_both_databases, refused, schedule};

on_both_databases!(
    a_response_is_stored_and_completes_its_assignment,
    the_same_submission_gets_the_first_answer_and_another_body_a_conflict,
    a_submission_that_does_not_fit_is_refused_with_its_reason,
    ten_times_the_capacity_at_once_stores_each_ok_exactly_once,
    one_submission_from_many_clients_is_stored_once,
    nothing_is_taken_while_the_study_is_suspended,
    a_caller_that_hangs_up_loses_the_answer_not_the_response,
    without_its_database_it_is_unavailable_and_says_when_to_try_again,
    responses_starts_and_schedules_at_once_never_deadlock,
    long_pages_of_responses_hold_everything_once,
);

async fn started(database: &TestDatabase, subjects: usize) -> (Epro, Vec<proto::Assignment>) {
    let epro = Epro::on(database).await;
    epro.publish(schedule()).await;
    for number in 0..subjects {
        epro.enrol(&format!("s-{number}")).await;
    }
    epro.happens("ProjectStarted", 1).await;
    let due = epro.assignments().await.into_iter().filter(|assignment| assignment.visit_id == "day-1").collect();
    (epro, due)
}

pub(super) fn submission(id: &str, assignment: &proto::Assignment, pain: f64) -> proto::SubmitResponseRequest {
    let pain = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(pain)) };
    proto::SubmitResponseRequest {
        submission_id: id.into(),
        study_id: STUDY.into(),
        assignment_id: assignment.assignment_id.clone(),
        subject_id: assignment.subject_id.clone(),
        instrument_id: assignment.instrument_id.clone(),
        answers: Some(prost_types::Struct { fields: [("pain".to_owned(), pain)].into_iter().collect() }),
    }
}

async fn submit(epro: &Epro, request: proto::SubmitResponseRequest) -> Result<proto::SubmitResponseResponse, Status> {
    epro.api.submit_response(Request::new(request)).await.map(tonic::Response::into_inner)
}

async fn a_response_is_stored_and_completes_its_assignment(database: TestDatabase) {
    let (epro, due) = started(&database, 1).await;
    let answer = submit(&epro, submission("sub-1", &due[0], 3.0)).await.unwrap();
    let request = proto::GetResponseRequest { study_id: STUDY.into(), submission_id: "sub-1".into() };
    let stored = epro.api.get_response(Request::new(request)).await.unwrap().into_inner().response.unwrap();
    assert_eq!((stored.response_id, stored.accepted_at), (answer.response_id, answer.accepted_at));
    assert_eq!(stored.answers, submission("sub-1", &due[0], 3.0).answers);
    assert_eq!(stored.schedule_version, 1);
    let completed: Vec<_> =
        epro.assignments().await.into_iter().filter(|one| one.state() == AssignmentState::Completed).collect();
    assert_eq!(completed.len(), 1);
    assert_eq!(completed[0].completed_at, answer.accepted_at);
    let reminder = epro
        .notifications()
        .await
        .into_iter()
        .find(|one| one.assignment_id == due[0].assignment_id && one.kind() == proto::NotificationKind::Reminder);
    assert_eq!(reminder.unwrap().state(), NotificationState::Cancelled, "who has answered is not reminded");
    assert_eq!(epro.campaign().await.response_count, 1);
}

async fn the_same_submission_gets_the_first_answer_and_another_body_a_conflict(database: TestDatabase) {
    let (epro, due) = started(&database, 2).await;
    let first = submit(&epro, submission("sub-1", &due[0], 3.0)).await.unwrap();
    assert_eq!(submit(&epro, submission("sub-1", &due[0], 3.0)).await.unwrap(), first);
    refused(submit(&epro, submission("sub-1", &due[0], 4.0)).await, Code::AlreadyExists);
    refused(submit(&epro, submission("sub-1", &due[1], 3.0)).await, Code::AlreadyExists);
    let status = refused(submit(&epro, submission("sub-2", &due[0], 3.0)).await, Code::FailedPrecondition);
    assert!(status.message().contains("COMPLETED"), "{}", status.message());
    assert_eq!(epro.responses().await.len(), 1);
}

async fn a_submission_that_does_not_fit_is_refused_with_its_reason(database: TestDatabase) {
    let (epro, due) = started(&database, 2).await;
    let good = submission("sub-1", &due[0], 3.0);
    let fields = |status: &Status| -> Vec<String> {
        let violations = status.get_details_bad_request().expect("BadRequest").field_violations;
        violations.into_iter().map(|violation| violation.field).collect()
    };
    let status = refused(submit(&epro, submission("sub-1", &due[0], 11.0)).await, Code::InvalidArgument);
    assert_eq!(fields(&status), ["answers.pain"]);
    let status = refused(
        submit(
            &epro,
            proto::SubmitResponseRequest { subject_id: "s-x".into(), instrument_id: "x".into(), ..good.clone() },
        )
        .await,
        Code::InvalidArgument,
    );
    assert_eq!(fields(&status), ["subject_id", "instrument_id"]);
    let empty = proto::SubmitResponseRequest {
        submission_id: String::new(),
        study_id: "a b".into(),
        answers: None,
        ..good.clone()
    };
    let status = refused(submit(&epro, empty).await, Code::InvalidArgument);
    assert_eq!(fields(&status), ["submission_id", "study_id", "answers"]);
    for unknown in ["x-1", "00000000-0000-0000-0000-000000000000"] {
        let request = proto::SubmitResponseRequest { assignment_id: unknown.into(), ..good.clone() };
        refused(submit(&epro, request).await, Code::NotFound);
    }
    let elsewhere = proto::SubmitResponseRequest { study_id: "trial-2".into(), ..good };
    refused(submit(&epro, elsewhere).await, Code::NotFound);
    let later = epro.assignments().await.into_iter().find(|one| one.visit_id == "day-8").unwrap();
    let status = refused(submit(&epro, submission("sub-1", &later, 3.0)).await, Code::FailedPrecondition);
    assert!(status.message().contains("window"), "{}", status.message());
    assert_eq!(epro.responses().await, []);
}

async fn ten_times_the_capacity_at_once_stores_each_ok_exactly_once(database: TestDatabase) {
    let capacity = 16;
    let (epro, due) = started(&database, 10 * capacity).await;
    let epro = Arc::new(epro);
    assert_eq!(epro.intake.status().capacity, capacity);
    assert_eq!(due.len(), 10 * capacity);
    let callers: Vec<_> = due
        .into_iter()
        .map(|assignment| {
            let epro = epro.clone();
            tokio::spawn(async move {
                let request = submission(&format!("sub-{}", assignment.subject_id), &assignment, 3.0);
                (request.submission_id.clone(), submit(&epro, request.clone()).await, request)
            })
        })
        .collect();
    let (mut accepted, mut refused_requests) = (HashSet::new(), Vec::new());
    for caller in callers {
        let (submission_id, outcome, request) = caller.await.unwrap();
        match outcome {
            Ok(answer) => assert!(accepted.insert((submission_id, answer.response_id))),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
                let reason = status.get_details_error_info().map(|info| info.reason);
                assert_eq!(reason.as_deref(), Some(contracts::reasons::QUEUE_FULL));
                refused_requests.push(request);
            }
        }
    }
    assert!(!accepted.is_empty());
    let stored: HashSet<_> =
        epro.responses().await.into_iter().map(|one| (one.submission_id, one.response_id)).collect();
    assert_eq!(stored, accepted, "what was answered OK is stored, and nothing else");
    for request in refused_requests {
        submit(&epro, request).await.expect("there is room now");
    }
    assert_eq!(epro.campaign().await.response_count, 10 * i64::try_from(capacity).unwrap());
}

async fn one_submission_from_many_clients_is_stored_once(database: TestDatabase) {
    let (one, due) = started(&database, 1).await;
    // A second instance on the same database.
    let other = Epro::on(&database).await;
    let calls = (0..12).map(|number| {
        let epro = if number % 2 == 0 { &one } else { &other };
        submit(epro, submission("sub-1", &due[0], 3.0))
    });
    let answers: HashSet<String> =
        futures_util::future::join_all(calls).await.into_iter().map(|answer| answer.unwrap().response_id).collect();
    assert_eq!(answers.len(), 1);
    assert_eq!(one.responses().await.len(), 1);
}

async fn nothing_is_taken_while_the_study_is_suspended(database: TestDatabase) {
    let (epro, due) = started(&database, 1).await;
    epro.happens("ProjectSuspended", 2).await;
    let status = refused(submit(&epro, submission("sub-1", &due[0], 3.0)).await, Code::FailedPrecondition);
    assert!(status.message().contains("SUSPENDED"), "{}", status.message());
    epro.happens("ProjectResumed", 3).await;
    submit(&epro, submission("sub-1", &due[0], 3.0)).await.unwrap();
}

async fn a_caller_that_hangs_up_loses_the_answer_not_the_response(database: TestDatabase) {
    let (epro, due) = started(&database, 1).await;
    {
        let call = submit(&epro, submission("sub-1", &due[0], 3.0));
        let mut call = Box::pin(call);
        // One poll: accepted, not yet answered.
        assert!(futures_util::poll!(&mut call).is_pending());
    }
    testkit::wait_until("the response is stored", super::DEADLINE, async || {
        (epro.responses().await.len() == 1).then_some(())
    })
    .await;
}

async fn without_its_database_it_is_unavailable_and_says_when_to_try_again(database: TestDatabase) {
    let (epro, due) = started(&database, 1).await;
    epro.db.close().await;
    let status = refused(submit(&epro, submission("sub-1", &due[0], 3.0)).await, Code::Unavailable);
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    let status = refused(epro.api.enrol_subject(Request::new(enrolment("s-9", ""))).await, Code::Unavailable);
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
}

/// Two instances take responses while the study is paused, resumed and given new schedules, and subjects are enrolled.
async fn responses_starts_and_schedules_at_once_never_deadlock(database: TestDatabase) {
    let (one, due) = started(&database, 60).await;
    let other = Epro::on(&database).await;
    let lives = async {
        for number in 0..6 {
            other.happens("ProjectSuspended", 2 * number + 2).await;
            other.happens("ProjectResumed", 2 * number + 3).await;
            other.publish(schedule()).await;
            one.enrol(&format!("late-{number}")).await;
        }
    };
    let answers = futures_util::future::join_all(due.iter().enumerate().map(async |(number, assignment)| {
        let epro = if number % 2 == 0 { &one } else { &other };
        let request = submission(&format!("sub-{number}"), assignment, 3.0);
        testkit::wait_until("the response is taken", super::DEADLINE, async || {
            match submit(epro, request.clone()).await {
                Ok(answer) => Some(answer.response_id),
                // Suspended just then, or full.
                Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::ResourceExhausted) => None,
                Err(status) => panic!("{status:?}"),
            }
        })
        .await
    }));
    let ((), answered) = tokio::join!(lives, answers);
    let answered: HashSet<String> = answered.into_iter().collect();
    let stored: HashSet<String> = one.responses().await.into_iter().map(|response| response.response_id).collect();
    assert_eq!(stored, answered);
    let assignments = one.assignments().await;
    let mut asked = HashSet::new();
    for assignment in assignments.iter().filter(|assignment| assignment.state() != AssignmentState::Cancelled) {
        assert!(asked.insert((&assignment.subject_id, &assignment.visit_id)), "asked twice: {assignment:?}");
    }
    assert_eq!(asked.len(), 66 * 2);
}

async fn long_pages_of_responses_hold_everything_once(database: TestDatabase) {
    let (epro, due) = started(&database, 40).await;
    for (number, assignment) in due.iter().enumerate() {
        submit(&epro, submission(&format!("sub-{number:02}"), assignment, 3.0)).await.unwrap();
    }
    for page_size in [1, 16, 17, 40, 1_000] {
        let (mut ids, mut page_token) = (Vec::new(), String::new());
        loop {
            let request =
                proto::ListResponsesRequest { study_id: STUDY.into(), page_size, page_token, ..Default::default() };
            let page = epro.api.list_responses(Request::new(request)).await.unwrap().into_inner();
            ids.extend(page.responses.into_iter().map(|response| response.submission_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(ids, (0..40).map(|number| format!("sub-{number:02}")).collect::<Vec<_>>(), "pages of {page_size}");
    }
}
