//! Laws that hold after every step, whatever the order of events and calls.

use std::collections::HashSet;

use contracts::epro::v1::epro_service_server::EproService as _;
use contracts::epro::v1::{self as proto, AssignmentState, CampaignState, NotificationState};
use proptest::prelude::*;
use tonic::Request;

use super::{Epro, STUDY, TestDatabase, enrolment, event, schedule};

#[derive(Debug, Clone, Copy)]
enum Step {
    Event(&'static str),
    ForeignStart,
    Publish,
    Enrol,
    Answer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Event("ProjectStarted")),
        2 => Just(Step::Event("ProjectSuspended")),
        2 => Just(Step::Event("ProjectResumed")),
        1 => prop_oneof![Just(Step::Event("ProjectCompleted")), Just(Step::Event("ProjectTerminated"))],
        1 => Just(Step::ForeignStart),
        2 => Just(Step::Publish),
        3 => Just(Step::Enrol),
        3 => Just(Step::Answer),
    ];
    proptest::collection::vec(step, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_sqlite_every_step_keeps_the_laws(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let database = TestDatabase::sqlite();
            let epro = Epro::on(&database).await;
            epro.enrol("s-0").await;
            for (number, step) in steps.into_iter().enumerate() {
                take(&epro, step, i64::try_from(number).unwrap() + 1).await;
                laws_hold(&epro, step).await;
            }
        });
    }
}

async fn take(epro: &Epro, step: Step, number: i64) {
    match step {
        Step::Event(event_type) => epro.apply(event(event_type, Some(number))).await.unwrap(),
        Step::ForeignStart => epro.apply(event("ProjectStarted", None)).await.unwrap(),
        // Refused once the campaign is closed.
        Step::Publish => {
            let request = proto::PublishScheduleRequest { schedule: Some(schedule()), request_id: String::new() };
            let _ = epro.api.publish_schedule(Request::new(request)).await;
        }
        Step::Enrol => {
            let _ = epro.api.enrol_subject(Request::new(enrolment(&format!("s-{number}"), ""))).await;
        }
        Step::Answer => {
            if let Some(open) = epro.assignments().await.into_iter().find(|one| one.visit_id == "day-1") {
                let request = super::responses::submission(&format!("sub-{number}"), &open, 3.0);
                let _ = epro.api.submit_response(Request::new(request)).await;
            }
        }
    }
}

async fn laws_hold(epro: &Epro, after: Step) {
    let campaign = epro.campaign().await;
    let assignments = epro.assignments().await;
    let standing: Vec<_> = assignments.iter().filter(|one| one.state() != AssignmentState::Cancelled).collect();
    let asked: HashSet<_> = standing.iter().map(|one| (&one.subject_id, &one.visit_id, &one.instrument_id)).collect();
    assert_eq!(asked.len(), standing.len(), "{after:?}: asked twice");

    let is_generated = campaign.started_at.is_some() && campaign.schedule_version > 0;
    if campaign.state() == CampaignState::Active {
        let expected = if is_generated { campaign.subject_count * 2 } else { 0 };
        assert_eq!(i64::try_from(standing.len()).unwrap(), expected, "{after:?}: each subject is asked at both visits");
    }
    if campaign.state() == CampaignState::Pending {
        assert!(assignments.is_empty(), "{after:?}: nothing is asked before the start");
    }
    let open: HashSet<_> =
        standing.iter().filter(|one| one.state() == AssignmentState::Open).map(|one| &one.assignment_id).collect();
    for notification in epro.notifications().await {
        let waits = matches!(notification.state(), NotificationState::Pending | NotificationState::Held);
        assert!(!waits || open.contains(&notification.assignment_id), "{after:?}: waits in vain: {notification:?}");
        match campaign.state() {
            CampaignState::Active => assert_ne!(notification.state(), NotificationState::Held, "{after:?}"),
            CampaignState::Suspended => assert_ne!(notification.state(), NotificationState::Pending, "{after:?}"),
            _ => assert!(!waits, "{after:?}: {notification:?}"),
        }
    }
    let answered: HashSet<_> = epro.responses().await.into_iter().map(|one| one.assignment_id).collect();
    let completed: HashSet<_> = assignments
        .iter()
        .filter(|one| one.state() == AssignmentState::Completed)
        .map(|one| one.assignment_id.clone())
        .collect();
    assert_eq!(answered, completed, "{after:?}: a response for each completed assignment of {STUDY}, and no other");
}
