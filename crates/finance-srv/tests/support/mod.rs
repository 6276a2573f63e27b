//! The service as a test sees it: `run` on ports of its own with a database of its own, a gRPC client, and events put through the same gate
//! that the consumer uses. No broker runs unless a test names one.
#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::time::Duration;

use bytes::Bytes;
use contracts::envelope::CloudEvent;
use contracts::events::{LifecycleChange, ProjectCreated, ProjectEvent, ProjectStarted, SiteActivated, StartedSite};
use contracts::finance::v1::finance_service_client::FinanceServiceClient;
use contracts::finance::v1::*;
use contracts::ids::{ProjectId, SiteId};
use contracts::topics;
use finance_srv::{Config, Reactions};
use kafka_worker_pool::{Handler as _, HandlerError, Headers, Record};
use outbox::db::{self, Database};
use outbox::{Gate, GateOptions};
use service_kit::Sockets;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

const POSTGRES_URL: &str = "CTMS_TEST_POSTGRES_URL";

pub(crate) type Client = FinanceServiceClient<Channel>;

/// A database of the test's own; gone with it.
pub(crate) struct TestDatabase {
    pub(crate) url: String,
    _folder: Option<tempfile::TempDir>,
}

impl TestDatabase {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite://{}", folder.path().join("finance.db").display()), _folder: Some(folder) }
    }

    /// `None`, said aloud, where no server is named.
    pub(crate) async fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var(POSTGRES_URL) else {
            testkit::skip(format!("{POSTGRES_URL} is not set"));
            return None;
        };
        let name = format!("finance_{}", Uuid::new_v4().simple());
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
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        Self::start_on(database, "127.0.0.1:1").await
    }

    pub(crate) async fn start_on(database: &TestDatabase, brokers: &str) -> Self {
        let flags = ["--grpc-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--kafka-brokers", brokers];
        let flags = flags.iter().copied().chain(["--database-url", &database.url]);
        let config: Config = service_kit::config::from_flags(flags.map(str::to_owned)).unwrap();
        let sockets = Sockets::bind(&config.base).await.unwrap();
        let (grpc, _) = sockets.addresses().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(finance_srv::run(config, sockets, shutdown.clone()));
        let channel = Channel::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap();
        let mut service = Self { client: Client::new(channel), shutdown, running };
        // The first answer comes after the tables are there.
        let unknown = service.client.get_account(GetAccountRequest { study_id: "unknown".into() }).await;
        assert_code(unknown, Code::NotFound);
        service
    }

    /// Asks it to stop and waits for the clean end.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.running).await.expect("it stops in time").unwrap().unwrap();
    }
}

/// What project-srv would have published about one project, put through the gate in order.
pub(crate) struct Project {
    pub(crate) id: ProjectId,
    gate: Gate<Reactions>,
    sequence: i64,
}

impl Project {
    pub(crate) async fn of(database: &TestDatabase, id: &str) -> Self {
        let gate = Gate::new(database.open().await, GateOptions::new(topics::FINANCE_GROUP), Reactions);
        Self { id: id.parse().unwrap(), gate, sequence: 0 }
    }

    /// The next event; its id.
    pub(crate) async fn tells(&mut self, event: ProjectEvent) -> String {
        let record = self.record(&event);
        self.gate.handle(std::slice::from_ref(&record)).await.unwrap();
        // As after a rebalance: the same record once more.
        self.gate.handle(std::slice::from_ref(&record)).await.unwrap();
        String::from_utf8(record.headers.get("ce_id").unwrap().to_vec()).unwrap()
    }

    pub(crate) fn record(&mut self, event: &ProjectEvent) -> Record {
        self.sequence += 1;
        let envelope = CloudEvent {
            id: Uuid::new_v4().to_string(),
            source: "ctms/project-srv".into(),
            event_type: event.event_type().into(),
            time: Some(OffsetDateTime::now_utc()),
            subject: self.id.to_string(),
            sequence: Some(self.sequence),
            stream_epoch: 0,
            partition_key: self.id.to_string(),
            traceparent: None,
        };
        self.plain(&event.to_json(), Headers::from_pairs(envelope.to_headers()))
    }

