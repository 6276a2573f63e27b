//! The service on a database of the test's own: the RPC trait, the reactions, the pool, and HTTP on a port of its own. Kafka has no part in it.

mod claims;
mod http;
mod instances;
mod monitoring;
mod process;
mod trial_data;

use std::time::Duration;

use bytes::Bytes;
use contracts::events::{LifecycleChange, ProjectEvent, ProjectStarted};
use contracts::ids::ProjectId;
use contracts::inbound::{FOREIGN_SOURCE, Inbound, Origin};
use contracts::monitor::v1 as proto;
use contracts::monitor::v1::monitor_service_server::MonitorService as _;
use outbox::db::{self, Database};
use outbox::{EffectError, Effects as _, InboundEvent, Place};
use serde_json::Value;
use testkit::wait_until;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::api::MonitorApi;
use crate::checks::{Checks, Outcomes};
use crate::reactions::Reactions;
use crate::{MonitorArgs, http as routes, migrations};

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(30);

const STUDY: &str = "trial-1";
const VITALS: &str = "SUBJECT,VALUE\n1,120\n2,\n3,80\n";

/// A database of the test's own; gone with it.
struct TestDatabase {
    url: String,
    _folder: Option<tempfile::TempDir>,
}

impl TestDatabase {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite://{}", folder.path().join("monitor.db").display()), _folder: Some(folder) }
    }

    /// `None`, said aloud, where no server is named.
    async fn postgres() -> Option<Self> {
        match testkit::postgres::Postgres::given() {
            Ok(server) => Some(Self { url: server.create_database().await.unwrap(), _folder: None }),
            Err(missing) => {
                testkit::skip(missing);
                None
            }
        }
    }
}

/// The same test on both databases.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                super::$name(crate::tests::TestDatabase::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                if let Some(database) = crate::tests::TestDatabase::postgres().await {
                    super::$name(database).await;
                }
            }
        }
    )+ };
}
use on_both_databases;

fn args() -> MonitorArgs {
    MonitorArgs {
        check_workers: 2,
        check_queue: 8,
        check_timeout: Duration::from_secs(10),
        check_poll: Duration::from_millis(20),
        check_lease: Duration::from_secs(10),
        check_retention: Duration::from_secs(60),
        dataset_max_bytes: 4_194_304,
        dataset_uploads: 2,
        request_retention: Duration::from_secs(60),
    }
}

