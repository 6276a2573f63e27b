//! The whole platform in one process: the broker (embedded, or one that exists) and the four services as they ship.
//! `dev` keeps it running, `demo` runs it once.

mod databases;
mod folder;
mod options;
mod refill;
mod services;

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use options::{ClusterArgs, Ports};
pub(crate) use services::Endpoint;

use crate::clients::Urls;

use databases::Databases;
use folder::DataFolder;
use services::Services;

/// How long one service may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A running platform. Dropped without [`Cluster::stop`], it ends hard, as a crash would.
pub(crate) struct Cluster {
    services: Services,
    bootstrap: String,
    // Fields drop in order: the broker goes after the services that use it, the folder's lock last.
    broker: Option<EmbeddedBroker>,
    refill: JoinSet<()>,
    _folder: DataFolder,
}

impl Cluster {
    /// Starts the broker and the services and waits until all of them are ready.
    ///
    /// # Errors
    /// One sentence with the remedy: the folder is in use or not writable, a port is taken, the broker or the database
    /// cannot be reached, a service did not get ready.
    pub(crate) async fn start(args: &ClusterArgs, ports: &Ports) -> anyhow::Result<Self> {
        let folder = DataFolder::open(&args.data_folder())?;
        let sockets = services::bind(ports).await?;
        let (broker, bootstrap) = match &args.kafka {
            Some(brokers) => (None, brokers.clone()),
            None => {
                let broker = start_broker(ports)?;
                let bootstrap = broker.bootstrap().to_owned();
                (Some(broker), bootstrap)
            }
        };
        let databases = Databases::prepare(args.database.as_deref(), folder.path()).await?;
        if broker.is_none() {
            crate::topics::ensure(&bootstrap).await?;
        }
        // The embedded broker forgets: what its consumers have not applied is published again, also when another one takes its place.
        databases.publish_again(broker.is_some()).await?;
        let mut services = Services::start(sockets, &databases, &bootstrap, broker.is_some())?;
        services.ready(READY_TIMEOUT).await?;
        let mut refill = JoinSet::new();
        if broker.is_some() {
            refill.spawn(refill::run(bootstrap.clone(), databases.urls().clone(), services.stopping()));
        }
        Ok(Self { services, bootstrap, broker, refill, _folder: folder })
    }

    /// The four services, in the order of the flow.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        self.services.endpoints()
    }

    /// Where clients of the services connect.
    pub(crate) fn urls(&self) -> Urls {
        let url = |service: &str, address: fn(&Endpoint) -> SocketAddr| {
            let endpoint = self.endpoints().iter().find(|endpoint| endpoint.service == service);
            endpoint.map(|endpoint| format!("http://{}", address(endpoint))).unwrap_or_default()
        };
        Urls {
            project: url("project", |endpoint| endpoint.grpc),
            epro: url("epro", |endpoint| endpoint.grpc),
            finance: url("finance", |endpoint| endpoint.grpc),
            monitor: url("monitor", |endpoint| endpoint.grpc),
            monitor_http: url("monitor", |endpoint| endpoint.admin),
        }
    }

    /// Where Kafka clients connect.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Whether the broker is the one in this process, which forgets when it ends.
    pub(crate) fn broker_is_embedded(&self) -> bool {
        self.broker.is_some()
    }

    /// Waits until a service ends by itself, which none should: returns why.
    ///
    /// Cancellation safe.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        self.services.failed().await
    }

    /// Cancelled when the services are told to stop.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.services.stopping()
    }

    /// Stops the services (they drain), then the broker.
    ///
    /// # Errors
    /// A service did not stop cleanly. Nothing is lost then either: the next start goes on from the databases.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let stopped = self.services.stop().await;
        self.refill.join_all().await;
        if let Some(broker) = self.broker {
            tokio::task::spawn_blocking(move || broker.stop())
                .await
                .context("stopping the embedded broker panicked")?;
        }
        stopped
    }
}

fn start_broker(ports: &Ports) -> anyhow::Result<EmbeddedBroker> {
    let topics = contracts::topics::all_topics().into_iter().map(|topic| (topic.name, topic.partitions)).collect();
    let options = EmbeddedOptions { listen: ports.kafka, topics, ..EmbeddedOptions::default() };
    EmbeddedBroker::start(&options).context("the embedded broker did not start")
}
