//! gRPC clients of a cluster's services.

use anyhow::{Context as _, Result};
use contracts::{
    epro::v1::epro_service_client::EproServiceClient, finance::v1::finance_service_client::FinanceServiceClient,
    monitor::v1::monitor_service_client::MonitorServiceClient,
    project::v1::project_service_client::ProjectServiceClient,
};
use tonic::transport::{Channel, Endpoint};

use super::{Cluster, Service};

impl Cluster {
    /// A client of the project service.
    ///
    /// # Errors
    /// Never in practice: the address is well formed.
    pub fn project(&self) -> Result<ProjectServiceClient<Channel>> {
        Ok(ProjectServiceClient::new(self.channel(Service::Project)?))
    }

    /// A client of the ePRO service.
    ///
    /// # Errors
    /// Never in practice: the address is well formed.
    pub fn epro(&self) -> Result<EproServiceClient<Channel>> {
        Ok(EproServiceClient::new(self.channel(Service::Epro)?))
    }

    /// A client of the finance service.
    ///
    /// # Errors
    /// Never in practice: the address is well formed.
    pub fn finance(&self) -> Result<FinanceServiceClient<Channel>> {
        Ok(FinanceServiceClient::new(self.channel(Service::Finance)?))
    }

    /// A client of the monitor service.
    ///
    /// # Errors
    /// Never in practice: the address is well formed.
    pub fn monitor(&self) -> Result<MonitorServiceClient<Channel>> {
        Ok(MonitorServiceClient::new(self.channel(Service::Monitor)?))
    }

    fn channel(&self, service: Service) -> Result<Channel> {
        self.channel_to(service, 0)
    }

    /// A connection of its own to one instance of a service; made at the first call, and again after a restart.
    ///
    /// # Errors
    /// When there is no such instance.
    pub fn channel_to(&self, service: Service, instance: usize) -> Result<Channel> {
        let all = self.instances.get(&service);
        let instance = all.and_then(|all| all.get(instance)).with_context(|| format!("{service} has no {instance}"))?;
        Ok(Endpoint::from_shared(instance.grpc_url())?.connect_lazy())
    }
}
