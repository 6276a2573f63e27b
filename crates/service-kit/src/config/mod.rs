//! Configuration of a service: one clap struct, filled from flags, environment, a file and defaults, in that order.
//! Knows how values are found and refused; must not know what a particular service does with them.

mod args;
mod file;
mod kafka_args;
mod load;
#[cfg(test)]
mod load_tests;
mod problems;
mod redact;

pub use args::{AdminArgs, BaseArgs, DatabaseArgs, GrpcArgs, LogFormat, ShutdownArgs, TelemetryArgs, parse_duration};
pub use kafka_args::{GroupProtocolArg, KafkaArgs, KafkaProperty, POOL_WORKERS, PoolArgs};
pub use load::{Command, ConfigError, Loaded, Probe, from_flags, from_process};
pub use problems::Problems;
pub use redact::{redact_property, redact_url};

use sea_orm_migration::MigrationTrait;

/// What a service is called and which defaults it replaces in the shared argument groups.
#[derive(Clone, Copy, Debug)]
pub struct ServiceInfo {
    /// The binary's name, e.g. `project-srv`; also the consumer group and the metrics' `service` label.
    pub name: &'static str,
    /// `env!("CARGO_PKG_VERSION")` of the service's crate.
    pub version: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
    /// `(long flag without dashes, default)`: replaces the groups' own defaults, e.g. `("grpc-listen", "127.0.0.1:50051")`.
    pub defaults: &'static [(&'static str, &'static str)],
}

/// A service's configuration struct.
///
/// ```
/// # use service_kit::{BaseArgs, ServiceConfig, ServiceInfo, config::{PoolArgs, Problems}};
/// #[derive(Clone, Debug, clap::Args)]
/// pub struct Config {
///     #[command(flatten)]
///     pub base: BaseArgs,
///     #[command(flatten)]
///     pub pool: PoolArgs,
///     /// Our own flag.
///     #[arg(long, env = "CTMS_PUSH_URL", value_name = "URL")]
///     pub push_url: Option<String>,
/// }
///
/// impl ServiceConfig for Config {
///     const INFO: ServiceInfo = ServiceInfo {
///         name: "epro-srv",
///         version: env!("CARGO_PKG_VERSION"),
///         about: "Pushes questionnaires",
///         defaults: &[("grpc-listen", "127.0.0.1:50052"), ("admin-listen", "127.0.0.1:8082")],
///     };
///     fn migrations() -> Vec<Box<dyn sea_orm_migration::MigrationTrait>> { Vec::new() }
///     fn base(&self) -> &BaseArgs { &self.base }
///     fn check(&self, problems: &mut Problems) { self.pool.check(&self.base, problems) }
/// }
/// ```
pub trait ServiceConfig: clap::Args + Clone + std::fmt::Debug + Send + Sync + 'static {
    /// Name, version and defaults.
    const INFO: ServiceInfo;
    /// The groups every service has.
    fn base(&self) -> &BaseArgs;

    /// The service's own tables; the outbox's come before them by themselves.
    fn migrations() -> Vec<Box<dyn MigrationTrait>>;

    /// Adds what is impossible in the service's own flags (and its `PoolArgs`); the base groups are checked already.
    fn check(&self, problems: &mut Problems) {
        let _ = problems;
    }
}
