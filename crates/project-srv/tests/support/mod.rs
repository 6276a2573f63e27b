//! The service as a test sees it: `run` on ports of its own with a database of its own, and a gRPC client.
//! Unless a test names a broker none runs, which shows that acceptance does not need one.
#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::time::Duration;

use contracts::project::v1::project_service_client::ProjectServiceClient;
use contracts::project::v1::*;
use outbox::db::{self, Database};
use project_srv::Config;
use service_kit::Sockets;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Nobody listens there.
const NO_BROKER: &str = "127.0.0.1:1";
const POSTGRES_URL: &str = "CTMS_TEST_POSTGRES_URL";

pub(crate) type Client = ProjectServiceClient<Channel>;

/// A database of the test's own; gone with it.
pub(crate) struct TestDatabase {
    pub(crate) url: String,
    _folder: Option<tempfile::TempDir>,
}

impl TestDatabase {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite://{}", folder.path().join("project.db").display()), _folder: Some(folder) }
    }

    /// `None`, said aloud, where no server is named.
    pub(crate) async fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var(POSTGRES_URL) else {
            testkit::skip(format!("{POSTGRES_URL} is not set"));
            return None;
        };
        let name = format!("project_{}", Uuid::new_v4().simple());
        let admin = Database::connect(&server, &db::Options::default()).await.unwrap();
        db::exec(admin.writer(), &format!("CREATE DATABASE {name}"), []).await.unwrap();
        admin.close().await;
        let (base, _) = server.rsplit_once('/').unwrap();
        Some(Self { url: format!("{base}/{name}"), _folder: None })
    }

    /// A look behind the service.
    pub(crate) async fn open(&self) -> Database {
        Database::connect(&self.url, &db::Options::default()).await.unwrap()
    }
}

/// The same test on both databases.
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                super::$name($crate::support::TestDatabase::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                if let Some(database) = $crate::support::TestDatabase::postgres().await {
                    super::$name(database).await;
                }
            }
        }
    )+ };
}

/// One running instance.
pub(crate) struct Service {
    pub(crate) client: Client,
    pub(crate) admin: String,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, &[]).await
    }

    pub(crate) async fn start_with(database: &TestDatabase, more: &[&str]) -> Self {
        let mut flags = vec!["--grpc-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        flags.extend(["--database-url", &database.url]);
        if !more.contains(&"--kafka-brokers") {
            flags.extend(["--kafka-brokers", NO_BROKER]);
        }
        flags.extend(more);
        let config: Config = service_kit::config::from_flags(flags).unwrap();
        let sockets = Sockets::bind(&config.base).await.unwrap();
        let (grpc, admin) = sockets.addresses().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(project_srv::run(config, sockets, shutdown.clone()));
        let channel = Channel::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap();
        Self { client: Client::new(channel), admin: format!("http://{admin}"), shutdown, running }
    }

    /// Asks it to stop and waits for the clean end.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.running).await.expect("it stops in time").unwrap().unwrap();
    }
}

pub(crate) const ITEMS: [StartupItemKind; 5] = [
    StartupItemKind::EthicsApproval,
    StartupItemKind::RegulatoryApproval,
    StartupItemKind::ContractAndBudget,
    StartupItemKind::ProtocolVersion,
    StartupItemKind::DataCaptureLive,
];

pub(crate) fn new_project(id: &str) -> CreateProjectRequest {
    CreateProjectRequest {
        project_id: id.into(),
        name: "Hypertension".into(),
        protocol_number: "HYP-1".into(),
        sites: vec![PlannedSite { site_id: "S-1".into(), name: "Charité".into(), country_code: "DE".into() }],
        ..Default::default()
    }
}

pub(crate) fn item(id: &str, kind: StartupItemKind) -> CompleteStartupItemRequest {
    CompleteStartupItemRequest { project_id: id.into(), kind: kind.into(), ..Default::default() }
}

pub(crate) fn activate(id: &str, site: &str, name: &str) -> ActivateSiteRequest {
    ActivateSiteRequest { project_id: id.into(), site_id: site.into(), name: name.into(), ..Default::default() }
}

pub(crate) fn start(id: &str, request_id: &str) -> StartProjectRequest {
    StartProjectRequest { project_id: id.into(), request_id: request_id.into(), etag: String::new() }
}

/// A project that needs nothing but its start; 7 events were written.
pub(crate) async fn ready(client: &mut Client, id: &str) -> Project {
    client.create_project(new_project(id)).await.unwrap();
    for kind in ITEMS {
        client.complete_startup_item(item(id, kind)).await.unwrap();
    }
    client.activate_site(activate(id, "S-1", "")).await.unwrap().into_inner().project.unwrap()
}

pub(crate) async fn get(client: &mut Client, id: &str) -> Project {
    client.get_project(GetProjectRequest { project_id: id.into() }).await.unwrap().into_inner().project.unwrap()
}

/// The outbox of one project in order: number, type, event id, payload, headers.
pub(crate) async fn events(db: &Database, id: &str) -> Vec<(i64, String, String, serde_json::Value)> {
    let sql = "SELECT stream_seq, event_type, event_id, payload FROM outbox WHERE stream_id = $1 ORDER BY id";
    let rows = db::query_all(db.reader(), sql, [id.into()]).await.unwrap();
    rows.iter()
        .map(|row| {
            let payload: Vec<u8> = row.try_get("", "payload").unwrap();
            let text = |column| row.try_get::<String>("", column).unwrap();
            let payload = serde_json::from_slice(&payload).unwrap();
            (row.try_get("", "stream_seq").unwrap(), text("event_type"), text("event_id"), payload)
        })
        .collect()
}

#[track_caller]
pub(crate) fn assert_code<T: std::fmt::Debug>(result: Result<T, Status>, code: Code) -> Status {
    let status = result.expect_err("a refusal");
    assert_eq!(status.code(), code, "{status:?}");
    status
}
