//! `ctms demo`: one study through its start, suspension and resumption, with everything that the services make of it.

mod reactions;
mod report;
mod script;
mod study;

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::Context as _;
use tokio::time::Instant;

use crate::{
    attach::AttachArgs,
    clients::{Clients, Urls},
    cluster::{Cluster, ClusterArgs, Ports},
    invocation, output,
};

use report::{Outcome, Report, millis};

/// Flags of `ctms demo`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    attach: AttachArgs,
    /// Print one JSON object on the last line of stdout instead of the account.
    #[arg(long)]
    json: bool,
    /// How long to wait for each effect, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
}

/// Runs the demo; the exit code is 0 only if every effect was seen.
///
/// # Errors
/// The cluster did not start, or the services cannot be reached.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let mut report = if args.json { Report::silent() } else { Report::live() };
    let outcome = match args.attach.urls() {
        Some(urls) => attached(&args, &urls, &mut report).await,
        None => own_cluster(&args, &mut report).await,
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) if args.json => Outcome::failed(&error),
        Err(error) => return Err(error),
    };
    if args.json {
        output::json(&outcome)?;
    } else if let Some(error) = &outcome.error {
        output::error(error);
    }
    Ok(if outcome.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn attached(args: &DemoArgs, urls: &Urls, report: &mut Report) -> anyhow::Result<Outcome> {
    report.line(&format!("ctms demo · services at {}", urls.project));
    let outcome = play(args, urls, report).await?;
    if outcome.ok {
        summary(&outcome, report);
        report.line(&format!("\n  {} demo --help    how to run it with a cluster of its own", invocation::program()));
    }
    Ok(outcome)
}

async fn own_cluster(args: &DemoArgs, report: &mut Report) -> anyhow::Result<Outcome> {
    // Removed when dropped; a folder that the user named stays.
    let (cluster_args, _temporary) = match &args.cluster.data {
        Some(_) => (args.cluster.clone(), None),
        None => {
            let folder = tempfile::Builder::new()
                .prefix("ctms-demo-")
                .tempdir()
                .context("cannot make a temporary folder; name one with --data DIR")?;
            (ClusterArgs { data: Some(folder.path().to_owned()), ..args.cluster.clone() }, Some(folder))
        }
    };
    let began = Instant::now();
    report.line(&format!("ctms demo · {}", args.cluster.parts()));
    report.waiting("starting the broker and four services");
    let cluster = Cluster::start(&cluster_args, &Ports::ephemeral()).await;
    report.waited();
    let mut cluster = cluster?;
    report.line(&format!(
        "  ✓ {:<9} broker {} and four services ready after {:.0} ms",
        "cluster",
        cluster.bootstrap(),
        millis(began.elapsed())
    ));
    let urls = cluster.urls();
    let outcome = tokio::select! {
        biased;
        error = cluster.failed() => Err(error),
        outcome = play(args, &urls, report) => outcome,
    };
    let stopped = cluster.stop().await;
    let outcome = outcome?;
    stopped?;
    if outcome.ok {
        report.heading("Stopped");
        report.done("cluster", "every service drained and stopped cleanly");
        summary(&outcome, report);
        match &args.cluster.data {
            Some(folder) => report.line(&format!("  Its state is kept in {}.", folder.display())),
            None => report.line("  Its state was in a temporary folder, now removed; keep it with --data DIR."),
        }
        look_further(args.cluster.data.as_deref(), report);
    }
    Ok(outcome)
}

async fn play(args: &DemoArgs, urls: &Urls, report: &mut Report) -> anyhow::Result<Outcome> {
    let clients = Clients::connect(urls).await?;
    Ok(script::play(&clients, Duration::from_secs(args.patience), report).await)
}

fn summary(outcome: &Outcome, report: &Report) {
    let slowest = outcome.reactions.iter().map(|reaction| reaction.latency_ms).fold(0.0, f64::max);
    report.heading("Summary");
    report.line(&format!(
        "  One StartProject call moved {} services, each exactly once; the slowest reacted after {slowest:.1} ms.",
        outcome.reactions.len()
    ));
}

/// What one may do next, each command as it works where this one did. `data`: the folder that holds what the demo left.
fn look_further(data: Option<&Path>, report: &Report) {
    let ctms = invocation::program();
    let kept = data.map(|folder| format!(" --data {}", folder.display())).unwrap_or_default();
    report.line("\nLook further");
    for (command, what) in [
        (format!("dev{kept}"), "the cluster, to stay: endpoints, a grpcurl call, a live log of events"),
        (format!("doctor{kept}"), "beside it, in another terminal: what is wrong between the parts"),
        ("dlq list".to_owned(), "beside it too: what could not be handled"),
        ("demo --json".to_owned(), "this account for programs"),
    ] {
        report.line(&format!(
            "  {:<width$}  {what}",
            format!("{ctms} {command}"),
            width = ctms.len() + 13 + kept.len()
        ));
    }
    report.line("  docker compose up --build --wait && docker compose run --rm demo");
    report.line("      the same on Kafka and PostgreSQL, from the project's folder");
}
