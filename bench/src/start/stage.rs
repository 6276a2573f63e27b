//! What a run needs: a database with projects that are ready to start, and the two servers on it.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use contracts::project::v1::{
    ActivateSiteRequest, CompleteStartupItemRequest, CreateProjectRequest, PlannedSite, StartupItemKind,
    project_service_client::ProjectServiceClient,
};
use testkit::{Child, free_port, postgres::Postgres, wait_until};
use tokio_postgres::NoTls;

use super::{CONNECTIONS, Reading, clients};

/// How long a server may take to accept connections.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The site of a project.
const SITE: &str = "S1";
/// Many projects like the one that was prepared by calls.
const PROJECTS: &str = "INSERT INTO project (id, name, protocol_number, protocol_title, sponsor, state, version, stream_epoch, event_seq,
  last_event_id, checklist, sites, created_at, updated_at)
SELECT 'bench-' || n, name, protocol_number, protocol_title, sponsor, state, version, stream_epoch, event_seq, last_event_id, checklist,
  sites, created_at, updated_at
FROM project, generate_series(1, $2::bigint) n WHERE id = $1";

pub(super) struct Stage {
    database: String,
    folder: PathBuf,
    /// Both end with the stage.
    servers: Vec<Child>,
    ours: String,
    bare: String,
    next: Arc<AtomicU32>,
    projects: u32,
}

impl Stage {
    /// Fills a fresh database and starts both servers on it.
    pub(super) async fn set(postgres: &Postgres, projects: u32) -> Result<Self> {
        let database = postgres.create_database().await?;
        let folder = testkit::target_dir().join(format!("bench-start-servers-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (ours_port, admin_port, bare_port) = (free_port(), free_port(), free_port());
        let mut command = Command::new(beside("project-srv")?);
        command
            .arg(format!("--grpc-listen=127.0.0.1:{ours_port}"))
            .arg(format!("--admin-listen=127.0.0.1:{admin_port}"))
            .arg(format!("--database-url={database}"))
            .arg(format!("--database-connections={CONNECTIONS}"))
            // Nobody answers there.
            .arg(format!("--kafka-brokers=127.0.0.1:{}", free_port()))
            .arg("--log-level=warn");
        let project_srv = Child::spawn(command, &folder.join("project-srv.log"))?;
        // It makes the tables.
        accepts("project-srv", ours_port).await;
        let ours = format!("http://127.0.0.1:{ours_port}");
        eprintln!("preparing {projects} projects");
        fill(&database, &model(&ours).await?, projects).await?;
        let mut command = Command::new(std::env::current_exe().context("this program has no path")?);
        command
            .arg("bare-start")
            .arg(format!("--listen=127.0.0.1:{bare_port}"))
            .arg(format!("--database={database}"))
            .arg(format!("--connections={CONNECTIONS}"));
        let bare = Child::spawn(command, &folder.join("bare.log"))?;
        accepts("the bare server", bare_port).await;
        Ok(Self {
            database,
            folder,
            servers: vec![project_srv, bare],
            ours,
            bare: format!("http://127.0.0.1:{bare_port}"),
            next: Arc::new(AtomicU32::new(1)),
            projects,
        })
    }

    pub(super) fn database(&self) -> &str {
        &self.database
    }

    pub(super) fn ours(&self) -> &str {
        &self.ours
    }

    pub(super) fn bare(&self) -> &str {
        &self.bare
    }

    /// Calls a server with so many clients for so long.
    pub(super) async fn call(&self, url: &str, callers: usize, length: Duration) -> Result<Reading> {
        clients::call(url, callers, length, &self.next, self.projects).await
    }

    /// Ends the servers.
    pub(super) fn clear(self) -> Result<()> {
        let started = self.next.load(Ordering::Relaxed);
        eprintln!("{started} of {} projects were started", self.projects);
        drop(self.servers);
        std::fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

/// A program that was built with this one.
fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program has no path")?;
    let path = own.with_file_name(name);
    anyhow::ensure!(path.exists(), "{} is not built; `cargo xtask bench start` builds it", path.display());
    Ok(path)
}

async fn accepts(what: &str, port: u16) {
    wait_until(what, READY_WITHIN, async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
}

async fn fill(database: &str, model: &str, projects: u32) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(database, NoTls).await.context("cannot connect")?;
    tokio::spawn(connection);
    // As many again for pgbench, which starts them more than once.
    client.execute(PROJECTS, &[&model, &(i64::from(projects) * 2)]).await.context("cannot fill the database")?;
    client.batch_execute("ANALYZE").await.context("cannot analyse the database")
}

/// Prepares one project by calls; returns its id.
async fn model(url: &str) -> Result<String> {
    let mut service = ProjectServiceClient::connect(url.to_owned()).await.context("cannot connect to project-srv")?;
    let create = CreateProjectRequest {
        name: "Bench".to_owned(),
        protocol_number: "BENCH-1".to_owned(),
        protocol_title: "Title of the protocol".to_owned(),
        sponsor: "Sponsor".to_owned(),
        sites: vec![PlannedSite { site_id: SITE.to_owned(), name: "Site".to_owned(), country_code: "DE".to_owned() }],
        ..Default::default()
    };
    let created = service.create_project(create).await.context("CreateProject")?.into_inner();
    let id = created.project.unwrap_or_default().project_id;
    let kinds = [
        StartupItemKind::EthicsApproval,
        StartupItemKind::RegulatoryApproval,
        StartupItemKind::ContractAndBudget,
        StartupItemKind::ProtocolVersion,
        StartupItemKind::DataCaptureLive,
    ];
    for kind in kinds {
        let complete = CompleteStartupItemRequest { project_id: id.clone(), kind: kind.into(), ..Default::default() };
        service.complete_startup_item(complete).await.context("CompleteStartupItem")?;
    }
    let activate = ActivateSiteRequest { project_id: id.clone(), site_id: SITE.to_owned(), ..Default::default() };
    service.activate_site(activate).await.context("ActivateSite")?;
    Ok(id)
}
