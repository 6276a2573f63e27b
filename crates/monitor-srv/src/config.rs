//! The flags of monitor-srv: those every service has, and its own.

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
    /// The pool that reacts to events.
    #[command(flatten)]
    pub pool: PoolArgs,
    /// What only this one has.
    #[command(flatten)]
    pub monitor: MonitorArgs,
}

/// Checks, datasets, and how long things are kept.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Checks")]
pub struct MonitorArgs {
    /// Checks that run at once.
    #[arg(long, env = "CTMS_CHECK_WORKERS", value_name = "N", default_value_t = 5)]
    pub check_workers: usize,
    /// Checks that wait for a worker; a POST /check that does not fit is answered 503, one that never could 413.
    #[arg(long, env = "CTMS_CHECK_QUEUE", value_name = "N", default_value_t = 100)]
    pub check_queue: usize,
    /// Longest time one check may take.
    #[arg(long, env = "CTMS_CHECK_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub check_timeout: Duration,
    /// How often queued runs are looked for that another instance or an event left.
    #[arg(long, env = "CTMS_CHECK_POLL", value_name = "DURATION", default_value = "200ms", value_parser = parse_duration)]
    pub check_poll: Duration,
    /// How long a run belongs to an instance that stopped renewing: after it, another one takes the run over.
    #[arg(long, env = "CTMS_CHECK_LEASE", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub check_lease: Duration,
    /// How long the results of a POST /check are kept after they are complete.
    #[arg(long, env = "CTMS_CHECK_RETENTION", value_name = "DURATION", default_value = "720h", value_parser = parse_duration)]
    pub check_retention: Duration,
    /// Largest dataset in bytes; a larger upload is answered 413.
    #[arg(long, env = "CTMS_DATASET_MAX_BYTES", value_name = "BYTES", default_value_t = 67_108_864)]
    pub dataset_max_bytes: usize,
    /// Uploads of datasets at once, each in memory; more are answered 503.
    #[arg(long, env = "CTMS_DATASET_UPLOADS", value_name = "N", default_value_t = 4)]
    pub dataset_uploads: usize,
    /// How long the answer to a request_id is kept: within it, a repeated request gets the first answer.
    #[arg(long, env = "CTMS_REQUEST_RETENTION", value_name = "DURATION", default_value = "720h", value_parser = parse_duration)]
    pub request_retention: Duration,
}

/// The largest value of a column in both databases is about 1 GB; a dataset also passes through memory.
const MOST_DATASET_BYTES: usize = 512 * 1024 * 1024;
/// Below it a renewal that is late by one pause of the runtime would lose the run.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

impl ServiceConfig for Config {
    const INFO: ServiceInfo = ServiceInfo {
        name: "monitor-srv",
        version: env!("CARGO_PKG_VERSION"),
        about: "Data-quality monitoring: runs a study's checks while it runs. Datasets and single checks come over HTTP.",
        defaults: &[
            ("grpc-listen", "127.0.0.1:50054"),
            ("admin-listen", "127.0.0.1:8084"),
            ("database-url", "sqlite://monitor.db"),
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
        let monitor = &self.monitor;
        problems.refuse_zero("check-workers", monitor.check_workers as u64);
        problems.refuse_zero("check-queue", monitor.check_queue as u64);
        problems.refuse_zero("dataset-uploads", monitor.dataset_uploads as u64);
        problems.refuse_zero("dataset-max-bytes", monitor.dataset_max_bytes as u64);
        if monitor.dataset_max_bytes > MOST_DATASET_BYTES {
            problems.add(
                "dataset-max-bytes",
                format!("{} is more than a row of the database should hold", monitor.dataset_max_bytes),
                format!("set it to {MOST_DATASET_BYTES} or less"),
            );
        }
        if monitor.check_lease < SHORTEST_LEASE {
            problems.add(
                "check-lease",
                format!("{:?} is shorter than a renewal can be late", monitor.check_lease),
                "set it to 1s or more (default 10s)",
            );
        }
        for (flag, value) in [
            ("check-timeout", monitor.check_timeout),
            ("check-poll", monitor.check_poll),
            ("check-retention", monitor.check_retention),
            ("request-retention", monitor.request_retention),
        ] {
            if value.is_zero() {
                problems.add(flag, "0 leaves no time at all", "write a duration such as 200ms, 30s or 720h");
            }
        }
    }
}
