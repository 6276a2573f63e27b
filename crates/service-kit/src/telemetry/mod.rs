//! Logs to stderr, traces to a collector if there is one, metrics for Prometheus; set up once per process, also when several
//! services share it.

mod metrics;
mod trace;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, filter};

pub use self::metrics::prometheus;
pub use trace::{set_parent, traceparent};

use crate::config::{LogFormat, TelemetryArgs};

/// Longest wait for the collector when spans are flushed at the end.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();
static EXPORTS: AtomicBool = AtomicBool::new(false);

/// Telemetry that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("--log-level {filter:?}: {source}; write a level (error, warn, info, debug, trace) or target=level pairs")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong.
        source: filter::ParseError,
    },
    /// The collector's address is not one.
    #[error("--otlp-endpoint {endpoint:?}: {reason}; write e.g. http://127.0.0.1:4317")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
}

/// Sets logs, traces and metrics up for the whole process, as the service `name`; must run inside a tokio runtime. Later calls change nothing.
///
/// # Errors
/// A filter or an address that cannot be used; nothing is set up then.
pub fn init(args: &TelemetryArgs, name: &'static str) -> Result<(), TelemetryError> {
    if PROVIDER.get().is_some() {
        return Ok(());
    }
    let filter = EnvFilter::try_new(&args.log_level)
        .map_err(|source| TelemetryError::Filter { filter: args.log_level.clone(), source })?;
    let provider = provider(args.otlp_endpoint.as_deref(), name)?;
    EXPORTS.store(args.otlp_endpoint.is_some(), Ordering::Relaxed);
    let tracer = provider.tracer(name);
    if PROVIDER.set(provider).is_err() {
        return Ok(());
    }
    let fmt = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(true);
    let logs = match args.log_format {
        LogFormat::Text => fmt.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => fmt.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    // Trace ids exist whatever the log level, so that one trace spans call, relay and reaction even where nothing exports it.
    let traces = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter::filter_fn(|meta| meta.is_span() && *meta.level() <= LevelFilter::INFO));
    // A subscriber is there already only in tests; theirs stays.
    let _ = tracing_subscriber::registry().with(logs.with_filter(filter)).with(traces).try_init();
    let _ = prometheus();
    Ok(())
}

/// Whether a collector gets the spans.
#[must_use]
pub fn exports() -> bool {
    EXPORTS.load(Ordering::Relaxed)
}

/// Sends what the exporter still holds; call it last, off the runtime's workers. Waits at most a few seconds.
pub fn flush() {
    if let Some(provider) = PROVIDER.get() {
        // A collector that is away is no reason to fail a clean stop.
        let _ = provider.shutdown_with_timeout(EXPORT_TIMEOUT);
    }
}

fn provider(endpoint: Option<&str>, name: &'static str) -> Result<SdkTracerProvider, TelemetryError> {
    let builder = SdkTracerProvider::builder().with_resource(Resource::builder().with_service_name(name).build());
    let Some(endpoint) = endpoint else { return Ok(builder.build()) };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| TelemetryError::Endpoint { endpoint: endpoint.to_owned(), reason: error.to_string() })?;
    Ok(builder.with_batch_exporter(exporter).build())
}
