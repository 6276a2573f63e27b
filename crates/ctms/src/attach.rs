//! How a command is told to use services that run already.

use crate::clients::Urls;

/// Services that run already; without these flags the demo starts its own.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Against services that run already (all five, or none)")]
pub(crate) struct AttachArgs {
    /// gRPC of project-srv.
    #[arg(long, value_name = "URL", requires_all = ["epro_url", "finance_url", "monitor_url", "monitor_http_url"], conflicts_with_all = ["data", "kafka", "database"])]
    project_url: Option<String>,
    /// gRPC of epro-srv.
    #[arg(long, value_name = "URL", requires = "project_url")]
    epro_url: Option<String>,
    /// gRPC of finance-srv.
    #[arg(long, value_name = "URL", requires = "project_url")]
    finance_url: Option<String>,
    /// gRPC of monitor-srv.
    #[arg(long, value_name = "URL", requires = "project_url")]
    monitor_url: Option<String>,
    /// HTTP of monitor-srv.
    #[arg(long, value_name = "URL", requires = "project_url")]
    monitor_http_url: Option<String>,
}

impl AttachArgs {
    /// The services' addresses, if they were given.
    pub(crate) fn urls(&self) -> Option<Urls> {
        Some(Urls {
            project: self.project_url.clone()?,
            epro: self.epro_url.clone()?,
            finance: self.finance_url.clone()?,
            monitor: self.monitor_url.clone()?,
            monitor_http: self.monitor_http_url.clone()?,
        })
    }
}
