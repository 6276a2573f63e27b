//! A real PostgreSQL for tests: the one that the environment names, else one of our own in Docker or from the
//! installed binaries. Each test gets a fresh database.

mod container;
mod local;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sea_orm::{ConnectOptions, ConnectionTrait as _};

use crate::{Missing, container::Container, wait_until_blocking};

/// Names a running server, as a superuser or one who may create databases: `postgres://user@host:port/database`.
pub const URL_ENV: &str = "CTMS_TEST_POSTGRES_URL";

const READY_DEADLINE: Duration = Duration::from_secs(60);
/// How long one question may take until it is asked again.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// A PostgreSQL that answers. One that we started ends when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Given,
    Local(local::Server),
    Container(Container),
}

impl Postgres {
    /// The PostgreSQL of the test run, named by [`URL_ENV`].
    ///
    /// # Errors
    /// [`Missing`] when the variable is not set.
    pub fn given() -> Result<Self, Missing> {
        match std::env::var(URL_ENV) {
            Ok(url) if !url.is_empty() => Ok(Self { url, node: Node::Given }),
            _ => Err(Missing(format!("no PostgreSQL: {URL_ENV} is not set; `cargo xtask test` starts one"))),
        }
    }

    /// A PostgreSQL of our own, which may be stopped, killed and started again: in Docker where an engine runs, else
    /// from the installed binaries.
    ///
    /// # Errors
    /// [`Missing`] with what each way lacks.
    pub fn start() -> Result<Self, Missing> {
        let in_docker = match Self::in_container() {
            Ok(postgres) => return Ok(postgres),
            Err(error) => error,
        };
        let installed = match Self::from_binaries() {
            Ok(postgres) => return Ok(postgres),
            Err(error) => error,
        };
        Err(Missing(format!(
            "no PostgreSQL: set {URL_ENV}, or start a Docker engine, or install postgresql-15. Docker: {in_docker:#}. Binaries: {installed:#}"
        )))
    }

    /// The URL of the server's own database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates an empty database and gives its URL. It goes with the server; one on a given server stays, with a
    /// name that begins with `ctms_test_`.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_database(&self) -> Result<String> {
        let name = format!("ctms_test_{}", uuid::Uuid::new_v4().simple());
        let mut options = ConnectOptions::new(&self.url);
        options.max_connections(1).sqlx_logging(false);
        let server =
            sea_orm::Database::connect(options).await.with_context(|| format!("cannot connect to {}", self.url))?;
        server.execute_unprepared(&format!("CREATE DATABASE {name}")).await.context("cannot create a database")?;
        server.close().await.context("cannot close the connection")?;
        let (base, query) =
            self.url.split_once('?').map_or((self.url.as_str(), None), |(base, query)| (base, Some(query)));
        let (server_url, _) = base.rsplit_once('/').with_context(|| format!("{base} names no database"))?;
        Ok(query.map_or_else(|| format!("{server_url}/{name}"), |query| format!("{server_url}/{name}?{query}")))
    }

    /// An orderly stop.
    ///
    /// # Errors
    /// When it is not ours, or does not stop.
    pub fn stop(&mut self) -> Result<()> {
        match &mut self.node {
            Node::Given => bail!("{} is not ours to stop", self.url),
            Node::Local(server) => server.stop(),
            Node::Container(container) => container.stop(),
        }
    }

    /// kill -9.
    ///
    /// # Errors
    /// When it is not ours, or cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        match &mut self.node {
            Node::Given => bail!("{} is not ours to kill", self.url),
            Node::Local(server) => server.kill(),
            Node::Container(container) => container.kill(),
        }
    }

    /// Runs it again after [`Postgres::stop`] or [`Postgres::kill`], on the same port and data.
    ///
    /// # Errors
    /// When it is not ours, still runs, or does not answer.
    pub fn restart(&mut self) -> Result<()> {
        match &mut self.node {
            Node::Given => bail!("{} is not ours to start", self.url),
            Node::Local(server) => server.run()?,
            Node::Container(container) => container.start()?,
        }
        self.wait_ready()
    }

    fn in_container() -> Result<Self> {
        let (container, port) = container::start()?;
        Self::on_port(port, Node::Container(container))
    }

    fn from_binaries() -> Result<Self> {
        let server = local::Server::start()?;
        Self::on_port(server.port(), Node::Local(server))
    }

    fn on_port(port: u16, node: Node) -> Result<Self> {
        let mut postgres = Self { url: format!("postgres://postgres@127.0.0.1:{port}/postgres"), node };
        postgres.wait_ready()?;
        Ok(postgres)
    }

    /// The images restart once while they initialise, so a question is asked, not only a connection made.
    fn wait_ready(&mut self) -> Result<()> {
        let url = self.url.clone();
        let asks = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            let answers = async {
                let mut options = ConnectOptions::new(&url);
                options.max_connections(1).sqlx_logging(false);
                let server = sea_orm::Database::connect(options).await.ok()?;
                let answered = server.execute_unprepared("SELECT 1").await.is_ok();
                server.close().await.ok()?;
                answered.then_some(())
            };
            // Refused connections are tried again for long; meanwhile the server may have died.
            runtime.block_on(async { tokio::time::timeout(ASK_TIMEOUT, answers).await }).ok()?
        };
        let ready = wait_until_blocking(READY_DEADLINE, || {
            if let Node::Local(server) = &mut self.node
                && let Some(why) = server.died()
            {
                return Some(Err(anyhow::anyhow!(why)));
            }
            // A thread of its own: the caller may be inside a runtime.
            std::thread::scope(|scope| scope.spawn(&asks).join().ok().flatten()).map(Ok)
        });
        ready.unwrap_or_else(|| bail!("PostgreSQL at {} does not answer after {READY_DEADLINE:?}", self.url))
    }
}
