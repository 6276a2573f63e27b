//! `ctms dev`: the whole platform in one process, to stay. It says where everything listens, then logs events as they pass.

mod event_log;

use std::{process::ExitCode, time::Instant};

use crate::{
    cluster::{Cluster, ClusterArgs, Endpoint, Ports},
    output,
};

/// Flags of `ctms dev`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Port of the embedded broker; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 9092)]
    kafka_port: u16,
    /// gRPC port of project-srv; epro, finance and monitor take the next three. 0 takes free ones.
    #[arg(long, value_name = "PORT", default_value_t = 50051)]
    grpc_port: u16,
    /// Admin HTTP port of project-srv; epro, finance and monitor take the next three. 0 takes free ones.
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    admin_port: u16,
}

/// Runs until Ctrl-C or SIGTERM (exit code 0), or until a service fails.
///
/// # Errors
/// The cluster did not start, a service failed, or one did not stop cleanly.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut signals = Signals::listen()?;
    let ports = Ports::fixed(args.kafka_port, args.grpc_port, args.admin_port);
    let mut cluster = tokio::select! {
        biased;
        () = signals.received() => return Ok(ExitCode::SUCCESS),
        cluster = Cluster::start(&args.cluster, &ports) => cluster?,
    };
    announce(&cluster, began.elapsed().as_secs_f64());
    let log = event_log::spawn(cluster.bootstrap(), cluster.stopping())?;
    let failure = tokio::select! {
        biased;
        () = signals.received() => None,
        error = cluster.failed() => Some(error),
    };
    if failure.is_none() {
        output::line("stopping: services drain first, the broker goes last");
    }
    let stopped = cluster.stop().await;
    log.join().await;
    if let Some(error) = failure {
        return Err(error);
    }
    stopped?;
    output::line("stopped cleanly");
    Ok(ExitCode::SUCCESS)
}

fn announce(cluster: &Cluster, seconds: f64) {
    output::line(&format!("ctms dev · ready after {seconds:.1} s\n"));
    for Endpoint { service, grpc, admin, database } in cluster.endpoints() {
        output::line(&format!("  {service:<8} gRPC {grpc:<16}  admin http://{admin:<16}  {database}"));
    }
    let broker = if cluster.broker_is_embedded() {
        "embedded: it forgets when it ends. Accepted calls do not: what is not applied is published again at the next start.\n\
         \x20          Records of other producers that are not applied by then are gone; --kafka HOST:PORT uses a broker that keeps them."
    } else {
        "external"
    };
    output::line(&format!("  kafka    {}  {broker}", cluster.bootstrap()));
    let project = cluster.endpoints()[0].grpc;
    output::line(&format!(
        "\nTry it:\n  grpcurl -plaintext -d '{{\"name\":\"My study\",\"protocol_number\":\"P-1\",\"sponsor\":\"Me\"}}' \\\n    {project} ctms.project.v1.ProjectService/CreateProject\n  grpcurl -plaintext {project} ctms.project.v1.ProjectService/ListProjects"
    ));
    output::line("\nEvents as they pass (Ctrl-C stops):");
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Cancellation safe.
    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
