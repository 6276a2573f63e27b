//! Events that are applied together leave behind what they leave one after another.

use contracts::epro::v1 as proto;
use contracts::epro::v1::epro_service_server::EproService as _;
use contracts::ids::ProjectId;
use outbox::db;
use outbox::{EffectError, Effects as _, InboundEvent};
use proptest::prelude::*;
use tonic::Request;

use super::{Epro, TestDatabase, enrolment, event, schedule};

/// The last one has a subject and no schedule.
const STUDIES: [&str; 3] = ["trial-1", "trial-2", "trial-3"];

const TYPES: [&str; 5] = ["ProjectStarted", "ProjectSuspended", "ProjectResumed", "ProjectCompleted", "SomethingNew"];

/// Every way in which a study of one batch can meet what the batch has not written yet.
const EVERY_WAY: [(usize, &str); 14] = [
    (0, "ProjectStarted"),
    (2, "ProjectStarted"),
    (1, "ProjectStarted"),
    (0, "ProjectSuspended"),
    (1, "ProjectCompleted"),
    (0, "ProjectResumed"),
    (2, "ProjectSuspended"),
    (1, "ProjectStarted"),
    (0, "ProjectStarted"),
    (2, "ProjectResumed"),
    (0, "SomethingNew"),
    (0, "ProjectSuspended"),
    (1, "ProjectResumed"),
    (0, "ProjectCompleted"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_sqlite_a_batch_is_its_events_one_by_one(steps in proptest::collection::vec((0..3_usize, 0..5_usize), 1..16)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let steps: Vec<(usize, &str)> = steps.into_iter().map(|(study, what)| (study, TYPES[what])).collect();
        let databases = (TestDatabase::sqlite(), TestDatabase::sqlite());
        runtime.block_on(a_batch_is_its_events_one_by_one(&databases.0, &databases.1, &steps));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_a_batch_of_every_way_is_its_events_one_by_one() {
    every_way(&TestDatabase::sqlite(), &TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_batch_of_every_way_is_its_events_one_by_one() {
    let (Some(one), Some(other)) = (TestDatabase::postgres().await, TestDatabase::postgres().await) else { return };
    every_way(&one, &other).await;
}

async fn every_way(one: &TestDatabase, other: &TestDatabase) {
    let left = a_batch_is_its_events_one_by_one(one, other, &EVERY_WAY).await;
    assert!(left.iter().any(|line| line.starts_with("push trial-1 ")), "{left:#?}");
    assert!(left.iter().any(|line| line.starts_with("assignment trial-2 ")), "{left:#?}");
}

/// Returns what they left.
async fn a_batch_is_its_events_one_by_one(
    one: &TestDatabase,
    other: &TestDatabase,
    steps: &[(usize, &str)],
) -> Vec<String> {
    let (together, one_by_one) = (prepared(one).await, prepared(other).await);
    let events: Vec<InboundEvent> = (1..).zip(steps).map(|(number, (study, what))| of(*study, what, number)).collect();
    apply(&together, events.clone()).await;
    for event in events {
        apply(&one_by_one, vec![event]).await;
    }
    let (together, one_by_one) = (left_behind(&together).await, left_behind(&one_by_one).await);
    assert_eq!(together, one_by_one, "{steps:?}");
    together
}

/// Numbers need no order here: that is the gate's business.
fn of(study: usize, what: &str, number: i64) -> InboundEvent {
    let mut event = event(what, Some(number));
    event.inbound.stream_id = ProjectId::new(STUDIES[study]).unwrap();
    event
}

async fn prepared(database: &TestDatabase) -> Epro {
    let epro = Epro::on(database).await;
    for study in &STUDIES[..2] {
        let schedule = proto::Schedule { study_id: (*study).to_owned(), ..schedule() };
        let request = proto::PublishScheduleRequest { schedule: Some(schedule), request_id: String::new() };
        epro.api.publish_schedule(Request::new(request)).await.unwrap();
    }
    for (study, subject) in [(0, "s-1"), (0, "s-2"), (1, "s-1"), (2, "s-1")] {
        let request = proto::EnrolSubjectRequest { study_id: STUDIES[study].to_owned(), ..enrolment(subject, "") };
        epro.api.enrol_subject(Request::new(request)).await.unwrap();
    }
    epro
}

async fn apply(epro: &Epro, events: Vec<InboundEvent>) {
    let reactions = epro.reactions;
    let applied: Result<(), EffectError> =
        epro.db.transaction(move |tx| Box::pin(async move { reactions.apply_all(tx, &events).await })).await;
    applied.unwrap();
}

/// Everything but the instants of writing.
async fn left_behind(epro: &Epro) -> Vec<String> {
    const LOOKS: [&str; 4] = [
        "SELECT 'campaign ' || study_id || ' ' || state || ' ' || schedule_version || ' ' || coalesce(start_event_id, '-')
           || ' ' || coalesce(last_event_id, '-') || ' ' || coalesce(generate_after, '-') AS line FROM campaign ORDER BY study_id",
        "SELECT 'event ' || study_id || ' ' || event_id || ' ' || sequence AS line FROM applied_event ORDER BY study_id, position",
        "SELECT 'assignment ' || study_id || ' ' || subject_id || ' ' || visit_id || ' ' || state || ' ' || event_id AS line
           FROM assignment ORDER BY study_id, subject_id, visit_id, state",
        "SELECT 'push ' || study_id || ' ' || subject_id || ' ' || kind || ' ' || state || ' ' || event_id || ' ' || attempts AS line
           FROM notification ORDER BY study_id, subject_id, kind, due_at, state",
    ];
    let mut lines = Vec::new();
    for sql in LOOKS {
        let rows = db::query_all(epro.db.reader(), sql, []).await.unwrap();
        lines.extend(rows.iter().map(|row| row.try_get::<String>("", "line").unwrap()));
    }
    lines
}
