//! Datasets and checks over HTTP.

use serde_json::json;

use super::*;

on_both_databases!(
    a_dataset_is_checked_stored_and_replaced,
    checks_are_taken_and_their_results_told,
    what_cannot_be_asked_is_refused_with_all_that_is_wrong,
    a_full_queue_refuses_all_at_once_and_loses_nothing,
);

fn question(checks: &Value) -> Value {
    json!({"study": STUDY, "dataset": "vitals", "checks": checks})
}

async fn a_dataset_is_checked_stored_and_replaced(database: TestDatabase) {
    let service = Instance::idle(&database, MonitorArgs { dataset_max_bytes: 64, ..args() }).await;
    let stored = service.upload(STUDY, "vitals", VITALS).await;
    assert_eq!(
        stored,
        json!({"study": STUDY, "dataset": "vitals", "rows": 3, "columns": 2, "bytes": 28, "replaced": false})
    );
    assert_eq!(service.upload(STUDY, "vitals", "A\n").await["replaced"], true);

    let (status, answer) = service.put("/studies/trial-1/datasets/vitals", "A,B\n1,2\n3\n").await;
    assert_eq!((status, answer["violations"][0]["field"].as_str()), (400, Some("body")));
    assert!(answer["error"].as_str().unwrap().contains("line 3: 1 fields"), "{answer}");
    let (status, answer) = service.put("/studies/trial%201/datasets/vi%2Ftals", VITALS).await;
    assert_eq!((status, answer["violations"].as_array().unwrap().len()), (400, 2), "{answer}");

    let large = format!("A\n{}", "1\n".repeat(64));
    let (status, answer) = service.put("/studies/trial-1/datasets/vitals", large).await;
    assert_eq!((status, answer["limit"].as_u64()), (413, Some(64)), "{answer}");
}

async fn checks_are_taken_and_their_results_told(database: TestDatabase) {
    let service = Instance::on(&database).await;
    service.upload(STUDY, "vitals", VITALS).await;
    let checks = json!([{"check": "row_count", "min": 4}, {"check": "missing", "column": "SUBJECT"}, {"check": "missing", "column": "X"}]);
    let (status, asked) = service.ask(&question(&checks)).await;
    assert_eq!((status, asked["count"].as_u64()), (200, Some(3)), "{asked}");
    assert!(asked["message"].as_str().unwrap().starts_with("3 checks queued"), "{asked}");

    let job = service.finished(&asked).await;
    assert_eq!((&job["jobId"], job["study"].as_str()), (&asked["jobId"], Some(STUDY)));
    assert_eq!(job["counts"], json!({"total": 3, "done": 3, "passed": 1, "failed": 1, "error": 1}));
    let expected = json!({
        "dataset": "vitals", "check": "row_count", "min": 4,
        "outcome": "FAILED", "observed": 3, "message": "3 rows; at least 4 wanted"
    });
    assert_eq!(job["items"][0], expected);
    assert_eq!(job["items"][2]["message"], "there is no column 'X'; the dataset has SUBJECT, VALUE");

    for unknown in ["7", "0197f3c4-0000-7000-8000-000000000000"] {
        assert_eq!(service.job(unknown).await.0, 404);
    }
    let kept = crate::store::run::prune(&service.db, db::now() - Duration::from_secs(60)).await.unwrap();
    let pruned = crate::store::run::prune(&service.db, db::now()).await.unwrap();
    assert_eq!((kept, pruned), (0, 1));
    assert_eq!(service.job(asked["jobId"].as_str().unwrap()).await.0, 404);
}

async fn what_cannot_be_asked_is_refused_with_all_that_is_wrong(database: TestDatabase) {
    let service = Instance::on(&database).await;
    let (status, answer) = service.ask(&question(&json!([{"check": "row_count"}]))).await;
    assert_eq!((status, answer["metadata"]["id"].as_str()), (404, Some("trial-1/vitals")), "{answer}");
    assert!(service.runs(STUDY).await.is_empty());
    let (status, answer) = service.ask(&question(&json!([{"check": "magic"}, {"check": "missing"}]))).await;
    assert_eq!((status, answer["violations"].as_array().unwrap().len()), (400, 2), "{answer}");
    let many = json!(vec![json!({"check": "row_count"}); 9]);
    let (status, answer) = service.ask(&question(&many)).await;
    assert_eq!((status, answer["limit"].as_u64()), (413, Some(8)));
    assert!(answer["error"].as_str().unwrap().contains("never takes more than 8"), "{answer}");
}

async fn a_full_queue_refuses_all_at_once_and_loses_nothing(database: TestDatabase) {
    let service = Instance::on(&database).await;
    service.upload(STUDY, "vitals", VITALS).await;
    let checks = |count: usize| question(&json!(vec![json!({"check": "row_count"}); count]));
    let release = service.block_writers().await;
    // Two workers wait for the run to be stored, six checks wait for the workers.
    let body = checks(8);
    let first = service.ask(&body);
    let flood = async {
        wait_until("the first eight to have their places", DEADLINE, async || {
            (service.checks.queued() == 6).then_some(())
        })
        .await;
        let (status, answer) = service.ask(&checks(3)).await;
        assert_eq!((status, answer["retryAfter"].as_str()), (503, Some("1")), "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("6 of 8 places taken"), "{answer}");
        assert_eq!(answer["reason"], contracts::reasons::QUEUE_FULL);
        release.send(()).unwrap();
    };
    let ((status, asked), ()) = tokio::join!(first, flood);
    assert_eq!(status, 200, "{asked}");
    let job = service.finished(&asked).await;
    assert_eq!(job["counts"]["passed"], 8);
    assert_eq!(service.runs(STUDY).await.len(), 1, "nothing of what was refused was done");
}
