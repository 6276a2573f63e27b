//! SetFeeSchedule and the reads over gRPC: idempotency, refusals, pages.
#![allow(clippy::unwrap_used, reason = "a test: the panic is its answer")]

mod support;

use contracts::finance::v1::*;
use contracts::reasons;
use support::*;
use time::macros::datetime;
use tonic::Code;
use tonic_types::StatusExt as _;

on_both_databases!(
    one_request_id_sets_one_schedule,
    a_request_id_is_not_free_for_another_study,
    equal_calls_at_once_get_one_answer,
    an_overlap_is_refused_with_a_remedy,
    everything_wrong_is_told_at_once,
    an_unknown_study_is_not_found,
    lists_filter_and_page,
    a_schedule_and_a_start_at_once_owe_once,
);

async fn one_request_id_sets_one_schedule(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    let request = SetFeeScheduleRequest { request_id: "r1".into(), ..fees("P1", "2026-01-01", "", 7) };
    let first = set(client, request.clone()).await;
    assert_eq!(set(client, request.clone()).await, first);
    let other = SetFeeScheduleRequest { startup_fee_minor: 8, ..request.clone() };
    let refused = assert_code(client.set_fee_schedule(other).await, Code::InvalidArgument);
    assert_eq!(refused.get_details_error_info().unwrap().reason, reasons::REQUEST_ID_REUSED);

    let account = account(client, "P1").await;
    assert_eq!(account.fee_schedules, [first.fee_schedule.unwrap()]);
    assert_eq!((account.last_event_id.as_str(), account.last_event_applied_at), ("", None));

    // Without an id the same call is a new one, and its span is taken.
    let again = SetFeeScheduleRequest { request_id: String::new(), ..request };
    assert_code(client.set_fee_schedule(again).await, Code::FailedPrecondition);
    service.stop().await;
}

async fn a_request_id_is_not_free_for_another_study(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let calls = (0..8).map(|number| {
        let mut client = service.client.clone();
        let request =
            SetFeeScheduleRequest { request_id: "r1".into(), ..fees(&format!("P{number}"), "2026-01-01", "", 7) };
        tokio::spawn(async move { client.set_fee_schedule(request).await })
    });
    let mut accepted = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            Ok(_) => accepted += 1,
            Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{status:?}"),
        }
    }
    assert_eq!(accepted, 1);
    // A refused call leaves nothing behind.
    let mut known = 0;
    for number in 0..8 {
        known +=
            usize::from(service.client.get_account(GetAccountRequest { study_id: format!("P{number}") }).await.is_ok());
    }
    assert_eq!(known, 1);
    service.stop().await;
}

