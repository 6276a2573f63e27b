//! Connections to the four services. What a step needs of the network is here; what it means is the caller's business.

use std::time::Duration;

use anyhow::Context as _;
use contracts::{
    epro::v1::epro_service_client::EproServiceClient, finance::v1::finance_service_client::FinanceServiceClient,
    monitor::v1::monitor_service_client::MonitorServiceClient,
    project::v1::project_service_client::ProjectServiceClient,
};
use tonic::transport::{Channel, Endpoint};

/// A call that has not been answered by then fails.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that does not stand by then fails.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the services listen.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    pub(crate) project: String,
    pub(crate) epro: String,
    pub(crate) finance: String,
    pub(crate) monitor: String,
    /// The monitor service's HTTP listener, which takes the datasets.
    pub(crate) monitor_http: String,
}

/// One client per service; cheap to clone, each clone shares its connection.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) project: ProjectServiceClient<Channel>,
    pub(crate) epro: EproServiceClient<Channel>,
    pub(crate) finance: FinanceServiceClient<Channel>,
    pub(crate) monitor: MonitorServiceClient<Channel>,
    monitor_http: String,
    http: reqwest::Client,
}

impl Clients {
    /// Connects to all four services.
    ///
    /// # Errors
    /// Names the first service that cannot be reached, and its address.
    pub(crate) async fn connect(urls: &Urls) -> anyhow::Result<Self> {
        let (project, epro, finance, monitor) = tokio::try_join!(
            channel("project-srv", &urls.project),
            channel("epro-srv", &urls.epro),
            channel("finance-srv", &urls.finance),
            channel("monitor-srv", &urls.monitor),
        )?;
        Ok(Self {
            project: ProjectServiceClient::new(project),
            epro: EproServiceClient::new(epro),
            finance: FinanceServiceClient::new(finance),
            monitor: MonitorServiceClient::new(monitor),
            monitor_http: urls.monitor_http.trim_end_matches('/').to_owned(),
            http: reqwest::Client::builder().timeout(CALL_TIMEOUT).connect_timeout(CONNECT_TIMEOUT).build()?,
        })
    }

    /// Stores a dataset (CSV with a header line) of a study with monitor-srv.
    ///
    /// # Errors
    /// The request failed or the answer is not a success; the error carries the answer.
    pub(crate) async fn put_dataset(&self, study_id: &str, name: &str, csv: &'static str) -> anyhow::Result<()> {
        let url = format!("{}/studies/{study_id}/datasets/{name}", self.monitor_http);
        let answer = self
            .http
            .put(&url)
            .header("content-type", "text/csv")
            .body(csv)
            .send()
            .await
            .with_context(|| format!("cannot reach monitor-srv over HTTP at {url}"))?;
        let status = answer.status();
        if !status.is_success() {
            let body = answer.text().await.unwrap_or_default();
            anyhow::bail!("PUT {url} was answered {status}: {body}");
        }
        Ok(())
    }
}

/// A request that names its caller, for the audit trail.
pub(crate) fn request_by<T>(actor: &'static str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("x-actor", tonic::metadata::MetadataValue::from_static(actor));
    request
}

async fn channel(service: &str, url: &str) -> anyhow::Result<Channel> {
    Endpoint::from_shared(url.to_owned())
        .with_context(|| format!("{url:?} is no URL; write it like http://127.0.0.1:50051"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .tcp_nodelay(true)
        .connect()
        .await
        .with_context(|| format!("cannot reach {service} at {url}; is it running?"))
}
