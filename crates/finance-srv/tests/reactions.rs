//! What the events of a project do to the money of its study, through the gate and read back over gRPC.
#![allow(clippy::unwrap_used, reason = "a test: the panic is its answer")]

mod support;

use contracts::events::ProjectEvent;
use contracts::finance::v1::*;
use kafka_worker_pool::HandlerError;
use outbox::db;
use support::*;
use time::OffsetDateTime;
use time::macros::datetime;
use tonic::Code;

const STARTED: OffsetDateTime = datetime!(2026-03-02 09:00 UTC);

on_both_databases!(
    a_start_makes_one_payable_per_site,
    a_start_without_a_schedule_waits_for_one,
    a_site_activated_later_is_owed_by_its_own_day,
    a_pause_holds_and_a_resume_releases,
    the_end_closes_and_nothing_arises_any_more,
    a_plain_start_counts_the_sites_known_before,
    a_plain_start_never_reopens,
    a_fee_of_nothing_is_owed_and_not_booked,
    a_site_activated_during_a_pause_is_owed_on_hold,
    an_event_id_given_twice_is_rejected,
    many_sites_and_many_studies_at_once,
    the_books_cannot_be_rewritten,
);

async fn a_start_makes_one_payable_per_site(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    let mut request = fees("P1", "2026-01-01", "", 250_000);
    request.site_fees = vec![SiteFee { site_id: "S2".into(), startup_fee_minor: 300_000 }];
    assert_eq!(set(client, request).await.payables_created, 0);
    assert_eq!(account(client, "P1").await.state(), AccountState::Pending);

    let mut project = Project::of(&database, "P1").await;
    project.is_created().await;
    project.activates("S1", datetime!(2026-02-01 12:00 UTC)).await;
    let start = project.starts(STARTED, &["S1", "S2"]).await;

    assert_eq!(owed(client, "P1").await, ["S1 250000 EUR OPEN", "S2 300000 EUR OPEN"]);
    let payables = payables(client, "P1").await;
    assert!(payables.iter().all(|one| one.event_id == start && one.last_event_id == start));

    let account = account(client, "P1").await;
    assert_eq!((account.state(), account.payable_count), (AccountState::Active, 2));
    assert_eq!(account.payable_totals, [CurrencyAmount { currency_code: "EUR".into(), amount_minor: 550_000 }]);
    assert_eq!((account.last_event_id, account.started_at.unwrap().seconds), (start, STARTED.unix_timestamp()));
    let applied: Vec<_> = account.applied_events.iter().map(|one| (one.sequence, one.event_type.as_str())).collect();
    assert_eq!(applied, [(1, "ProjectCreated"), (2, "SiteActivated"), (3, "ProjectStarted")]);

    let journal = journal(client, "P1").await;
    assert_eq!(journal.len(), 2);
    for (entry, payable) in journal.iter().zip(&payables) {
        let amount = payable.amount_minor;
        let lines: Vec<_> =
            entry.lines.iter().map(|one| (one.ledger_account.as_str(), one.debit_minor, one.credit_minor)).collect();
        assert_eq!(lines, [("expense:site-startup", amount, 0), ("liability:site-payables", 0, amount)]);
        assert_eq!((&entry.payable_id, &entry.event_id), (&payable.payable_id, &payable.event_id));
    }
    assert_eq!(journal[0].description, "start-up fee of site S1, 2500.00 EUR");
    let balance = trial_balance(client, "P1").await;
    assert_eq!(balance.lines.len(), 2);
    let total = TrialBalanceTotal { currency_code: "EUR".into(), debit_minor: 550_000, credit_minor: 550_000 };
    assert_eq!(balance.totals, [total]);
    service.stop().await;
}

async fn a_start_without_a_schedule_waits_for_one(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    let mut project = Project::of(&database, "P1").await;
    let start = project.starts(STARTED, &["S1"]).await;
    let later = project.activates("S2", datetime!(2026-04-01 12:00 UTC)).await;
    let idle = account(client, "P1").await;
    assert_eq!((idle.state(), idle.payable_count), (AccountState::Active, 0));

    // In force on the day of the later activation only.
    assert_eq!(set(client, fees("P1", "2026-04-01", "", 2)).await.payables_created, 1);
    assert_eq!(owed(client, "P1").await, ["S2 2 EUR OPEN"]);
    assert_eq!(set(client, fees("P1", "2026-01-01", "2026-03-31", 1)).await.payables_created, 1);
    assert_eq!(owed(client, "P1").await, ["S1 1 EUR OPEN", "S2 2 EUR OPEN"]);
    let events: Vec<_> = payables(client, "P1").await.into_iter().map(|one| one.event_id).collect();
    assert_eq!(events, [start, later]);
    service.stop().await;
}

