//! `ctms demo`: one study through its start, suspension and resumption, with everything that the services make of it.

mod reactions;
mod report;
mod script;
mod study;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use tokio::time::Instant;

use crate::{
    attach::AttachArgs,
    clients::{Clients, Urls},
    cluster::{Cluster, ClusterArgs, Ports},
    output,
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
    }
    Ok(outcome)
}

async fn own_cluster(args: &DemoArgs, report: &mut Report) -> anyhow::Result<Outcome> {
    // Removed when dropped; a folder that the user named stays.
    let (cluster_args, temporary) = match &args.cluster.data {
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
        match (&args.cluster.data, &temporary) {
            (Some(folder), _) => report.line(&format!(
                "  State is kept in {}: look further with `ctms dev --data {}`.",
                folder.display(),
                folder.display()
            )),
            (None, _) => report.line("  State was in a temporary folder, now removed; keep it with --data DIR."),
        }
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
    report.line("\nLook further");
    report.line(
        "  ctms dev                    the same cluster, to stay: endpoints, a grpcurl call, a live log of events",
    );
    report.line("  ctms demo --json            this account for programs");
    report.line("  ctms dlq list, ctms doctor  what could not be handled, and what is wrong between the parts");
    report
        .line("  docker compose up --build --wait && docker compose run --rm demo    the same on Kafka and PostgreSQL");
}
