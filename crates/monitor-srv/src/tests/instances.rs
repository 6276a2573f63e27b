//! Several instances on one database, and instances that die or stop.

use proto::CheckRunState;
use serde_json::json;

use super::*;

on_both_databases!(
    what_a_dead_instance_accepted_is_done_by_another,
    two_instances_share_the_runs_and_double_none,
    results_are_written_after_the_workers_ended,
    results_are_written_when_the_database_is_back,
);

async fn what_a_dead_instance_accepted_is_done_by_another(database: TestDatabase) {
    // It does its checks and never writes a result, as if it died in the middle.
    let dead = Instance::idle(&database, MonitorArgs { check_lease: Duration::from_millis(200), ..args() }).await;
    dead.upload(STUDY, "vitals", VITALS).await;
    let body = json!({"study": STUDY, "dataset": "vitals", "checks": [{"check": "row_count"}, {"check": "missing", "column": "VALUE"}]});
    let (status, asked) = dead.ask(&body).await;
    assert_eq!(status, 200, "{asked}");
    drop(dead);
    let heir = Instance::on(&database).await;
    let job = heir.finished(&asked).await;
    assert_eq!(job["counts"], json!({"total": 2, "done": 2, "passed": 1, "failed": 1, "error": 0}));
}

async fn two_instances_share_the_runs_and_double_none(database: TestDatabase) {
    let (one, other) = (Instance::on(&database).await, Instance::on(&database).await);
    let studies: Vec<String> = (0..20).map(|n| format!("trial-{n}")).collect();
    for (n, study) in studies.iter().enumerate() {
        let instance = if n % 2 == 0 { &one } else { &other };
        instance.set_plan(study, vec![row_count("vitals", 1), row_count("vitals", 2), missing("vitals", "X")]).await;
        instance.happens(study, "ProjectStarted", 1).await;
    }
    for study in &studies {
        let run = one.run_in(study, CheckRunState::Finished).await;
        assert!(run.items.iter().all(|item| item.outcome() == proto::CheckOutcome::Error), "{run:?}");
    }
}

async fn results_are_written_after_the_workers_ended(database: TestDatabase) {
    let mut service = Instance::idle(&database, args()).await;
    service.upload(STUDY, "vitals", VITALS).await;
    let body = json!({"study": STUDY, "dataset": "vitals", "checks": [{"check": "row_count"}]});
    let (_, asked) = service.ask(&body).await;
    let outcomes = service.outcomes.take().unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    service.checks.clone().drain(DEADLINE, stop.clone()).await.unwrap();
    assert_eq!(service.ask(&body).await.0, 503, "a pool that has closed takes nothing");
    service.checks.clone().collect(outcomes, stop).await.unwrap();
    let (_, job) = service.job(asked["jobId"].as_str().unwrap()).await;
    assert_eq!(job["state"], "FINISHED");
}

async fn results_are_written_when_the_database_is_back(database: TestDatabase) {
    let service = Instance::on(&database).await;
    service.upload(STUDY, "vitals", VITALS).await;
    let body = json!({"study": STUDY, "dataset": "vitals", "checks": [{"check": "row_count"}]});
    let release = service.block_writers().await;
    let (asked, ()) = tokio::join!(service.ask(&body), async {
        wait_until("a worker that waits", DEADLINE, async || (service.checks.queued() == 0).then_some(())).await;
        drop(release);
    });
    assert_eq!(asked.0, 200, "{}", asked.1);
    assert_eq!(service.finished(&asked.1).await["counts"]["passed"], 1);
}
