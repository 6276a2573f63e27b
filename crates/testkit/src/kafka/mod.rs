//! A real Kafka for tests: the one that the environment names, else one of our own in Docker or from Maven's jars.

mod container;
mod foreign;
mod jars;
mod local;
mod settings;
mod topics;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};

use crate::{Missing, container::Container, wait_until_blocking};

pub use foreign::{StoredRecord, produce, read_all};
pub use topics::Topics;

/// Names a running Kafka: `host:port[,host:port]`.
pub const BROKERS_ENV: &str = "KAFKA_BROKERS";

/// The Kafka that a container or Maven's jars bring.
pub const VERSION: &str = "4.3.1";

const READY_DEADLINE: Duration = Duration::from_secs(90);

/// A Kafka that answers. One that we started ends when this is dropped.
#[derive(Debug)]
pub struct Kafka {
    brokers: String,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Given,
    Local(local::Server),
    Container(Container),
}

impl Kafka {
    /// The Kafka of the test run, named by [`BROKERS_ENV`].
    ///
    /// # Errors
    /// [`Missing`] when the variable is not set.
    pub fn given() -> Result<Self, Missing> {
        match std::env::var(BROKERS_ENV) {
            Ok(brokers) if !brokers.is_empty() => Ok(Self { brokers, node: Node::Given }),
            _ => Err(Missing(format!("no Kafka: {BROKERS_ENV} is not set; `cargo xtask test` starts one"))),
        }
    }

    /// A Kafka of our own, which may be stopped, killed and started again: in Docker where an engine runs, else from
    /// Maven's jars.
    ///
    /// # Errors
    /// [`Missing`] with what each way lacks.
    pub fn start() -> Result<Self, Missing> {
        let in_docker = match Self::in_container() {
            Ok(kafka) => return Ok(kafka),
            Err(error) => error,
        };
        let in_java = match Self::from_jars(local::Machine::Small) {
            Ok(kafka) => return Ok(kafka),
            Err(error) => error,
        };
        Err(Missing(format!(
            "no Kafka: set {BROKERS_ENV}, or start a Docker engine, or install Java 17 and Maven. Docker: {in_docker:#}. Java: {in_java:#}"
        )))
    }

    /// A Kafka of our own to measure against: from Maven's jars, since a container's network would be measured too, with a
    /// heap of 1 GiB.
    ///
    /// # Errors
    /// [`Missing`] with what is lacking.
    pub fn start_for_load() -> Result<Self, Missing> {
        Self::from_jars(local::Machine::Load).map_err(|error| {
            Missing(format!("no Kafka: set {BROKERS_ENV}, or install Java 17 and Maven. Java: {error:#}"))
        })
    }

    /// The process of a broker that runs here from jars.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match &self.node {
            Node::Local(server) => server.pid(),
            Node::Given | Node::Container(_) => None,
        }
    }

    /// `host:port` as clients need it.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Whether it can be stopped and started by the test.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        !matches!(self.node, Node::Given)
    }

    /// An orderly stop.
    ///
    /// # Errors
    /// When it is not ours, or does not stop.
    pub fn stop(&mut self) -> Result<()> {
        match &mut self.node {
            Node::Given => bail!("{} is not ours to stop", self.brokers),
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
            Node::Given => bail!("{} is not ours to kill", self.brokers),
            Node::Local(server) => server.kill(),
            Node::Container(container) => container.kill(),
        }
    }

    /// Runs it again after [`Kafka::stop`] or [`Kafka::kill`], on the same port and the same data, and waits until it
    /// answers.
    ///
    /// # Errors
    /// When it is not ours, still runs, or does not answer.
    pub fn restart(&mut self) -> Result<()> {
        match &mut self.node {
            Node::Given => bail!("{} is not ours to start", self.brokers),
            Node::Local(server) => server.run()?,
            Node::Container(container) => container.start()?,
        }
        self.wait_ready()
    }

    fn in_container() -> Result<Self> {
        let (container, port) = container::start()?;
        let mut kafka = Self { brokers: format!("127.0.0.1:{port}"), node: Node::Container(container) };
        kafka.wait_ready()?;
        Ok(kafka)
    }

    fn from_jars(machine: local::Machine) -> Result<Self> {
        let server = local::Server::start(machine)?;
        let mut kafka = Self { brokers: format!("127.0.0.1:{}", server.port()), node: Node::Local(server) };
        kafka.wait_ready()?;
        Ok(kafka)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("reconnect.backoff.max.ms", "100")
            .create()
            .context("cannot make a Kafka client")?;
        let ready = wait_until_blocking(READY_DEADLINE, || {
            if let Node::Local(server) = &mut self.node
                && let Some(why) = server.died()
            {
                return Some(Err(anyhow::anyhow!(why)));
            }
            let metadata = client.fetch_metadata(None, Duration::from_secs(1)).ok()?;
            (!metadata.brokers().is_empty()).then_some(Ok(()))
        });
        ready.unwrap_or_else(|| bail!("Kafka on {} does not answer after {READY_DEADLINE:?}", self.brokers))
    }
}