    /// A start as a producer of plain JSON sends it.
    pub(crate) async fn plain_start(&self, at: OffsetDateTime) -> Result<(), HandlerError> {
        let value = format!(r#"{{"projectId":"{}","startTime":{}}}"#, self.id, at.unix_timestamp());
        self.gate.handle(&[self.plain(value.as_bytes(), Headers::default())]).await
    }

    pub(crate) async fn takes(&self, records: &[Record]) -> Result<(), HandlerError> {
        self.gate.handle(records).await
    }

    fn plain(&self, value: &[u8], headers: Headers) -> Record {
        Record {
            topic: topics::PROJECT_EVENTS.into(),
            partition: 0,
            offset: self.sequence,
            timestamp_ms: None,
            key: Some(Bytes::copy_from_slice(self.id.as_str().as_bytes())),
            value: Some(Bytes::copy_from_slice(value)),
            headers,
        }
    }

    pub(crate) async fn is_created(&mut self) -> String {
        let event = ProjectCreated {
            project_id: self.id.clone(),
            name: "Hypertension".into(),
            protocol_number: None,
            protocol_title: None,
            sponsor: None,
            sites: Vec::new(),
        };
        self.tells(ProjectEvent::ProjectCreated(event)).await
    }

    pub(crate) async fn activates(&mut self, site: &str, at: OffsetDateTime) -> String {
        let event = SiteActivated {
            project_id: self.id.clone(),
            site_id: SiteId::new(site).unwrap(),
            name: None,
            country_code: None,
            activated_at: Some(at),
        };
        self.tells(ProjectEvent::SiteActivated(event)).await
    }

    pub(crate) async fn starts(&mut self, at: OffsetDateTime, sites: &[&str]) -> String {
        let event = self.started(at, sites);
        self.tells(event).await
    }

    pub(crate) fn started(&self, at: OffsetDateTime, sites: &[&str]) -> ProjectEvent {
        let site = |id: &&str| StartedSite {
            site_id: SiteId::new(*id).unwrap(),
            name: None,
            country_code: None,
            activated_at: Some(at),
        };
        ProjectEvent::ProjectStarted(ProjectStarted {
            project_id: self.id.clone(),
            start_time: at,
            name: None,
            sites: sites.iter().map(site).collect(),
        })
    }

    pub(crate) async fn is_suspended(&mut self) -> String {
        let event = ProjectEvent::ProjectSuspended(self.change());
        self.tells(event).await
    }

    pub(crate) async fn is_resumed(&mut self) -> String {
        let event = ProjectEvent::ProjectResumed(self.change());
        self.tells(event).await
    }

    pub(crate) async fn is_completed(&mut self) -> String {
        let event = ProjectEvent::ProjectCompleted(self.change());
        self.tells(event).await
    }

    pub(crate) fn change(&self) -> LifecycleChange {
        LifecycleChange { project_id: self.id.clone(), reason: None }
    }
}

pub(crate) fn fees(study: &str, from: &str, to: &str, startup_fee_minor: i64) -> SetFeeScheduleRequest {
    SetFeeScheduleRequest {
        study_id: study.into(),
        currency_code: "EUR".into(),
        effective_from: from.into(),
        effective_to: to.into(),
        startup_fee_minor,
        ..Default::default()
    }
}

pub(crate) async fn set(client: &mut Client, request: SetFeeScheduleRequest) -> SetFeeScheduleResponse {
    client.set_fee_schedule(request).await.unwrap().into_inner()
}

pub(crate) async fn account(client: &mut Client, study: &str) -> Account {
    let request = GetAccountRequest { study_id: study.into() };
    client.get_account(request).await.unwrap().into_inner().account.unwrap()
}

/// Of a study, by site.
pub(crate) async fn payables(client: &mut Client, study: &str) -> Vec<Payable> {
    let request = ListPayablesRequest { study_id: study.into(), page_size: 1_000, ..Default::default() };
    let mut payables = client.list_payables(request).await.unwrap().into_inner().payables;
    payables.sort_by(|one, other| one.site_id.cmp(&other.site_id));
    payables
}

/// `site amount currency state` of each payable of a study, by site.
pub(crate) async fn owed(client: &mut Client, study: &str) -> Vec<String> {
    let shown = |one: &Payable| {
        let state = one.state().as_str_name().trim_start_matches("PAYABLE_STATE_");
        format!("{} {} {} {state}", one.site_id, one.amount_minor, one.currency_code)
    };
    payables(client, study).await.iter().map(shown).collect()
}

pub(crate) async fn journal(client: &mut Client, study: &str) -> Vec<JournalEntry> {
    let request = ListJournalEntriesRequest { study_id: study.into(), page_size: 1_000, ..Default::default() };
    client.list_journal_entries(request).await.unwrap().into_inner().entries
}

pub(crate) async fn trial_balance(client: &mut Client, study: &str) -> GetTrialBalanceResponse {
    client.get_trial_balance(GetTrialBalanceRequest { study_id: study.into() }).await.unwrap().into_inner()
}

#[track_caller]
pub(crate) fn assert_code<T: std::fmt::Debug>(result: Result<T, Status>, code: Code) -> Status {
    let status = result.expect_err("a refusal");
    assert_eq!(status.code(), code, "{status:?}");
    status
}
