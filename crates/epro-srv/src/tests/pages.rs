//! Lists page by page, and their filters.

use contracts::epro::v1 as proto;
use contracts::epro::v1::epro_service_server::EproService as _;
use tonic::{Code, Request};

use super::{Epro, STUDY, TestDatabase, on_both_databases, refused, schedule};

on_both_databases!(pages_hold_everything_once, filters_and_foreign_tokens);

async fn running(database: &TestDatabase) -> Epro {
    let epro = Epro::on(database).await;
    epro.publish(schedule()).await;
    for number in 0..7 {
        epro.enrol(&format!("s-{number}")).await;
    }
    epro.happens("ProjectStarted", 1).await;
    epro
}

async fn pages_hold_everything_once(database: TestDatabase) {
    let epro = running(&database).await;
    let (mut ids, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            proto::ListAssignmentsRequest { study_id: STUDY.into(), page_size: 5, page_token, ..Default::default() };
        let page = epro.api.list_assignments(Request::new(request)).await.unwrap().into_inner();
        assert!(page.assignments.len() <= 5);
        ids.extend(page.assignments.into_iter().map(|assignment| assignment.assignment_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected: Vec<String> = epro.assignments().await.into_iter().map(|a| a.assignment_id).collect();
    assert_eq!(ids, expected);
    assert_eq!(ids.len(), 14);

    let (mut ids, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            proto::ListNotificationsRequest { study_id: STUDY.into(), page_size: 7, page_token, ..Default::default() };
        let page = epro.api.list_notifications(Request::new(request)).await.unwrap().into_inner();
        ids.extend(page.notifications.into_iter().map(|notification| notification.notification_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected: Vec<String> = epro.notifications().await.into_iter().map(|n| n.notification_id).collect();
    assert_eq!(ids, expected);
    assert_eq!(ids.len(), 28);
}

async fn filters_and_foreign_tokens(database: TestDatabase) {
    let epro = running(&database).await;
    let of_one = proto::ListNotificationsRequest {
        study_id: STUDY.into(),
        subject_id: "s-3".into(),
        state: proto::NotificationState::Sent.into(),
        page_size: 1,
        ..Default::default()
    };
    let page = epro.api.list_notifications(Request::new(of_one.clone())).await.unwrap().into_inner();
    assert_eq!((page.notifications.len(), page.next_page_token.as_str()), (1, ""));
    let all = proto::ListNotificationsRequest { subject_id: String::new(), ..of_one.clone() };
    let page = epro.api.list_notifications(Request::new(all)).await.unwrap().into_inner();
    assert!(!page.next_page_token.is_empty());
    for request in [
        proto::ListNotificationsRequest { page_token: page.next_page_token, ..of_one.clone() },
        proto::ListNotificationsRequest { page_token: "made-up".into(), ..of_one.clone() },
        proto::ListNotificationsRequest { page_size: -1, ..of_one.clone() },
        proto::ListNotificationsRequest { state: 99, ..of_one },
    ] {
        refused(epro.api.list_notifications(Request::new(request)).await, Code::InvalidArgument);
    }
}
