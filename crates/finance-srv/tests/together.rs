//! Events that are applied together leave behind what they leave one after another.
#![allow(clippy::unwrap_used, reason = "a test: the panic is its answer")]

mod support;

use contracts::events::ProjectEvent;
use contracts::topics;
use finance_srv::Reactions;
use kafka_worker_pool::{Handler as _, Record};
use outbox::db;
use outbox::{Gate, GateOptions};
use support::*;
use time::OffsetDateTime;
use time::macros::datetime;

const STARTED: OffsetDateTime = datetime!(2026-03-02 09:00 UTC);

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_a_batch_is_its_events_one_by_one() {
    a_batch_is_its_events_one_by_one(TestDatabase::sqlite(), TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_batch_is_its_events_one_by_one() {
    let (Some(one), Some(other)) = (TestDatabase::postgres().await, TestDatabase::postgres().await) else { return };
    a_batch_is_its_events_one_by_one(one, other).await;
}

async fn a_batch_is_its_events_one_by_one(one: TestDatabase, other: TestDatabase) {
    let batch = everything_that_can_meet(&one).await;
    let (together, one_by_one) = (prepared(&one).await, prepared(&other).await);
    together.handle(&batch).await.unwrap();
    for record in &batch {
        one_by_one.handle(std::slice::from_ref(record)).await.unwrap();
    }
    let (together, one_by_one) = (left_behind(&one).await, left_behind(&other).await);
    // A second start of a study has no effect at all.
    assert_eq!(together.iter().filter(|line| line.starts_with("event ")).count(), batch.len() - 1, "{together:#?}");
    assert_eq!(together, one_by_one);
}

/// Three studies: one that goes through everything, one that is paused before its start, and one that ends at once.
async fn everything_that_can_meet(database: &TestDatabase) -> Vec<Record> {
    let site = |project: &Project, site: &str| {
        ProjectEvent::SiteActivated(contracts::events::SiteActivated {
            project_id: project.id.clone(),
            site_id: site.parse().unwrap(),
            name: None,
            country_code: None,
            activated_at: Some(STARTED),
        })
    };
    let mut records = Vec::new();
    let mut project = Project::of(database, "P1").await;
    for event in [
        site(&project, "S1"),
        project.started(STARTED, &["S1", "S2"]),
        site(&project, "S3"),
        ProjectEvent::ProjectSuspended(project.change()),
        site(&project, "S4"),
        ProjectEvent::ProjectResumed(project.change()),
        site(&project, "S5"),
        project.started(STARTED, &["S6"]),
        ProjectEvent::ProjectCompleted(project.change()),
        site(&project, "S7"),
    ] {
        records.push(project.record(&event));
    }
    let mut project = Project::of(database, "P2").await;
    for event in [
        site(&project, "S1"),
        ProjectEvent::ProjectSuspended(project.change()),
        site(&project, "S2"),
        ProjectEvent::ProjectResumed(project.change()),
        site(&project, "S3"),
    ] {
        records.push(project.record(&event));
    }
    let mut project = Project::of(database, "P3").await;
    for event in [project.started(STARTED, &["S1"]), ProjectEvent::ProjectTerminated(project.change())] {
        records.push(project.record(&event));
    }
    records
}

async fn prepared(database: &TestDatabase) -> Gate<Reactions> {
    let mut service = Service::start(database).await;
    for study in ["P1", "P2", "P3"] {
        set(&mut service.client, fees(study, "2026-01-01", "", 250_000)).await;
    }
    service.stop().await;
    Gate::new(database.open().await, GateOptions::new(topics::FINANCE_GROUP), Reactions)
}

/// Everything but the instants of writing.
async fn left_behind(database: &TestDatabase) -> Vec<String> {
    const LOOKS: [&str; 5] = [
        "SELECT 'account ' || study_id || ' ' || state || ' ' || coalesce(start_event_id, '-') || ' ' || coalesce(last_event_id, '-') AS line
           FROM account ORDER BY study_id",
        "SELECT 'event ' || study_id || ' ' || event_id || ' ' || sequence AS line FROM applied_event ORDER BY study_id, position",
        "SELECT 'site ' || study_id || ' ' || site_id || ' ' || coalesce(CAST(due_on AS text), '-') || ' ' || coalesce(due_event_id, '-') AS line
           FROM site ORDER BY study_id, site_id",
        "SELECT 'payable ' || study_id || ' ' || site_id || ' ' || amount_minor || ' ' || state || ' ' || event_id || ' ' || last_event_id AS line
           FROM payable ORDER BY study_id, site_id",
        "SELECT 'entry ' || study_id || ' ' || event_id || ' ' || debit_account || ' ' || credit_account || ' ' || amount_minor AS line
           FROM journal_entry ORDER BY study_id, id",
    ];
    let database = database.open().await;
    let mut lines = Vec::new();
    for sql in LOOKS {
        let rows = db::query_all(database.reader(), sql, []).await.unwrap();
        lines.extend(rows.iter().map(|row| row.try_get::<String>("", "line").unwrap()));
    }
    database.close().await;
    lines
}