async fn a_site_activated_later_is_owed_by_its_own_day(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    set(client, fees("P1", "2026-01-01", "2026-03-31", 1)).await;
    set(client, SetFeeScheduleRequest { currency_code: "JPY".into(), ..fees("P1", "2026-04-01", "", 2) }).await;
    let mut project = Project::of(&database, "P1").await;
    project.starts(STARTED, &["S1"]).await;
    let later = project.activates("S2", datetime!(2026-04-01 12:00 UTC)).await;
    project.activates("S1", datetime!(2026-04-01 12:00 UTC)).await;
    assert_eq!(owed(client, "P1").await, ["S1 1 EUR OPEN", "S2 2 JPY OPEN"]);
    assert_eq!(payables(client, "P1").await[1].event_id, later);
    assert_eq!(trial_balance(client, "P1").await.totals.len(), 2);
    service.stop().await;
}

async fn a_pause_holds_and_a_resume_releases(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    set(client, fees("P1", "2026-01-01", "", 1)).await;
    let mut project = Project::of(&database, "P1").await;
    let start = project.starts(STARTED, &["S1", "S2"]).await;
    let pause = project.is_suspended().await;
    assert_eq!(owed(client, "P1").await, ["S1 1 EUR ON_HOLD", "S2 1 EUR ON_HOLD"]);
    assert_eq!(account(client, "P1").await.state(), AccountState::Suspended);
    let held = payables(client, "P1").await;
    assert!(held.iter().all(|one| one.event_id == start && one.last_event_id == pause));
    let resume = project.is_resumed().await;
    assert_eq!(owed(client, "P1").await, ["S1 1 EUR OPEN", "S2 1 EUR OPEN"]);
    assert!(payables(client, "P1").await.iter().all(|one| one.last_event_id == resume));
    assert_eq!(journal(client, "P1").await.len(), 2);
    service.stop().await;
}

async fn the_end_closes_and_nothing_arises_any_more(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    set(client, fees("P1", "2026-01-01", "2026-12-31", 1)).await;
    let mut project = Project::of(&database, "P1").await;
    project.starts(STARTED, &["S1"]).await;
    project.is_suspended().await;
    let end = project.is_completed().await;
    project.activates("S2", datetime!(2026-04-01 12:00 UTC)).await;
    assert_eq!(owed(client, "P1").await, ["S1 1 EUR CLOSED"]);
    let closed = account(client, "P1").await;
    assert_eq!((closed.state(), closed.last_event_id), (AccountState::Closed, end));
    let refused = client.set_fee_schedule(fees("P1", "2027-01-01", "", 1)).await;
    assert_code(refused, Code::FailedPrecondition);
    service.stop().await;
}

async fn a_plain_start_counts_the_sites_known_before(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    set(client, fees("P1", "2026-01-01", "", 1)).await;
    let mut project = Project::of(&database, "P1").await;
    project.activates("S1", datetime!(2026-02-01 12:00 UTC)).await;
    project.plain_start(STARTED).await.unwrap();
    project.plain_start(STARTED).await.unwrap();
    assert_eq!(owed(client, "P1").await, ["S1 1 EUR OPEN"]);
    // The numbered form of the same start comes as well, and has no second effect.
    project.starts(STARTED, &["S1"]).await;
    assert_eq!(owed(client, "P1").await, ["S1 1 EUR OPEN"]);
    let applied = account(client, "P1").await.applied_events;
    assert_eq!(applied.iter().filter(|one| one.event_type == "ProjectStarted").count(), 1);
    service.stop().await;
}

async fn a_plain_start_never_reopens(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    set(client, fees("P1", "2026-01-01", "", 1)).await;
    let mut project = Project::of(&database, "P1").await;
    project.is_created().await;
    project.is_completed().await;
    project.plain_start(STARTED).await.unwrap();
    assert_eq!(account(client, "P1").await.state(), AccountState::Closed);
    assert!(owed(client, "P1").await.is_empty());
    service.stop().await;
}

async fn a_fee_of_nothing_is_owed_and_not_booked(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    set(client, fees("P1", "2026-01-01", "", 0)).await;
    let mut project = Project::of(&database, "P1").await;
    project.starts(STARTED, &["S1"]).await;
    assert_eq!(owed(client, "P1").await, ["S1 0 EUR OPEN"]);
    assert!(journal(client, "P1").await.is_empty());
    service.stop().await;
}

