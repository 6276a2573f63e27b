//! `bench start`: StartProject over gRPC against the release project-srv, beside pgbench that runs the same transaction's statements on the
//! same server, and beside a bare tonic + tokio-postgres server that does. No broker is there: project-srv accepts without one, and what its
//! relay does with one is not part of the call.

mod bare;
mod clients;
mod pgbench;
mod stage;
mod statements;
mod table;

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;
use testkit::postgres::Postgres;

use crate::{host::Host, statistics::Summary};
pub(crate) use bare::{BareOptions, serve};
use stage::Stage;

/// Connections that each server has to the database, as project-srv has by default.
const CONNECTIONS: usize = 16;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct StartOptions {
    /// One line of JSON as the last of stdout, instead of a table.
    #[arg(long)]
    json: bool,
    /// Numbers of clients, each with one call under way.
    #[arg(long, value_delimiter = ',', value_name = "NUMBER", default_values_t = [1, 16, 64])]
    clients: Vec<usize>,
    /// Rounds of each figure, the arms in turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each arm runs in a round.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Projects that are ready to start; each can be started once.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    projects: u32,
}

/// Who starts projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Arm {
    /// project-srv.
    Ours,
    /// tonic and tokio-postgres with the same statements.
    Bare,
    /// The same statements without a server between.
    Pgbench,
}

impl Arm {
    const ALL: [Self; 3] = [Self::Ours, Self::Bare, Self::Pgbench];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Bare => "bare",
            Self::Pgbench => "pgbench",
        }
    }
}

/// What one arm did in one round.
#[derive(Debug, Clone, Copy)]
struct Reading {
    starts_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// What one arm did with so many clients.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    arm: Arm,
    clients: usize,
    starts_per_s: f64,
    starts_per_s_min: f64,
    starts_per_s_max: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Figure {
    fn of(arm: Arm, clients: usize, readings: &[Reading]) -> Result<Self> {
        let summary = |value: fn(&Reading) -> f64| {
            Summary::of(readings.iter().map(value)).context("no round was measured: --rounds must be 1 or more")
        };
        let rate = summary(|reading| reading.starts_per_s)?;
        Ok(Self {
            arm,
            clients,
            starts_per_s: rate.median,
            starts_per_s_min: rate.min,
            starts_per_s_max: rate.max,
            p50_ms: summary(|reading| reading.p50_ms)?.median,
            p99_ms: summary(|reading| reading.p99_ms)?.median,
        })
    }
}

/// Measures and prints.
///
/// # Errors
/// A server or pgbench is missing, or a call failed.
pub(crate) fn run(options: &StartOptions) -> Result<()> {
    let postgres = Postgres::given().or_else(|_| Postgres::start())?;
    let host = Host::now("none".to_owned())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let stage = runtime.block_on(Stage::set(&postgres, options.projects))?;
    let length = Duration::from_secs(options.seconds);
    let mut figures = Vec::new();
    for &clients in &options.clients {
        let mut readings = Arm::ALL.map(|arm| (arm, Vec::new()));
        for round in 1..=options.rounds {
            for (arm, readings) in &mut readings {
                let reading = match arm {
                    Arm::Ours => runtime.block_on(stage.call(stage.ours(), clients, length)),
                    Arm::Bare => runtime.block_on(stage.call(stage.bare(), clients, length)),
                    Arm::Pgbench => pgbench::run(stage.database(), options.projects, clients, length),
                }
                .with_context(|| format!("{} with {clients} clients", arm.name()))?;
                eprintln!("{clients} clients, round {round}, {}: {:.0} starts/s", arm.name(), reading.starts_per_s);
                readings.push(reading);
            }
        }
        for (arm, readings) in &readings {
            figures.push(Figure::of(*arm, clients, readings)?);
        }
    }
    stage.clear()?;
    if options.json { table::print_json(&host, &figures) } else { table::print(&host, &figures) }
}
