//! Who may do which run when, and which results count: the statements of `store::claim` on their own.

use proto::{CheckOutcome, CheckRunState};

use super::*;
use crate::domain::check::{Finding, Outcome};
use crate::store::claim::{self, CheckResult, Claim, ClaimedRow};

on_both_databases!(
    a_claimed_run_is_taken_by_nobody_else_until_it_is_given_up_or_runs_out,
    a_claimed_run_does_not_begin_during_a_pause,
    a_run_that_is_taken_over_has_its_open_checks_left,
    the_first_result_of_a_check_counts_and_none_after_the_end,
);

/// A started study with a plan of two checks, and nobody who does them.
async fn started(database: &TestDatabase) -> Instance {
    let service = Instance::idle(database, args()).await;
    service.set_plan(STUDY, vec![row_count("vitals", 1), missing("vitals", "VALUE")]).await;
    service.happens(STUDY, "ProjectStarted", 1).await;
    service
}

async fn take(service: &Instance, by: Uuid, lease: Duration) -> Vec<ClaimedRow> {
    let claim = Claim { by, until: db::now() + lease };
    let taken = service.db.transaction(move |tx| Box::pin(async move { claim::take(tx, db::now(), &claim, 10).await }));
    taken.await.unwrap()
}

async fn begin(service: &Instance, by: Uuid, run: Uuid) -> bool {
    let study = ProjectId::new(STUDY).unwrap();
    let begun =
        service.db.transaction(move |tx| Box::pin(async move { claim::begin(tx, by, run, &study, db::now()).await }));
    begun.await.unwrap()
}

async fn release(service: &Instance, by: Uuid) {
    let released = service.db.transaction(move |tx| Box::pin(async move { claim::release(tx, by, None).await }));
    assert_eq!(released.await.unwrap(), 1);
}

async fn record(service: &Instance, run: Uuid, position: u64, observed: u64) {
    let finding = Finding { outcome: Outcome::Passed, observed, message: String::new() };
    claim::record(&service.db, vec![CheckResult { run, position, finding }], db::now()).await.unwrap();
}

const LONG: Duration = Duration::from_secs(60);

async fn a_claimed_run_is_taken_by_nobody_else_until_it_is_given_up_or_runs_out(database: TestDatabase) {
    let service = started(&database).await;
    let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
    let taken = take(&service, one, LONG).await;
    assert_eq!((taken.len(), taken[0].open.len()), (1, 2));
    assert!(take(&service, other, LONG).await.is_empty());
    assert!(!claim::is_any(service.db.reader(), db::now()).await.unwrap());
    release(&service, one).await;
    assert_eq!(take(&service, other, Duration::ZERO).await.len(), 1);
    // That claim has run out already.
    assert_eq!(take(&service, one, LONG).await.len(), 1);
    assert!(!begin(&service, other, taken[0].id).await, "who lost the run does not begin it");
    assert!(begin(&service, one, taken[0].id).await);
    let (claim, runs) = (Claim { by: other, until: db::now() + LONG }, [taken[0].id]);
    assert_eq!(claim::renew(service.db.writer(), &claim, &runs, true).await.unwrap(), 0, "nor renews it");
}

async fn a_claimed_run_does_not_begin_during_a_pause(database: TestDatabase) {
    let service = started(&database).await;
    let by = Uuid::now_v7();
    let run = take(&service, by, LONG).await[0].id;
    service.happens(STUDY, "ProjectSuspended", 2).await;
    assert!(!begin(&service, by, run).await);
    release(&service, by).await;
    assert!(take(&service, by, LONG).await.is_empty(), "it waits");
    service.happens(STUDY, "ProjectResumed", 3).await;
    assert_eq!(take(&service, by, LONG).await.len(), 1);
    assert!(begin(&service, by, run).await);
}

async fn a_run_that_is_taken_over_has_its_open_checks_left(database: TestDatabase) {
    let service = started(&database).await;
    let (dead, heir) = (Uuid::now_v7(), Uuid::now_v7());
    let run = take(&service, dead, Duration::ZERO).await[0].id;
    assert!(begin(&service, dead, run).await);
    record(&service, run, 0, 7).await;
    assert_eq!(service.runs(STUDY).await[0].state(), CheckRunState::Running);
    let taken = take(&service, heir, LONG).await;
    let open: Vec<u64> = taken[0].open.iter().map(|(position, _)| *position).collect();
    assert_eq!(open, [1]);
    record(&service, run, 1, 8).await;
    let run = &service.runs(STUDY).await[0];
    assert_eq!(run.state(), CheckRunState::Finished);
    assert_eq!(run.items.iter().map(|item| item.observed).collect::<Vec<_>>(), [7, 8]);
}

async fn the_first_result_of_a_check_counts_and_none_after_the_end(database: TestDatabase) {
    let service = started(&database).await;
    let by = Uuid::now_v7();
    let run = take(&service, by, LONG).await[0].id;
    assert!(begin(&service, by, run).await);
    record(&service, run, 0, 7).await;
    record(&service, run, 0, 9).await;
    service.happens(STUDY, "ProjectCompleted", 2).await;
    record(&service, run, 1, 8).await;
    let run = &service.runs(STUDY).await[0];
    assert_eq!(run.state(), CheckRunState::Cancelled);
    assert_eq!((run.items[0].observed, run.items[1].outcome()), (7, CheckOutcome::Unspecified));
    assert!(take(&service, by, LONG).await.is_empty());
}
