//! The four services as real processes on one stack, started for one test and ended with it.

mod broker;
mod clients;
mod dev;
mod effects;
mod instance;
mod operate;
mod service;
mod stack;
mod study;

use std::{collections::BTreeMap, io::Write as _, path::PathBuf, process::ExitStatus};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    Missing,
    kafka::{Kafka, Topics},
    postgres::Postgres,
    target_dir,
};

use broker::RunningBroker;
pub use dev::Dev;
pub use effects::{Applied, LifeState, Reaction};
pub use instance::Instance;
pub use service::Service;
pub use stack::{Broker, Database, Stack};
pub use study::{INSTRUMENT, Study, StudyShape, request_id};

/// Names the folder of the service binaries; without it the target folder's `debug`.
pub const BIN_DIR_ENV: &str = "CTMS_TEST_BIN_DIR";

/// Settings of single services, as `(service, flag without dashes, value)`.
pub type Settings = Vec<(Service, &'static str, String)>;

/// The running services.
pub struct Cluster {
    stack: Stack,
    topics: Topics,
    broker: RunningBroker,
    /// The server of the databases, unless they are files.
    postgres: Option<Postgres>,
    databases: BTreeMap<Service, String>,
    settings: Settings,
    instances: BTreeMap<Service, Vec<Instance>>,
    /// Last: everything above writes into it.
    dir: TempDir,
}

impl Cluster {
    /// Starts one instance of each service and waits until all are ready.
    ///
    /// # Errors
    /// [`Missing`] inside when a server or a binary is absent; else why a service does not start.
    pub async fn start(stack: Stack, settings: Settings) -> Result<Self> {
        if stack.broker != Broker::Dev {
            for service in Service::ALL {
                binary(service.name())?;
            }
        }
        let dir = tempfile::Builder::new().prefix("ctms-cluster-").tempdir().context("cannot make a folder")?;
        let topics = if stack.broker == Broker::Dev { Topics::documented() } else { Topics::unique() };
        let broker = RunningBroker::start(stack.broker, &topics, dir.path()).await?;
        let postgres = match stack.database {
            Database::Sqlite => None,
            Database::Postgres => Some(Postgres::given()?),
            Database::OwnPostgres => {
                Postgres::given()?;
                Some(tokio::task::spawn_blocking(Postgres::start).await.context("starting PostgreSQL panicked")??)
            }
        };
        let mut databases = BTreeMap::new();
        for service in Service::ALL {
            let url = match &postgres {
                None => format!("sqlite://{}", dir.path().join(format!("{service}.db")).display()),
                Some(server) => server.create_database().await?,
            };
            databases.insert(service, url);
        }
        let mut cluster =
            Self { stack, topics, broker, postgres, databases, settings, instances: BTreeMap::new(), dir };
        if let RunningBroker::Dev { process, .. } = &mut cluster.broker {
            process.spawn()?;
            cluster.instances = process.instances().into_iter().map(|(service, one)| (service, vec![one])).collect();
        } else {
            for service in Service::ALL {
                cluster.spawn_one_more(service)?;
            }
        }
        cluster.all_ready().await?;
        Ok(cluster)
    }

    /// Waits until every instance is ready.
    ///
    /// # Errors
    /// When one is not in time.
    pub async fn all_ready(&mut self) -> Result<()> {
        for service in Service::ALL {
            self.ready(service).await?;
        }
        Ok(())
    }

    /// The stack it runs on.
    #[must_use]
    pub fn stack(&self) -> Stack {
        self.stack
    }

    /// `host:port` of the broker.
    #[must_use]
    pub fn brokers(&self) -> &str {
        self.broker.bootstrap()
    }

    /// The topics of this cluster.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The Kafka, to stop and start it.
    ///
    /// # Errors
    /// On a stack with the embedded broker.
    pub fn kafka(&mut self) -> Result<&mut Kafka> {
        match &mut self.broker {
            RunningBroker::Kafka(kafka) => Ok(kafka),
            RunningBroker::Embedded(_) | RunningBroker::Dev { .. } => anyhow::bail!("{} has no Kafka", self.stack),
        }
    }

    /// The process of `ctms dev`, to kill and start it.
    ///
    /// # Errors
    /// On a stack of separate processes.
    pub fn dev(&mut self) -> Result<&mut Dev> {
        match &mut self.broker {
            RunningBroker::Dev { process, .. } => Ok(process),
            _ => anyhow::bail!("{} is no ctms dev", self.stack),
        }
    }

    /// The PostgreSQL, to stop and start it.
    ///
    /// # Errors
    /// On a stack with SQLite.
    pub fn postgres(&mut self) -> Result<&mut Postgres> {
        self.postgres.as_mut().with_context(|| format!("{} has no PostgreSQL", self.stack))
    }

    /// The URL of a service's database.
    #[must_use]
    pub fn database_url(&self, service: Service) -> &str {
        self.databases.get(&service).map_or("", String::as_str)
    }

    /// A service's instances; the first is the one that the clients call.
    pub fn instances(&mut self, service: Service) -> &mut Vec<Instance> {
        self.instances.entry(service).or_default()
    }

    /// The first instance of a service.
    ///
    /// # Panics
    /// Never: a cluster has one of each.
    pub fn first(&mut self, service: Service) -> &mut Instance {
        self.instances(service).first_mut().expect("a cluster has an instance of each service")
    }

    /// kill -9 of the first instance.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill9(&mut self, service: Service) -> Result<()> {
        self.first(service).kill9()
    }

    /// SIGTERM to the first instance, and how it ended.
    ///
    /// # Errors
    /// When it does not run or does not end.
    pub fn sigterm(&mut self, service: Service) -> Result<ExitStatus> {
        self.first(service).sigterm()
    }

    /// Starts the first instance again and waits until it is ready.
    ///
    /// # Errors
    /// When it runs, or does not become ready.
    pub async fn restart(&mut self, service: Service) -> Result<()> {
        self.first(service).spawn()?;
        self.first(service).ready().await
    }

    /// Brings a service to `count` instances that share its database and consumer group.
    ///
    /// # Errors
    /// When one does not become ready.
    pub async fn scale(&mut self, service: Service, count: usize) -> Result<()> {
        while self.instances(service).len() < count {
            self.spawn_one_more(service)?;
        }
        self.ready(service).await
    }

    async fn ready(&mut self, service: Service) -> Result<()> {
        for instance in self.instances(service) {
            instance.ready().await?;
        }
        Ok(())
    }

    fn spawn_one_more(&mut self, service: Service) -> Result<()> {
        let mut environment = vec![
            ("CTMS_DATABASE_URL".to_owned(), self.database_url(service).to_owned()),
            ("CTMS_KAFKA_BROKERS".to_owned(), self.brokers().to_owned()),
            ("CTMS_KAFKA_TOPIC".to_owned(), self.topics.events().to_owned()),
        ];
        for (_, flag, value) in self.settings.iter().filter(|(of, ..)| *of == service) {
            environment.push((format!("CTMS_{}", flag.to_uppercase().replace('-', "_")), value.clone()));
        }
        let number = self.instances(service).len() + 1;
        let mut instance = Instance::new(service, binary(service.name())?, environment, self.dir.path(), number);
        instance.spawn()?;
        self.instances(service).push(instance);
        Ok(())
    }

    /// The last lines of every log, for a test that failed.
    #[must_use]
    pub fn logs(&self) -> String {
        let all = self.instances.values().flatten();
        all.map(|instance| format!("--- {}\n{}\n", instance.log().display(), instance.log_tail(40))).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The folder goes with the cluster; what a failed test needs is said before.
            let _told = writeln!(std::io::stderr(), "{}", self.logs());
        }
    }
}

/// The path of a binary of this workspace.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> Result<PathBuf, Missing> {
    let dir = std::env::var_os(BIN_DIR_ENV).map_or_else(|| target_dir().join("debug"), PathBuf::from);
    let path = dir.join(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(Missing(format!("{} is not built; `cargo xtask test` builds it", path.display())))
    }
}