async fn a_site_activated_during_a_pause_is_owed_on_hold(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    set(client, fees("P1", "2026-01-01", "", 1)).await;
    let mut project = Project::of(&database, "P1").await;
    project.starts(STARTED, &[]).await;
    project.is_suspended().await;
    project.activates("S1", datetime!(2026-04-01 12:00 UTC)).await;
    assert_eq!(owed(client, "P1").await, ["S1 1 EUR ON_HOLD"]);
    project.is_resumed().await;
    assert_eq!(owed(client, "P1").await, ["S1 1 EUR OPEN"]);
    service.stop().await;
}

async fn an_event_id_given_twice_is_rejected(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut project = Project::of(&database, "P1").await;
    let paused = ProjectEvent::ProjectSuspended(project.change());
    let first = project.record(&paused);
    let mut second = project.record(&paused);
    let pairs = second.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect::<Vec<_>>();
    let same_id = first.headers.get("ce_id").unwrap().to_vec();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    second.headers = kafka_worker_pool::Headers::from_pairs(pairs.into_iter().map(|(name, value)| {
        let value = if name == "ce_id" { same_id.clone() } else { value };
        (name, text(value))
    }));
    project.takes(&[first]).await.unwrap();
    let refused = project.takes(&[second]).await.unwrap_err();
    assert!(matches!(refused, HandlerError::Reject { .. }), "{refused:?}");
    service.stop().await;
}

async fn many_sites_and_many_studies_at_once(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    let client = &mut service.client;
    let sites: Vec<String> = (0..450).map(|number| format!("S{number:03}")).collect();
    let sites: Vec<&str> = sites.iter().map(String::as_str).collect();
    let mut batch = Vec::new();
    let mut last = None;
    for number in 0..5 {
        let study = format!("P{number}");
        set(client, fees(&study, "2026-01-01", "", 1_000_000_000_000)).await;
        let mut project = Project::of(&database, &study).await;
        let started = project.started(STARTED, &sites);
        batch.push(project.record(&started));
        last = Some(project);
    }
    last.unwrap().takes(&batch).await.unwrap();
    for number in 0..5 {
        let account = account(client, &format!("P{number}")).await;
        assert_eq!((account.payable_count, account.payable_totals[0].amount_minor), (450, 450_000_000_000_000));
    }
    let all = trial_balance(client, "").await;
    assert_eq!(all.totals[0].debit_minor, 5 * 450_000_000_000_000);
    assert_eq!(all.totals[0].debit_minor, all.totals[0].credit_minor);

    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListPayablesRequest { study_id: "P3".into(), page_size: 200, page_token, ..Default::default() };
        let page = client.list_payables(request).await.unwrap().into_inner();
        seen.extend(page.payables.into_iter().map(|one| one.payable_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert!(seen.is_sorted() && seen.len() == 450);
    service.stop().await;
}

async fn the_books_cannot_be_rewritten(database: TestDatabase) {
    let mut service = Service::start(&database).await;
    set(&mut service.client, fees("P1", "2026-01-01", "", 5)).await;
    Project::of(&database, "P1").await.starts(STARTED, &["S1"]).await;
    let behind = database.open().await;
    for statement in [
        "UPDATE journal_entry SET amount_minor = 6",
        "DELETE FROM journal_entry",
        "UPDATE fee_schedule SET startup_fee_minor = 6",
        "DELETE FROM fee_schedule",
    ] {
        let error = db::exec(behind.writer(), statement, []).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{statement}: {error}");
    }
    for statement in [
        "UPDATE payable SET amount_minor = -1",
        "UPDATE payable SET state = 'PAID'",
        "INSERT INTO payable SELECT fee_schedule_id, study_id, site_id, kind, currency, amount_minor, state, \
         fee_schedule_id, event_id, last_event_id, created_at, updated_at FROM payable",
        "INSERT INTO journal_entry (study_id, payable_id, event_id, description, debit_account, credit_account, currency, \
         amount_minor, posted_at) SELECT study_id, payable_id, event_id, description, debit_account, credit_account, \
         currency, amount_minor, posted_at FROM journal_entry",
    ] {
        assert!(db::exec(behind.writer(), statement, []).await.is_err(), "{statement}");
    }
    assert_eq!(owed(&mut service.client, "P1").await, ["S1 5 EUR OPEN"]);
    service.stop().await;
}
