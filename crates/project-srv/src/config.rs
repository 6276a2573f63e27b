//! The flags of project-srv: those every service has, and its own few.

use std::time::Duration;

use sea_orm_migration::MigrationTrait;
use service_kit::config::{Problems, parse_duration};
use service_kit::{BaseArgs, ServiceConfig, ServiceInfo};

use crate::migrations::migrations;

/// Everything that can be set, by flag, environment or file.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// What every service has.
    #[command(flatten)]
    pub base: BaseArgs,
    /// What only this one has.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// Shorter, and events might be forgotten that a consumer which was down for a night still lacks.
const SHORTEST_OUTBOX_RETENTION: Duration = Duration::from_hours(24);

/// Watching and idempotency.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Projects")]
pub struct ProjectArgs {
    /// How often watched projects are looked up for changes that another instance made.
    #[arg(long, env = "CTMS_WATCH_POLL", value_name = "DURATION", default_value = "250ms", value_parser = parse_duration)]
    pub watch_poll: Duration,
    /// Most open WatchProject streams; more are answered RESOURCE_EXHAUSTED.
    #[arg(long, env = "CTMS_WATCH_LIMIT", value_name = "N", default_value_t = 1_000)]
    pub watch_limit: usize,
    /// How long the answer to a request_id is kept: within it, a repeated request gets the first answer.
    #[arg(long, env = "CTMS_REQUEST_RETENTION", value_name = "DURATION", default_value = "720h", value_parser = parse_duration)]
    pub request_retention: Duration,
    /// Forget the events of projects that ended longer ago than this, at least 24h. They can then no longer refill a topic
    /// (`ctms outbox republish`), also not for a service that is added later. Without it every event is kept, and so it is where `ctms dev` ran
    /// its embedded broker last.
    #[arg(long, env = "CTMS_OUTBOX_RETENTION", value_name = "DURATION", value_parser = parse_duration)]
    pub outbox_retention: Option<Duration>,
}

impl ServiceConfig for Config {
    const INFO: ServiceInfo = ServiceInfo {
        name: "project-srv",
        version: env!("CARGO_PKG_VERSION"),
        about: "Projects: their start-up checklist, sites and life cycle. Tells the other services through Kafka.",
        defaults: &[
            ("grpc-listen", "127.0.0.1:50051"),
            ("admin-listen", "127.0.0.1:8081"),
            ("database-url", "sqlite://project.db"),
        ],
    };

    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        migrations()
    }

    fn base(&self) -> &BaseArgs {
        &self.base
    }

    fn check(&self, problems: &mut Problems) {
        if self.project.outbox_retention.is_some_and(|keep| keep < SHORTEST_OUTBOX_RETENTION) {
            problems.add(
                "outbox-retention",
                "is less than a day",
                "consumers may have yet to read what is forgotten: write 24h or more",
            );
        }
        problems.refuse_zero("watch-limit", self.project.watch_limit as u64);
        for (flag, value) in
            [("watch-poll", self.project.watch_poll), ("request-retention", self.project.request_retention)]
        {
            if value.is_zero() {
                problems.add(flag, "0 leaves no time at all", "write a duration such as 250ms or 720h");
            }
        }
    }
}
