//! The `main` of every service: commands, runtime, telemetry, sockets and signals; then the service's own `run`.

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Command, ConfigError, Loaded, ServiceConfig};
use crate::sockets::Sockets;
use crate::{database, healthcheck, sentence, telemetry};

/// After the grace period the supervisor has given up; what blocks the exit even then is cut off this much later.
const HARD_EXIT_AFTER_GRACE: Duration = Duration::from_secs(5);
/// Longest wait for blocking threads once all is done.
const RUNTIME_SHUTDOWN: Duration = Duration::from_millis(500);

/// Parses the command line and does what it says; `run` gets its configuration, bound sockets, and the token that SIGTERM and
/// SIGINT cancel. Exit code 0 after a clean end, 1 after a failure, 2 for a wrong command line or configuration.
pub fn main<C, Fut>(run: impl FnOnce(C, Sockets, CancellationToken) -> Fut) -> ExitCode
where
    C: ServiceConfig,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let loaded = match config::from_process::<C>() {
        Ok(loaded) => loaded,
        Err(ConfigError::Usage(usage)) => {
            // clap knows whether this goes to stdout (--help) or to stderr, and its code.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
        Err(wrong) => {
            complain(C::INFO.name, &wrong.to_string());
            return ExitCode::from(2);
        }
    };
    match dispatch(loaded, run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(C::INFO.name, &sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn dispatch<C, Fut>(loaded: Loaded<C>, run: impl FnOnce(C, Sockets, CancellationToken) -> Fut) -> anyhow::Result<()>
where
    C: ServiceConfig,
    Fut: Future<Output = anyhow::Result<()>>,
{
    if loaded.invocation.check_config {
        return std::io::stdout().write_all(loaded.shown().as_bytes()).context("cannot write to stdout");
    }
    let Loaded { config, invocation, .. } = loaded;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the tokio runtime")?;
    let outcome = match invocation.command {
        Command::Run => runtime.block_on(serve(config, run)),
        Command::Migrate => runtime.block_on(async {
            telemetry::init(&config.base().telemetry, C::INFO.name)?;
            database::migrate(&config).await
        }),
        Command::Healthcheck => {
            let (listen, probe, limit) = (config.base().admin.admin_listen, invocation.probe, invocation.probe_timeout);
            runtime.block_on(healthcheck::ask(listen, probe, limit)).map(|_| ())
        }
    };
    telemetry::flush();
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    outcome
}

async fn serve<C, Fut>(config: C, run: impl FnOnce(C, Sockets, CancellationToken) -> Fut) -> anyhow::Result<()>
where
    C: ServiceConfig,
    Fut: Future<Output = anyhow::Result<()>>,
{
    telemetry::init(&config.base().telemetry, C::INFO.name)?;
    let sockets = Sockets::bind(config.base()).await?;
    let (grpc, admin) = sockets.addresses().context("the bound sockets are gone")?;
    let shutdown = CancellationToken::new();
    let hard_limit = config.base().shutdown.shutdown_grace + HARD_EXIT_AFTER_GRACE;
    stop_on_signals(C::INFO.name, shutdown.clone(), hard_limit)?;
    tracing::info!(service = C::INFO.name, version = C::INFO.version, %grpc, %admin, "starting");
    run(config, sockets, shutdown).await
}

/// First signal: `shutdown`. Second signal, or an end that blocks beyond `hard_limit`: exit 1 at once.
///
/// # Errors
/// The signal handlers cannot be installed.
pub fn stop_on_signals(name: &'static str, shutdown: CancellationToken, hard_limit: Duration) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    // Owned by the process: it ends with it.
    tokio::spawn(async move {
        let first = signals.next().await;
        tracing::info!(signal = first, "stopping; a second signal exits at once");
        shutdown.cancel();
        // A thread of its own, since a blocked runtime is the very case.
        std::thread::spawn(move || {
            std::thread::sleep(hard_limit);
            complain(
                name,
                &format!("still not stopped {hard_limit:?} after the signal: exiting; nothing accepted is lost"),
            );
            std::process::exit(1);
        });
        signals.next().await;
        complain(name, "second signal: exiting at once; nothing accepted is lost");
        std::process::exit(1);
    });
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let install = |kind| signal(kind).context("cannot install the signal handlers");
        Ok(Self { terminate: install(SignalKind::terminate())?, interrupt: install(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// What ends the program goes to stderr in one line, also when logs are filtered away.
fn complain(name: &str, message: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{name}: {message}");
}
