//! `ctms load`: many projects from many clients. It measures the calls and the reactions, and counts every effect.

mod count;
mod disk;
mod figures;
mod latency;
mod paced;
mod project;
mod throughput;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use serde::Serialize;

use crate::{
    attach::AttachArgs,
    clients::{Clients, Urls},
    cluster::{Cluster, ClusterArgs, Ports},
    output,
};

use count::Counted;
use figures::Quantiles;
use paced::Paced;

/// Flags of `ctms load`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    attach: AttachArgs,
    /// Projects that are started at once by all clients.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    projects: u32,
    /// Clients, each with one call under way.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: u32,
    /// Start the projects at this steady rate per second, and take the latencies meanwhile; without it they are started as fast as the
    /// clients can.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
    /// Projects that are started one after another to take the latencies.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    samples: u32,
    /// How long to wait for the effects, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    patience: u64,
    /// Print one JSON object on the last line of stdout.
    #[arg(long)]
    json: bool,
}

/// Everything that was measured and counted.
#[derive(Debug, Serialize)]
struct Measured {
    ok: bool,
    stack: String,
    /// From the call to its OK, one call at a time, in milliseconds.
    start_project_ms: Quantiles,
    /// From the OK to the first read that shows the effect, one project at a time, in milliseconds.
    reaction_ms: Reactions,
    /// What one write and sync of 4 KiB costs on the data folder's disk, in milliseconds; absent where the data is elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    fsync_ms: Option<Quantiles>,
    projects: u32,
    clients: u32,
    starts_per_s: f64,
    /// The latencies while projects were started at a steady rate; absent where they were started as fast as the clients could.
    #[serde(skip_serializing_if = "Option::is_none")]
    paced: Option<Paced>,
    /// From the last OK until every effect of every project was there, in seconds.
    settled_after_s: f64,
    counted: Counted,
    /// Resident memory of the whole cluster, in MiB; absent where it runs elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_mb: Option<u64>,
    /// From start to ready, in seconds; absent where the cluster ran already.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_after_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Reactions {
    epro: Quantiles,
    finance: Quantiles,
    monitor: Quantiles,
}

/// Runs the load; the exit code is 0 only if each effect is there exactly once.
///
/// # Errors
/// The cluster did not start, a call failed, or the effects did not come in time.
pub(crate) async fn run(args: LoadArgs) -> anyhow::Result<ExitCode> {
    let measured = match args.attach.urls() {
        Some(urls) => measure(&args, &urls, "services that ran already".to_owned()).await?,
        None => own_cluster(&args).await?,
    };
    if args.json {
        output::json(&measured)?;
    } else {
        figures::print(&measured);
    }
    Ok(if measured.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn own_cluster(args: &LoadArgs) -> anyhow::Result<Measured> {
    let folder = tempfile::Builder::new()
        .prefix("ctms-load-")
        .tempdir()
        .context("cannot make a temporary folder; name one with --data DIR")?;
    let data = args.cluster.data.clone().unwrap_or_else(|| folder.path().to_owned());
    let cluster_args = ClusterArgs { data: Some(data.clone()), ..args.cluster.clone() };
    let began = std::time::Instant::now();
    let mut cluster = Cluster::start(&cluster_args, &Ports::ephemeral()).await?;
    let ready_after_s = began.elapsed().as_secs_f64();
    let urls = cluster.urls();
    let measured = tokio::select! {
        biased;
        error = cluster.failed() => Err(error),
        measured = measure(args, &urls, args.cluster.parts()) => measured,
    };
    let resident_mb = figures::resident_mb();
    let stopped = cluster.stop().await;
    let measured = measured?;
    stopped?;
    let fsync_ms =
        tokio::task::spawn_blocking(move || disk::fsync(&data)).await.context("measuring the disk panicked")??;
    Ok(Measured { resident_mb, ready_after_s: Some(ready_after_s), fsync_ms: Some(fsync_ms), ..measured })
}

async fn measure(args: &LoadArgs, urls: &Urls, stack: String) -> anyhow::Result<Measured> {
    let patience = Duration::from_secs(args.patience);
    let clients = Clients::connect(urls).await?;
    output::progress(&format!("{} projects one after another, for the latencies", args.samples));
    let latencies = latency::take(&clients, args.samples, patience).await?;
    output::progress(&format!("{} projects from {} clients", args.projects, args.clients));
    let (connections, project_ids) = throughput::prepare(urls, args.projects, args.clients).await?;
    let (started, paced) = match args.rate {
        None => (throughput::start_all(connections, project_ids).await?, None),
        Some(per_s) => {
            output::progress("waiting until the services have caught up with the preparations");
            count::caught_up(&clients, &project_ids, patience).await?;
            let (started, paced) = paced::start(&connections, project_ids, per_s, patience).await?;
            (started, Some(paced))
        }
    };
    output::progress("waiting for every effect, and counting");
    let counted = count::settle(&clients, &started.project_ids, patience).await?;
    Ok(Measured {
        ok: counted.is_exactly_once(args.projects),
        stack,
        start_project_ms: latencies.start_project,
        reaction_ms: latencies.reactions,
        fsync_ms: None,
        projects: args.projects,
        clients: args.clients,
        starts_per_s: started.starts_per_s,
        paced,
        settled_after_s: started.last_answer_at.elapsed().as_secs_f64(),
        counted,
        resident_mb: None,
        ready_after_s: None,
    })
}
