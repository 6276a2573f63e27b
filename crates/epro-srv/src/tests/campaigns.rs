//! What the life of a project makes of its campaign.

use contracts::epro::v1 as proto;
use contracts::epro::v1::epro_service_server::EproService as _;
use contracts::epro::v1::{AssignmentState, CampaignState, NotificationKind, NotificationState};
use tonic::{Code, Request};

use crate::domain::push::Channel;

use super::{Epro, STUDY, TestDatabase, day, enrolment, event, on_both_databases, refused, schedule};

on_both_databases!(
    a_start_generates_assignments_and_pushes_what_is_due,
    an_event_without_schedule_applies_and_publishing_catches_up,
    an_enrolment_after_the_start_gets_its_assignments,
    suspending_holds_and_resuming_releases_without_doubling,
    an_end_closes_everything,
    a_foreign_start_then_the_sequenced_one_have_one_effect,
    a_sequenced_start_then_a_foreign_one_have_one_effect,
    a_foreign_start_reopens_nothing,
    a_new_version_takes_over_what_has_not_opened,
    a_request_id_gives_the_first_answer_again,
    closed_windows_are_missed,
    a_large_study_is_generated_in_portions,
    unknown_studies_and_versions_are_refused,
);

async fn a_start_generates_assignments_and_pushes_what_is_due(database: TestDatabase) {
    let epro = Epro::on(&database).await;
    assert_eq!(epro.publish(schedule()).await, 0, "nothing is asked before the start");
    assert_eq!(epro.enrol("s-1").await, 0);
    assert_eq!(epro.enrol("s-2").await, 0);
    assert_eq!(epro.campaign().await.state(), CampaignState::Pending);

    let started = epro.happens("ProjectStarted", 1).await;

    let campaign = epro.campaign().await;
    assert_eq!(campaign.state(), CampaignState::Active);
    assert_eq!((campaign.subject_count, campaign.assignment_count, campaign.notification_count), (2, 4, 8));
    assert_eq!(campaign.last_event_id, started);
    assert_eq!(campaign.applied_events.len(), 1);
    assert_eq!(campaign.applied_events[0].sequence, 1);
    assert!(campaign.started_at.is_some());
    for assignment in epro.assignments().await {
        assert_eq!(assignment.event_id, started);
        assert_eq!(assignment.state(), AssignmentState::Open);
        let opens = if assignment.visit_id == "day-1" { 0 } else { 7 };
        assert_eq!((assignment.due_on, assignment.window_closes_on), (day(opens), day(opens + 2)));
    }
    let sent: Vec<_> =
        epro.notifications().await.into_iter().filter(|one| one.state() == NotificationState::Sent).collect();
    assert_eq!(sent.len(), 2, "the invitations of day 1");
    assert!(sent.iter().all(|one| one.kind() == NotificationKind::Invitation && one.sent_at.is_some()));
    assert!(sent.iter().all(|one| one.event_id == started && one.idempotency_key == one.notification_id));
}

async fn an_event_without_schedule_applies_and_publishing_catches_up(database: TestDatabase) {
    let epro = Epro::on(&database).await;
    let started = epro.happens("ProjectStarted", 1).await;
    let campaign = epro.campaign().await;
    assert_eq!((campaign.state(), campaign.assignment_count), (CampaignState::Active, 0));
    assert_eq!(epro.enrol("s-1").await, 0);
    assert_eq!(epro.publish(schedule()).await, 2);
    assert!(epro.assignments().await.iter().all(|assignment| assignment.event_id == started));
}

async fn an_enrolment_after_the_start_gets_its_assignments(database: TestDatabase) {
    let epro = Epro::on(&database).await;
    epro.publish(schedule()).await;
    epro.happens("ProjectStarted", 1).await;
    assert_eq!(epro.enrol("s-1").await, 2);
    assert_eq!(epro.enrol_on("s-2", &day(-3)).await, 2);
    let missed: Vec<_> =
        epro.assignments().await.into_iter().filter(|a| a.state() == AssignmentState::Missed).collect();
    assert_eq!(missed.len(), 1, "the window of day 1 closed yesterday");
    assert_eq!(missed[0].subject_id, "s-2");
    refused(epro.api.enrol_subject(Request::new(enrolment("s-1", ""))).await, Code::AlreadyExists);
}

