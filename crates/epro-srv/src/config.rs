//! The flags of epro-srv: those every service has, those of a consumer, and its own.

use std::time::Duration;

use sea_orm_migration::MigrationTrait;
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::config::{PoolArgs, Problems, parse_duration};
use service_kit::{BaseArgs, ServiceConfig, ServiceInfo};

use crate::domain::push::{Channel, RetryPolicy};
use crate::migrations::migrations;
use crate::pusher::PushOptions;

/// Longer than one attempt by this much: time to write how it went.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// Everything that can be set, by flag, environment or file.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// What every service has.
    #[command(flatten)]
    pub base: BaseArgs,
    /// The pool that applies events.
    #[command(flatten)]
    pub pool: PoolArgs,
    /// Where pushes go.
    #[command(flatten)]
    pub push: PushArgs,
    /// The intake of responses.
    #[command(flatten)]
    pub intake: IntakeArgs,
}

/// Pushes to subjects.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Pushes")]
pub struct PushArgs {
    /// `http://…` to which pushes are posted as JSON, with an Idempotency-Key. Without it pushes are only recorded, see ListNotifications.
    #[arg(long, env = "CTMS_WEBHOOK_URL", value_name = "URL", hide_env_values = true)]
    pub webhook_url: Option<SecretString>,
    /// Longest time for one attempt.
    #[arg(long, env = "CTMS_WEBHOOK_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub webhook_timeout: Duration,
    /// Posts under way at once.
    #[arg(long, env = "CTMS_WEBHOOK_CONCURRENCY", value_name = "N", default_value_t = 16)]
    pub webhook_concurrency: u32,
    /// Attempts for one push, the first included; then it is FAILED.
    #[arg(long, env = "CTMS_WEBHOOK_ATTEMPTS", value_name = "N", default_value_t = 12)]
    pub webhook_attempts: u32,
    /// Wait after the first failed attempt; doubles with each further one.
    #[arg(long, env = "CTMS_WEBHOOK_BACKOFF", value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub webhook_backoff: Duration,
    /// Longest wait between two attempts.
    #[arg(long, env = "CTMS_WEBHOOK_MAX_BACKOFF", value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    pub webhook_max_backoff: Duration,
    /// How often due pushes are looked for.
    #[arg(long, env = "CTMS_PUSH_POLL", value_name = "DURATION", default_value = "100ms", value_parser = parse_duration)]
    pub push_poll: Duration,
    /// How often closed windows are looked for.
    #[arg(long, env = "CTMS_WINDOW_CHECK", value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub window_check: Duration,
}

/// Responses of subjects.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Responses")]
pub struct IntakeArgs {
    /// Responses that may wait for their commit; more are answered RESOURCE_EXHAUSTED.
    #[arg(long, env = "CTMS_INTAKE_CAPACITY", value_name = "N", default_value_t = 256)]
    pub intake_capacity: usize,
    /// Most responses in one transaction.
    #[arg(long, env = "CTMS_INTAKE_MAX_BATCH", value_name = "N", default_value_t = 64)]
    pub intake_max_batch: usize,
    /// Transactions at once. One forms the largest groups; SQLite has one writer in any case.
    #[arg(long, env = "CTMS_INTAKE_WORKERS", value_name = "N", default_value_t = 1)]
    pub intake_workers: usize,
    /// How long the answer to a request_id is kept: within it, a repeated request gets the first answer.
    #[arg(long, env = "CTMS_REQUEST_RETENTION", value_name = "DURATION", default_value = "720h", value_parser = parse_duration)]
    pub request_retention: Duration,
}

impl PushArgs {
    /// The way that pushes take.
    #[must_use]
    pub fn channel(&self) -> Channel {
        if self.webhook_url.is_some() { Channel::Webhook } else { Channel::Record }
    }

    /// Where pushes are posted.
    ///
    /// # Errors
    /// What is wrong with the address, without showing it: it may hold a secret.
    pub(crate) fn webhook(&self) -> Result<Option<reqwest::Url>, &'static str> {
        let Some(url) = &self.webhook_url else { return Ok(None) };
        let url = reqwest::Url::parse(url.expose_secret()).map_err(|_| "the value is not a URL")?;
        match url.scheme() {
            "http" => Ok(Some(url)),
            "https" if cfg!(feature = "tls") => Ok(Some(url)),
            "https" => Err("TLS is not built in"),
            _ => Err("the scheme is not http"),
        }
    }

    pub(crate) fn options(&self) -> PushOptions {
        PushOptions {
            poll_interval: self.push_poll,
            concurrency: self.webhook_concurrency,
            lease: self.webhook_timeout + LEASE_MARGIN,
            retry: RetryPolicy {
                max_attempts: self.webhook_attempts,
                first_backoff: self.webhook_backoff,
                max_backoff: self.webhook_max_backoff,
            },
        }
    }
}

impl ServiceConfig for Config {
    const INFO: ServiceInfo = ServiceInfo {
        name: "epro-srv",
        version: env!("CARGO_PKG_VERSION"),
        about: "Questionnaires of studies: schedules, assignments, pushes to subjects, and their responses.",
        defaults: &[
            ("grpc-listen", "127.0.0.1:50052"),
            ("admin-listen", "127.0.0.1:8082"),
            ("database-url", "sqlite://epro.db"),
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
        if let Err(wrong) = self.push.webhook() {
            problems.add("webhook-url", wrong, "write http://HOST:PORT/PATH; https needs a build with --features tls");
        }
        for (flag, number) in [
            ("webhook-concurrency", u64::from(self.push.webhook_concurrency)),
            ("webhook-attempts", u64::from(self.push.webhook_attempts)),
            ("intake-capacity", self.intake.intake_capacity as u64),
            ("intake-max-batch", self.intake.intake_max_batch as u64),
            ("intake-workers", self.intake.intake_workers as u64),
        ] {
            problems.refuse_zero(flag, number);
        }
        for (flag, duration) in [
            ("webhook-timeout", self.push.webhook_timeout),
            ("webhook-backoff", self.push.webhook_backoff),
            ("webhook-max-backoff", self.push.webhook_max_backoff),
            ("push-poll", self.push.push_poll),
            ("window-check", self.push.window_check),
            ("request-retention", self.intake.request_retention),
        ] {
            if duration.is_zero() {
                problems.add(flag, "0 leaves no time at all", "write a duration such as 250ms or 720h");
            }
        }
    }
}