/// One instance of the service; its loops end with it.
struct Instance {
    db: Database,
    api: MonitorApi,
    checks: Checks,
    outcomes: Option<Outcomes>,
    reactions: Reactions,
    http: String,
    client: reqwest::Client,
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Instance {
    /// An instance whose pool works.
    async fn on(database: &TestDatabase) -> Self {
        let mut instance = Self::idle(database, args()).await;
        instance.work();
        instance
    }

    /// An instance that neither looks for runs nor writes results.
    async fn idle(database: &TestDatabase, args: MonitorArgs) -> Self {
        let db = Database::connect(&database.url, &db::Options::default()).await.unwrap();
        outbox::migrate(&db, migrations()).await.unwrap();
        let (checks, outcomes) = Checks::start(db.clone(), &args);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        let router = routes::router(db.clone(), checks.clone(), &args);
        tasks.spawn(async move { Ok(axum::serve(listener, router).await?) });
        Self {
            api: MonitorApi::new(db.clone(), checks.claims()),
            reactions: Reactions::new(checks.claims()),
            checks,
            outcomes: Some(outcomes),
            http,
            client: reqwest::Client::new(),
            tasks,
            stop: CancellationToken::new(),
            db,
        }
    }

    /// Starts the loops.
    fn work(&mut self) {
        let outcomes = self.outcomes.take().expect("works once");
        self.tasks.spawn(self.checks.clone().feed(args().check_poll, self.stop.clone()));
        self.tasks.spawn(self.checks.clone().keep_claims(self.stop.clone()));
        self.tasks.spawn(self.checks.clone().collect(outcomes, self.stop.clone()));
    }

    /// Applies an event as the gate would: in a transaction of its own. Returns its id.
    async fn happens(&self, study: &str, event_type: &str, sequence: i64) -> String {
        let event = event(study, event_type, (sequence > 0).then_some(sequence));
        let id = event.inbound.id.clone();
        let reactions = self.reactions.clone();
        let applied: Result<(), EffectError> =
            self.db.transaction(move |tx| Box::pin(async move { reactions.apply(tx, &event).await })).await;
        applied.unwrap();
        id
    }

    async fn set_plan(&self, study: &str, checks: Vec<proto::Check>) -> proto::MonitoringPlan {
        let request = plan(study, checks, "");
        self.api.set_monitoring_plan(Request::new(request)).await.unwrap().into_inner().plan.unwrap()
    }

    async fn monitoring(&self, study: &str) -> proto::Monitoring {
        let request = proto::GetMonitoringRequest { study_id: study.into() };
        self.api.get_monitoring(Request::new(request)).await.unwrap().into_inner().monitoring.unwrap()
    }

    async fn runs(&self, study: &str) -> Vec<proto::CheckRun> {
        let request = proto::ListCheckRunsRequest { study_id: study.into(), page_size: 1_000, ..Default::default() };
        self.api.list_check_runs(Request::new(request)).await.unwrap().into_inner().check_runs
    }

    /// The only run of a study, once it is in this state.
    async fn run_in(&self, study: &str, state: proto::CheckRunState) -> proto::CheckRun {
        wait_until(&format!("a run of {study} that is {}", state.as_str_name()), DEADLINE, async || {
            let runs = self.runs(study).await;
            assert!(runs.len() <= 1, "{runs:?}");
            runs.into_iter().find(|run| run.state() == state)
        })
        .await
    }

    async fn put(&self, path: &str, csv: impl Into<reqwest::Body>) -> (u16, Value) {
        answer(self.client.put(format!("{}{path}", self.http)).body(csv)).await
    }

    async fn upload(&self, study: &str, name: &str, csv: impl Into<reqwest::Body>) -> Value {
        let (status, answer) = self.put(&format!("/studies/{study}/datasets/{name}"), csv).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn ask(&self, body: &Value) -> (u16, Value) {
        answer(self.client.post(format!("{}/check", self.http)).body(body.to_string())).await
    }

    async fn job(&self, id: &str) -> (u16, Value) {
        answer(self.client.get(format!("{}/check/{id}", self.http))).await
    }

    /// A job, once it is finished.
    async fn finished(&self, asked: &Value) -> Value {
        let id = asked["jobId"].as_str().unwrap();
        wait_until("a finished job", DEADLINE, async || {
            let (status, job) = self.job(id).await;
            assert_eq!(status, 200, "{job}");
            (job["state"] == "FINISHED").then_some(job)
        })
        .await
    }

    /// Keeps every other writer of check runs waiting until the sender is used or dropped.
    async fn block_writers(&self) -> oneshot::Sender<()> {
        let (release, released) = oneshot::channel::<()>();
        let (blocked, is_blocked) = oneshot::channel();
        let db = self.db.clone();
        tokio::spawn(async move {
            let held = db.transaction(move |tx| {
                Box::pin(async move {
                    if db::kind_of(tx) == db::Kind::Postgres {
                        db::exec(tx, "LOCK TABLE check_run IN EXCLUSIVE MODE", []).await?;
                    }
                    blocked.send(()).unwrap();
                    released.await.ok();
                    Ok::<_, db::DbErr>(())
                })
            });
            held.await.unwrap();
        });
        is_blocked.await.unwrap();
        release
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let mut body: Value = response
        .headers()
        .get("retry-after")
        .map_or(Value::Null, |seconds| serde_json::json!({"retryAfter": seconds.to_str().unwrap()}));
    let text = response.text().await.unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} {text}"));
    match body.as_object_mut() {
        Some(object) => object.extend(answer.as_object().unwrap().clone()),
        None => body = answer,
    }
    (status, body)
}

fn plan(study: &str, checks: Vec<proto::Check>, request_id: &str) -> proto::SetMonitoringPlanRequest {
    proto::SetMonitoringPlanRequest { study_id: study.into(), checks, request_id: request_id.into() }
}

fn row_count(dataset: &str, min: i64) -> proto::Check {
    let rule = proto::check::Rule::RowCount(proto::RowCountRule { min: Some(min) });
    proto::Check { dataset: dataset.into(), rule: Some(rule) }
}

fn missing(dataset: &str, column: &str) -> proto::Check {
    let rule = proto::check::Rule::Missing(proto::MissingRule { column: column.into() });
    proto::Check { dataset: dataset.into(), rule: Some(rule) }
}

/// An event of a study; without a number it is a plain record.
fn event(study: &str, event_type: &str, sequence: Option<i64>) -> InboundEvent {
    let project_id = ProjectId::new(study).unwrap();
    let change = || LifecycleChange { project_id: project_id.clone(), reason: None };
    let happened = match event_type {
        "ProjectStarted" => Some(ProjectEvent::ProjectStarted(ProjectStarted {
            project_id: project_id.clone(),
            start_time: OffsetDateTime::now_utc(),
            name: None,
            sites: Vec::new(),
        })),
        "ProjectSuspended" => Some(ProjectEvent::ProjectSuspended(change())),
        "ProjectResumed" => Some(ProjectEvent::ProjectResumed(change())),
        "ProjectCompleted" => Some(ProjectEvent::ProjectCompleted(change())),
        "ProjectTerminated" => Some(ProjectEvent::ProjectTerminated(change())),
        _ => None,
    };
    InboundEvent {
        inbound: Inbound {
            id: Uuid::new_v4().to_string(),
            source: if sequence.is_some() { "ctms/project-srv" } else { FOREIGN_SOURCE }.to_owned(),
            stream_id: project_id.clone(),
            stream_epoch: 0,
            sequence,
            event_type: event_type.to_owned(),
            time: Some(OffsetDateTime::now_utc()),
            traceparent: None,
            origin: if sequence.is_some() { Origin::CloudEvent } else { Origin::Foreign },
            replay: None,
        },
        event: happened,
        data: Bytes::new(),
        place: Place { topic: "events".into(), partition: 0, offset: 0 },
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code) -> Status {
    let status = result.expect_err("a refusal");
    assert_eq!(status.code(), code, "{status:?}");
    status
}