async fn suspending_holds_and_resuming_releases_without_doubling(database: TestDatabase) {
    use NotificationKind::{Invitation, Reminder};
    use NotificationState::{Held, Pending, Sent};
    let epro = Epro::on(&database).await;
    epro.publish(schedule()).await;
    epro.enrol("s-1").await;
    epro.happens("ProjectStarted", 1).await;
    let suspended = epro.happens("ProjectSuspended", 2).await;

    assert_eq!(epro.campaign().await.state(), CampaignState::Suspended);
    assert_eq!(epro.campaign().await.last_event_id, suspended);
    assert_eq!(epro.pushes().await, [(Invitation, Sent), (Invitation, Held), (Reminder, Held), (Reminder, Held)]);
    assert_eq!(epro.enrol("s-2").await, 2, "asked, but not told while the study is suspended");
    assert!(epro.notifications().await.iter().filter(|one| one.subject_id == "s-2").all(|one| one.state() == Held));

    epro.happens("ProjectResumed", 3).await;

    assert_eq!(epro.campaign().await.state(), CampaignState::Active);
    let pushes = epro.pushes().await;
    assert_eq!(pushes[..2], [(Invitation, Sent), (Invitation, Sent)], "what fell due meanwhile goes out");
    assert!(pushes[2..].iter().all(|push| push.1 == Pending));
    let campaign = epro.campaign().await;
    assert_eq!((campaign.assignment_count, campaign.notification_count), (4, 8), "none twice");
    let sequences: Vec<i64> = campaign.applied_events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
}

async fn an_end_closes_everything(database: TestDatabase) {
    let epro = Epro::on(&database).await;
    epro.publish(schedule()).await;
    epro.enrol("s-1").await;
    epro.happens("ProjectStarted", 1).await;
    epro.happens("ProjectCompleted", 2).await;
    assert_eq!(epro.campaign().await.state(), CampaignState::Closed);
    assert!(epro.assignments().await.iter().all(|assignment| assignment.state() == AssignmentState::Cancelled));
    let states: Vec<_> = epro.pushes().await.into_iter().map(|push| push.1).collect();
    assert_eq!(states.iter().filter(|state| **state == NotificationState::Cancelled).count(), 3);
    assert_eq!(states.iter().filter(|state| **state == NotificationState::Sent).count(), 1);
    refused(epro.api.enrol_subject(Request::new(enrolment("s-2", ""))).await, Code::FailedPrecondition);
    let request = proto::PublishScheduleRequest { schedule: Some(schedule()), request_id: String::new() };
    refused(epro.api.publish_schedule(Request::new(request)).await, Code::FailedPrecondition);
}

async fn a_foreign_start_then_the_sequenced_one_have_one_effect(database: TestDatabase) {
    two_starts(&database, [None, Some(1)], 2).await;
}

async fn a_sequenced_start_then_a_foreign_one_have_one_effect(database: TestDatabase) {
    two_starts(&database, [Some(1), None], 1).await;
}

async fn two_starts(database: &TestDatabase, sequences: [Option<i64>; 2], listed: usize) {
    let epro = Epro::on(database).await;
    epro.publish(schedule()).await;
    epro.enrol("s-1").await;
    let first = event("ProjectStarted", sequences[0]);
    let first_id = first.inbound.id.clone();
    epro.apply(first).await.unwrap();
    epro.apply(event("ProjectStarted", sequences[1])).await.unwrap();
    let campaign = epro.campaign().await;
    assert_eq!((campaign.assignment_count, campaign.notification_count), (2, 4));
    assert_eq!((campaign.last_event_id, campaign.applied_events.len()), (first_id, listed));
}

async fn a_foreign_start_reopens_nothing(database: TestDatabase) {
    let epro = Epro::on(&database).await;
    epro.happens("ProjectStarted", 1).await;
    for (number, (event_type, state)) in
        [("ProjectSuspended", CampaignState::Suspended), ("ProjectTerminated", CampaignState::Closed)]
            .into_iter()
            .enumerate()
    {
        epro.happens(event_type, i64::try_from(number).unwrap() + 2).await;
        epro.apply(event("ProjectStarted", None)).await.unwrap();
        assert_eq!(epro.campaign().await.state(), state);
    }
    assert_eq!(epro.campaign().await.applied_events.len(), 3, "what had no effect is not listed");
}

async fn a_new_version_takes_over_what_has_not_opened(database: TestDatabase) {
    let epro = Epro::on(&database).await;
    epro.publish(schedule()).await;
    epro.enrol("s-1").await;
    epro.happens("ProjectStarted", 1).await;
    let mut second = schedule();
    second.visits[1].offset_days = 14;
    assert_eq!(epro.publish(second).await, 1);
    let mut found: Vec<_> = epro
        .assignments()
        .await
        .into_iter()
        .map(|a| (a.visit_id.clone(), a.schedule_version, a.state(), a.due_on))
        .collect();
    found.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    assert_eq!(
        found,
        [
            ("day-1".to_owned(), 1, AssignmentState::Open, day(0)),
            ("day-8".to_owned(), 1, AssignmentState::Cancelled, day(7)),
            ("day-8".to_owned(), 2, AssignmentState::Open, day(14)),
        ]
    );
    let cancelled = epro.pushes().await.into_iter().filter(|push| push.1 == NotificationState::Cancelled).count();
    assert_eq!(cancelled, 2, "invitation and reminder of the visit that moved");
    let old = proto::Schedule { version: 2, ..schedule() };
    let request = proto::PublishScheduleRequest { schedule: Some(old), request_id: String::new() };
    refused(epro.api.publish_schedule(Request::new(request)).await, Code::FailedPrecondition);
}

