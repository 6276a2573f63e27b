//! The argument groups every service has: addresses, database, telemetry, shutdown.
//! Each field is a flag, an environment variable and a key of the configuration file at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};

use super::{KafkaArgs, Problems, redact_url};

/// The groups every service flattens: `#[command(flatten)] pub base: BaseArgs`.
#[derive(Args, Clone, Debug)]
pub struct BaseArgs {
    /// gRPC server.
    #[command(flatten)]
    pub grpc: GrpcArgs,
    /// Admin HTTP server.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Kafka client.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Stop.
    #[command(flatten)]
    pub shutdown: ShutdownArgs,
}

impl BaseArgs {
    /// Adds everything impossible in these groups.
    pub fn check(&self, problems: &mut Problems) {
        self.grpc.check(problems);
        self.database.check(problems);
        self.kafka.check(problems);
        self.shutdown.check(problems);
        let (grpc, admin) = (self.grpc.grpc_listen, self.admin.admin_listen);
        if grpc == admin && grpc.port() != 0 {
            problems.add("admin-listen", format!("{admin} is also --grpc-listen"), "give each server its own port");
        }
    }
}

/// The gRPC server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "gRPC")]
pub struct GrpcArgs {
    /// Address of the gRPC server; port 0 takes a free one.
    #[arg(long = "grpc-listen", env = "CTMS_GRPC_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:50051", value_parser = parse_address)]
    pub grpc_listen: SocketAddr,
    /// Calls that one connection may have open at once.
    #[arg(long = "grpc-max-streams", env = "CTMS_GRPC_MAX_STREAMS", value_name = "N", default_value_t = 256)]
    pub grpc_max_streams: u32,
    /// Calls in the handlers at once, over all connections; more are answered RESOURCE_EXHAUSTED.
    #[arg(long = "grpc-max-in-flight", env = "CTMS_GRPC_MAX_IN_FLIGHT", value_name = "N", default_value_t = 1024)]
    pub grpc_max_in_flight: usize,
    /// Largest request and response message, in bytes.
    #[arg(
        long = "grpc-max-message-bytes",
        env = "CTMS_GRPC_MAX_MESSAGE_BYTES",
        value_name = "BYTES",
        default_value_t = 4_194_304
    )]
    pub grpc_max_message_bytes: usize,
    /// Longest time a call may take, whatever deadline its client set.
    #[arg(long = "grpc-timeout", env = "CTMS_GRPC_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub grpc_timeout: Duration,
    /// Silence after which the server pings a connection.
    #[arg(long = "grpc-keepalive", env = "CTMS_GRPC_KEEPALIVE", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub grpc_keepalive: Duration,
    /// Serve the reflection API, which grpcurl uses.
    #[arg(long = "grpc-reflection", env = "CTMS_GRPC_REFLECTION", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub grpc_reflection: bool,
}

impl GrpcArgs {
    fn check(&self, problems: &mut Problems) {
        problems.refuse_zero("grpc-max-streams", u64::from(self.grpc_max_streams));
        problems.refuse_zero("grpc-max-in-flight", self.grpc_max_in_flight as u64);
        refuse_no_time(problems, "grpc-timeout", self.grpc_timeout);
        refuse_no_time(problems, "grpc-keepalive", self.grpc_keepalive);
        if self.grpc_max_message_bytes < 1024 {
            problems.add(
                "grpc-max-message-bytes",
                format!("{} bytes is less than one request", self.grpc_max_message_bytes),
                "set it to 1024 or more (default 4194304)",
            );
        }
    }
}

/// The admin HTTP server: health, metrics, and the service's own HTTP if it has any.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Admin HTTP")]
pub struct AdminArgs {
    /// Address of /livez, /readyz and /metrics; port 0 takes a free one.
    #[arg(
        long = "admin-listen",
        env = "CTMS_ADMIN_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:8081", value_parser = parse_address
    )]
    pub admin_listen: SocketAddr,
}

