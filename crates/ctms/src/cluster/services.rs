//! The four services as tasks of this process: the same `run` that their binaries call.

use std::{future::Future, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use service_kit::{
    config::{self, ServiceConfig},
    sockets::{self, Sockets},
};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    databases::{Databases, SERVICES},
    options::Ports,
};

/// Between two looks at a service that is not ready yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Where one service listens.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) service: &'static str,
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Its database, without a password.
    pub(crate) database: String,
}

/// The running services.
pub(super) struct Services {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    endpoints: Vec<Endpoint>,
    stop: CancellationToken,
}

/// Binds every socket before anything runs.
///
/// # Errors
/// The first address that is taken.
pub(super) async fn bind(ports: &Ports) -> anyhow::Result<Vec<Sockets>> {
    let mut all = Vec::with_capacity(SERVICES.len());
    for (grpc, admin) in ports.grpc.into_iter().zip(ports.admin) {
        all.push(Sockets {
            grpc: sockets::bind("grpc-port", grpc).await?,
            admin: sockets::bind("admin-port", admin).await?,
        });
    }
    Ok(all)
}

impl Services {
    /// Starts the four services on their sockets.
    ///
    /// # Errors
    /// A setting is refused.
    pub(super) fn start(
        sockets: Vec<Sockets>,
        databases: &Databases,
        bootstrap: &str,
        broker_is_embedded: bool,
    ) -> anyhow::Result<Self> {
        let mut services = Self { tasks: JoinSet::new(), endpoints: vec![], stop: CancellationToken::new() };
        let mut sockets = sockets.into_iter();
        for (service, url) in SERVICES.into_iter().zip(databases.urls()) {
            let sockets = sockets.next().context("a service has no sockets")?;
            let flags = flags(url, bootstrap, broker_is_embedded);
            match service {
                "project" => services.spawn(service, &flags, sockets, project_srv::run)?,
                "epro" => services.spawn(service, &flags, sockets, epro_srv::run)?,
                "finance" => services.spawn(service, &flags, sockets, finance_srv::run)?,
                _ => services.spawn(service, &flags, sockets, monitor_srv::run)?,
            }
        }
        Ok(services)
    }

    fn spawn<C, F>(
        &mut self,
        service: &'static str,
        flags: &[String],
        sockets: Sockets,
        run: impl FnOnce(C, Sockets, CancellationToken) -> F,
    ) -> anyhow::Result<()>
    where
        C: ServiceConfig,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (grpc, admin) = sockets.addresses()?;
        let config = config::from_flags::<C, _>(flags)?;
        self.endpoints.push(Endpoint { service, grpc, admin, database: config.base().database.shown_url() });
        let running = run(config, sockets, self.stop.child_token());
        self.tasks.spawn(async move { (service, running.await) });
        Ok(())
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    pub(super) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits until every service says it is ready, or one of them ends.
    pub(super) async fn ready(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let endpoints = self.endpoints.clone();
        tokio::select! {
            biased;
            error = self.failed() => Err(error),
            ready = all_ready(&endpoints, timeout) => ready,
        }
    }

    /// Waits for a service to end by itself.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok((service, Err(error)))) => error.context(format!("{service}-srv failed")),
            Some(Ok((service, Ok(())))) => anyhow::anyhow!("{service}-srv ended by itself"),
            Some(Err(panic)) => anyhow::Error::new(panic).context("a service panicked"),
            None => std::future::pending().await,
        }
    }

    /// Tells all services to stop and waits for them; each keeps its own deadline.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let mut problem = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let result = match ended {
                Ok((service, result)) => result.with_context(|| format!("{service}-srv did not stop cleanly")),
                Err(panic) => Err(anyhow::Error::new(panic).context("a service panicked")),
            };
            if problem.is_ok() {
                problem = result;
            }
        }
        problem
    }
}

async fn all_ready(endpoints: &[Endpoint], timeout: Duration) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
    let deadline = Instant::now() + timeout;
    for endpoint in endpoints {
        let url = format!("http://{}/readyz", endpoint.admin);
        loop {
            let answer = client.get(&url).send().await;
            if answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            if Instant::now() >= deadline {
                let detail = match answer {
                    Ok(answer) => answer.text().await.unwrap_or_default(),
                    Err(error) => error.to_string(),
                };
                anyhow::bail!("{}-srv was not ready within {} s: {detail}", endpoint.service, timeout.as_secs());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    Ok(())
}

fn flags(database_url: &str, bootstrap: &str, broker_is_embedded: bool) -> Vec<String> {
    let mut flags = vec![
        format!("--database-url={database_url}"),
        format!("--kafka-brokers={bootstrap}"),
        "--database-migrate=true".to_owned(),
    ];
    if broker_is_embedded {
        // The mock answers a fetch only when its wait is over: short waits keep reactions quick.
        flags.push("--kafka-property=fetch.wait.max.ms=10".to_owned());
    }
    flags
}
