//! The flags of finance-srv: those every service has, those of its pool, and its own.

use std::time::Duration;

use sea_orm_migration::MigrationTrait;
use service_kit::config::{PoolArgs, Problems, parse_duration};
use service_kit::{BaseArgs, ServiceConfig, ServiceInfo};

use crate::migrations::migrations;

/// Everything that can be set, by flag, environment or file.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// What every service has.
    #[command(flatten)]
    pub base: BaseArgs,
    /// How events are consumed.
    #[command(flatten)]
    pub pool: PoolArgs,
    /// What only this one has.
    #[command(flatten)]
    pub finance: FinanceArgs,
}

/// Idempotency.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Finance")]
pub struct FinanceArgs {
    /// How long the answer to a request_id is kept: within it, a repeated request gets the first answer.
    #[arg(long, env = "CTMS_REQUEST_RETENTION", value_name = "DURATION", default_value = "720h", value_parser = parse_duration)]
    pub request_retention: Duration,
}

impl ServiceConfig for Config {
    const INFO: ServiceInfo = ServiceInfo {
        name: "finance-srv",
        version: env!("CARGO_PKG_VERSION"),
        about: "Finance: fee schedules, payables of sites, and their ledger. Follows the life cycle of projects.",
        defaults: &[
            ("grpc-listen", "127.0.0.1:50053"),
            ("admin-listen", "127.0.0.1:8083"),
            ("database-url", "sqlite://finance.db"),
        ],
    };

    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        migrations()
    }

    fn base(&self) -> &BaseArgs {
        &self.base
    }

    fn check(&self, problems: &mut Problems) {
        self.pool.check(&self.base, problems);
        if self.finance.request_retention.is_zero() {
            problems.add("request-retention", "0 leaves no time at all", "write a duration such as 720h");
        }
    }
}