/// The service's own database.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// `sqlite://PATH` or `postgres://USER@HOST:PORT/NAME`. Keep the password in --database-password-file.
    #[arg(
        long = "database-url",
        env = "CTMS_DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite://ctms.db",
        hide_env_values = true
    )]
    pub database_url: SecretString,
    /// File that holds the database password, e.g. a Docker secret; its trailing line break is ignored.
    #[arg(long = "database-password-file", env = "CTMS_DATABASE_PASSWORD_FILE", value_name = "FILE")]
    pub database_password_file: Option<PathBuf>,
    /// Connections in the pool (PostgreSQL; SQLite has one writer).
    #[arg(long = "database-connections", env = "CTMS_DATABASE_CONNECTIONS", value_name = "N", default_value_t = 16)]
    pub database_connections: u32,
    /// Longest time one statement may take.
    #[arg(long = "database-statement-timeout", env = "CTMS_DATABASE_STATEMENT_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub database_statement_timeout: Duration,
    /// Longest time one transaction may take, from BEGIN to COMMIT.
    #[arg(long = "database-transaction-timeout", env = "CTMS_DATABASE_TRANSACTION_TIMEOUT", value_name = "DURATION", default_value = "20s", value_parser = parse_duration)]
    pub database_transaction_timeout: Duration,
    /// Longest wait for a connection, at start and for one from the pool.
    #[arg(long = "database-connect-timeout", env = "CTMS_DATABASE_CONNECT_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub database_connect_timeout: Duration,
    /// Bring the tables up to date at start; otherwise run `migrate` before.
    #[arg(long = "database-migrate", env = "CTMS_DATABASE_MIGRATE", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub database_migrate: bool,
}

impl DatabaseArgs {
    /// The URL without its password, for logs.
    #[must_use]
    pub fn shown_url(&self) -> String {
        redact_url(self.database_url.expose_secret())
    }

    fn check(&self, problems: &mut Problems) {
        let url = self.database_url.expose_secret();
        let known = ["sqlite:", "postgres://", "postgresql://"];
        if !known.iter().any(|scheme| url.starts_with(scheme)) {
            problems.add(
                "database-url",
                format!("{:?} is neither SQLite nor PostgreSQL", self.shown_url()),
                "write sqlite://PATH or postgres://USER@HOST:5432/NAME",
            );
        }
        if self.database_password_file.is_some() && url.starts_with("sqlite:") {
            problems.add("database-password-file", "SQLite has no password", "remove it, or use a postgres:// URL");
        }
        problems.refuse_zero("database-connections", u64::from(self.database_connections));
        refuse_no_time(problems, "database-statement-timeout", self.database_statement_timeout);
        if self.database_transaction_timeout < self.database_statement_timeout {
            problems.add(
                "database-transaction-timeout",
                format!(
                    "{:?} is below --database-statement-timeout {:?}",
                    self.database_transaction_timeout, self.database_statement_timeout
                ),
                "a transaction must have time for one statement at least",
            );
        }
        refuse_no_time(problems, "database-connect-timeout", self.database_connect_timeout);
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs (always to stderr) and traces.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryArgs {
    /// Level, or a filter in the style of RUST_LOG, e.g. `info,outbox=debug`.
    #[arg(long = "log-level", env = "CTMS_LOG_LEVEL", value_name = "FILTER", default_value = "info,sea_orm_migration=warn", value_parser = parse_filter)]
    pub log_level: String,
    /// Shape of the log lines.
    #[arg(long = "log-format", env = "CTMS_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// OpenTelemetry collector (OTLP over gRPC), e.g. http://127.0.0.1:4317; without it no traces are exported.
    #[arg(long = "otlp-endpoint", env = "CTMS_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// How the service stops.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Shutdown")]
pub struct ShutdownArgs {
    /// Time from SIGTERM to a forced exit with code 1; keep it above --pool-drain-timeout.
    #[arg(long = "shutdown-grace", env = "CTMS_SHUTDOWN_GRACE", value_name = "DURATION", default_value = "25s", value_parser = parse_duration)]
    pub shutdown_grace: Duration,
}

impl ShutdownArgs {
    fn check(&self, problems: &mut Problems) {
        refuse_no_time(problems, "shutdown-grace", self.shutdown_grace);
    }
}

pub(super) fn refuse_no_time(problems: &mut Problems, flag: &str, value: Duration) {
    if value.is_zero() {
        problems.add(flag, "0 leaves no time at all", "write a duration such as 500ms, 10s or 2m");
    }
}

/// Reads an address to listen on.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "an address to listen on is an IP and a port: 127.0.0.1:50051, or 0.0.0.0:50051 for every interface".to_owned()
    })
}

fn parse_filter(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}; write a level (error, warn, info, debug, trace) or target=level pairs"))
}

/// Reads `250ms`, `10s`, `2m` or `1h`; a number without a unit is refused, since nobody can tell what it meant.
///
/// # Errors
/// Names the text and the units.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let wrong = || format!("{text:?} is not a duration; write a whole number and a unit: 250ms, 10s, 2m, 1h");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis_per_unit = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis_per_unit).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["10", "", "s", "-1s", "1.5s", "10 days", "99999999999999999999s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