async fn equal_calls_at_once_get_one_answer(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let request = SetFeeScheduleRequest { request_id: "r1".into(), ..fees("P1", "2026-01-01", "", 7) };
    let calls = (0..16).map(|_| {
        let (mut client, request) = (service.client.clone(), request.clone());
        tokio::spawn(async move { client.set_fee_schedule(request).await.unwrap().into_inner() })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(account(&mut service.client, "P1").await.fee_schedules.len(), 1);
    service.stop().await;
}

async fn an_overlap_is_refused_with_a_remedy(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    let first = set(client, fees("P1", "2026-03-01", "2026-03-31", 1)).await.fee_schedule.unwrap();
    let refused = assert_code(client.set_fee_schedule(fees("P1", "2026-03-31", "", 2)).await, Code::FailedPrecondition);
    assert_eq!(refused.get_details_error_info().unwrap().reason, reasons::WRONG_STATE);
    let violation = refused.get_details_precondition_failure().unwrap().violations.remove(0);
    assert_eq!((violation.r#type.as_str(), violation.subject), ("FEE_SCHEDULE", first.fee_schedule_id));
    assert_eq!(violation.description, "choose a span that ends by 2026-02-28 or begins on 2026-04-01 or later");
    // Another study has days of its own.
    set(client, fees("P2", "2026-03-01", "2026-03-31", 1)).await;
    service.stop().await;
}

async fn everything_wrong_is_told_at_once(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let request = SetFeeScheduleRequest { currency_code: "DEM".into(), ..fees("", "soon", "2026-01-01", -5) };
    let refused = assert_code(service.client.set_fee_schedule(request).await, Code::InvalidArgument);
    let fields: Vec<_> =
        refused.get_details_bad_request().unwrap().field_violations.into_iter().map(|one| one.field).collect();
    assert_eq!(fields, ["study_id", "currency_code", "effective_from", "startup_fee_minor"]);
    let list = ListPayablesRequest {
        study_id: "P 1".into(),
        page_size: -1,
        page_token: "zz".into(),
        state: 9,
        site_id: "S 1".into(),
    };
    let refused = assert_code(service.client.list_payables(list).await, Code::InvalidArgument);
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations.len(), 5);
    service.stop().await;
}

async fn an_unknown_study_is_not_found(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    let study_id = || "P1".to_owned();
    assert_code(client.get_account(GetAccountRequest { study_id: study_id() }).await, Code::NotFound);
    let list = ListPayablesRequest { study_id: study_id(), ..Default::default() };
    assert_code(client.list_payables(list).await, Code::NotFound);
    let list = ListJournalEntriesRequest { study_id: study_id(), ..Default::default() };
    assert_code(client.list_journal_entries(list).await, Code::NotFound);
    assert_code(client.get_trial_balance(GetTrialBalanceRequest { study_id: study_id() }).await, Code::NotFound);
    let nothing = trial_balance(client, "").await;
    assert!(nothing.lines.is_empty() && nothing.totals.is_empty());
    service.stop().await;
}

async fn lists_filter_and_page(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    set(client, fees("P1", "2026-01-01", "", 1)).await;
    let mut project = Project::of(&database, "P1").await;
    project.starts(datetime!(2026-03-02 09:00 UTC), &["S1", "S2", "S3"]).await;
    let all = ListPayablesRequest { study_id: "P1".into(), ..Default::default() };

    let of_site = ListPayablesRequest { site_id: "S2".into(), state: PayableState::Open.into(), ..all.clone() };
    assert_eq!(client.list_payables(of_site).await.unwrap().into_inner().payables.len(), 1);
    let on_hold = ListPayablesRequest { state: PayableState::OnHold.into(), ..all.clone() };
    assert!(client.list_payables(on_hold).await.unwrap().into_inner().payables.is_empty());

    let first = ListPayablesRequest { page_size: 2, ..all.clone() };
    let page = client.list_payables(first.clone()).await.unwrap().into_inner();
    let next = ListPayablesRequest { page_token: page.next_page_token, ..first };
    let last = client.list_payables(next.clone()).await.unwrap().into_inner();
    assert_eq!((page.payables.len(), last.payables.len(), last.next_page_token.as_str()), (2, 1, ""));
    let other_query = ListPayablesRequest { site_id: "S1".into(), ..next };
    assert_code(client.list_payables(other_query).await, Code::InvalidArgument);

    let mut request = ListJournalEntriesRequest { study_id: "P1".into(), page_size: 2, ..Default::default() };
    let page = client.list_journal_entries(request.clone()).await.unwrap().into_inner();
    request.page_token = page.next_page_token;
    let last = client.list_journal_entries(request).await.unwrap().into_inner();
    let ids: Vec<i64> = page.entries.iter().chain(&last.entries).map(|entry| entry.entry_id).collect();
    assert!(ids.is_sorted() && ids.len() == 3 && last.next_page_token.is_empty(), "{ids:?}");
    service.stop().await;
}

async fn a_schedule_and_a_start_at_once_owe_once(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    for number in 0..10 {
        let study = format!("P{number}");
        let mut project = Project::of(&database, &study).await;
        let mut client = service.client.clone();
        let request = fees(&study, "2026-01-01", "", 3);
        tokio::join!(async { set(&mut client, request).await }, async {
            project.starts(datetime!(2026-03-02 09:00 UTC), &["S1", "S2"]).await
        });
        assert_eq!(owed(&mut service.client, &study).await, ["S1 3 EUR OPEN", "S2 3 EUR OPEN"]);
        assert_eq!(journal(&mut service.client, &study).await.len(), 2);
    }
    service.stop().await;
}