async fn a_request_id_gives_the_first_answer_again(database: TestDatabase) {
    let epro = Epro::on(&database).await;
    let request = proto::EnrolSubjectRequest { request_id: "r-1".into(), ..enrolment("s-1", "") };
    let first = epro.api.enrol_subject(Request::new(request.clone())).await.unwrap().into_inner();
    let again = epro.api.enrol_subject(Request::new(request.clone())).await.unwrap().into_inner();
    assert_eq!(first, again);
    let other = proto::EnrolSubjectRequest { subject_id: "s-2".into(), ..request };
    refused(epro.api.enrol_subject(Request::new(other)).await, Code::InvalidArgument);
    let publish = proto::PublishScheduleRequest { schedule: Some(schedule()), request_id: "r-2".into() };
    let first = epro.api.publish_schedule(Request::new(publish.clone())).await.unwrap().into_inner();
    let again = epro.api.publish_schedule(Request::new(publish)).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(first.schedule, Some(proto::Schedule { version: 1, ..schedule() }), "the schedule comes back whole");
}

async fn closed_windows_are_missed(database: TestDatabase) {
    let epro = Epro::on(&database).await;
    epro.publish(schedule()).await;
    epro.enrol("s-1").await;
    epro.happens("ProjectStarted", 1).await;
    let today = time::OffsetDateTime::now_utc().date();
    assert_eq!(crate::upkeep::miss_what_closed(&epro.db, today).await.unwrap(), 0);
    let later = today + time::Duration::days(3);
    assert_eq!(crate::upkeep::miss_what_closed(&epro.db, later).await.unwrap(), 1);
    let missed: Vec<_> =
        epro.assignments().await.into_iter().filter(|a| a.state() == AssignmentState::Missed).collect();
    assert_eq!((missed.len(), missed[0].visit_id.as_str()), (1, "day-1"));
    let states: Vec<_> = epro.pushes().await.into_iter().map(|push| push.1).collect();
    assert_eq!(states.iter().filter(|state| **state == NotificationState::Cancelled).count(), 1, "its reminder");
}

async fn a_large_study_is_generated_in_portions(database: TestDatabase) {
    let epro = Epro::on(&database).await;
    let mut large = schedule();
    large.visits = (0..500).map(|n| proto::Visit { visit_id: format!("v-{n}"), ..large.visits[0].clone() }).collect();
    large.reminders.clear();
    epro.publish(large).await;
    for number in 0..13 {
        epro.enrol(&format!("s-{number}")).await;
    }
    epro.happens("ProjectStarted", 1).await;
    assert_eq!(epro.campaign().await.assignment_count, 5_000);
    assert_eq!(epro.enrol("s-late").await, 500, "an enrolment meanwhile gets its own");
    assert_eq!(crate::upkeep::generate_what_is_left(&epro.db, Channel::Record).await.unwrap(), 1_500);
    assert_eq!(crate::upkeep::generate_what_is_left(&epro.db, Channel::Record).await.unwrap(), 0);
    let campaign = epro.campaign().await;
    assert_eq!((campaign.assignment_count, campaign.notification_count), (7_000, 7_000));
}

async fn unknown_studies_and_versions_are_refused(database: TestDatabase) {
    let epro = Epro::on(&database).await;
    let request = proto::GetCampaignRequest { study_id: STUDY.into() };
    refused(epro.api.get_campaign(Request::new(request)).await, Code::NotFound);
    let request = proto::GetCampaignRequest { study_id: "a b".into() };
    refused(epro.api.get_campaign(Request::new(request)).await, Code::InvalidArgument);
    let mut broken = schedule();
    broken.visits[0].anchor = 0;
    broken.reminders[0].offset_hours = -1;
    broken.version = -1;
    let request = proto::PublishScheduleRequest { schedule: Some(broken), request_id: "r".repeat(129) };
    let status = refused(epro.api.publish_schedule(Request::new(request)).await, Code::InvalidArgument);
    for field in ["schedule.visits[0].anchor", "schedule.reminders[0].offset_hours", "schedule.version", "request_id"] {
        assert!(status.message().contains(field), "{field} is not named in: {}", status.message());
    }
}
