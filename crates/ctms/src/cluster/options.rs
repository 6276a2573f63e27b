//! What a cluster in one process can be told: its folder, its broker, its databases, its ports.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// The parts that `dev` and `demo` share.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ClusterArgs {
    /// Folder of the databases. Without it `dev` uses .ctms, the others a temporary one.
    #[arg(long, env = "CTMS_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Use this broker instead of the embedded one; its topics are created where they are missing.
    #[arg(long, env = "CTMS_KAFKA_BROKERS", value_name = "HOST:PORT")]
    pub(crate) kafka: Option<String>,

    /// Use this PostgreSQL server instead of SQLite files: one database per service is created on it,
    /// `ctms_project`, `ctms_epro`, `ctms_finance` and `ctms_monitor`. The role needs CREATEDB.
    #[arg(long, env = "CTMS_DATABASE_URL", value_name = "postgres://USER@HOST", hide_env_values = true)]
    pub(crate) database: Option<String>,
}

impl ClusterArgs {
    /// Which broker and which databases, in words.
    pub(crate) fn parts(&self) -> String {
        let broker =
            self.kafka.as_ref().map_or_else(|| "embedded broker".to_owned(), |brokers| format!("Kafka at {brokers}"));
        let database = if self.database.is_some() { "PostgreSQL" } else { "SQLite files" };
        format!("{broker}, {database}")
    }

    /// The folder, which the caller has filled in where the user named none.
    pub(super) fn data_folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| PathBuf::from(".ctms"))
    }
}

/// Where the cluster listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// The embedded broker.
    pub(crate) kafka: SocketAddr,
    /// gRPC of project, epro, finance, monitor.
    pub(crate) grpc: [SocketAddr; 4],
    /// Admin HTTP of the same.
    pub(crate) admin: [SocketAddr; 4],
}

impl Ports {
    /// Free ports on loopback, whichever they are.
    pub(crate) fn ephemeral() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { kafka: any, grpc: [any; 4], admin: [any; 4] }
    }

    /// The documented ports on loopback: gRPC `grpc_first` and the three after it, admin likewise.
    pub(crate) fn fixed(kafka: u16, grpc_first: u16, admin_first: u16) -> Self {
        let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let four = |first: u16| [0, 1, 2, 3].map(|n| local(if first == 0 { 0 } else { first.saturating_add(n) }));
        Self { kafka: local(kafka), grpc: four(grpc_first), admin: four(admin_first) }
    }
}
