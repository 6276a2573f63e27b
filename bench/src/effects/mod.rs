//! `bench effects`: epro-, finance- and monitor-srv applying preloaded events, gate and effect in one transaction per batch, beside a bare loop
//! that runs the same statements with the same values in the same transactions, and no Kafka.
//!
//! The statements are not copied: the service's database tells which events each of its transactions took, the service's own gate and effects
//! run once over the same batches, each statement is recorded, and the bare loop sends them again over plain sqlx to a database that was prepared alike. Studies have a schedule, a subject, a fee and a site, so that a start
//! has effects; they have no checks, for running those is another part of monitor-srv.

mod bare;
mod events;
mod lanes;
mod ours;
mod prepare;
mod record;
mod service;
mod table;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;
use testkit::{kafka::Kafka, postgres::Postgres};

use crate::{host::Host, statistics::Summary};
use prepare::{Place, Store};
use service::Reacting;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct EffectsOptions {
    /// One line of JSON as the last of stdout, instead of a table.
    #[arg(long)]
    json: bool,
    /// Events, eight for each study. The statements of all of them are kept in memory: about 1.5 GB for a million.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    events: u32,
    /// Only these services.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SERVICE", default_values_t = [Reacting::Epro, Reacting::Finance, Reacting::Monitor])]
    services: Vec<Reacting>,
    /// Only these databases.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "DATABASE", default_values_t = [Store::Postgres, Store::Sqlite])]
    databases: Vec<Store>,
    /// Rounds of each figure, the arms in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
}

/// What one service did on one kind of database.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    service: Reacting,
    database: Store,
    events: u32,
    /// Of the service, first to last event applied.
    ours_per_s: f64,
    /// Of the bare loop.
    bare_per_s: f64,
    ratio: f64,
    /// Events per transaction of the service; the bare loop's are the same.
    batch: f64,
    /// Studies per transaction.
    streams: f64,
    /// Transactions at once.
    workers: usize,
    /// Statements per transaction, without BEGIN and COMMIT.
    statements: f64,
}

/// Measures and prints.
///
/// # Errors
/// A server is missing, or a service did not apply every event once.
pub(crate) fn run(options: &EffectsOptions) -> Result<()> {
    let postgres = Postgres::given().or_else(|_| Postgres::start())?;
    let kafka = Kafka::given().or_else(|_| Kafka::start_for_load())?;
    let host = Host::now(if kafka.is_ours() { "from jars" } else { "given" }.to_owned())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let topic = runtime.block_on(events::preload(kafka.brokers(), options.events))?;
    let folder = testkit::target_dir().join(format!("bench-effects-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut figures = Vec::new();
    for &service in &options.services {
        for &database in &options.databases {
            let place = Place { store: database, postgres: &postgres, folder: &folder };
            let of = format!("{} on {}", service.name(), database.name());
            let figure = runtime.block_on(measure(service, &place, &kafka, &topic, options)).context(of.clone())?;
            eprintln!(
                "{of}: {:.0} events/s, bare {:.0}, ratio {:.2}",
                figure.ours_per_s, figure.bare_per_s, figure.ratio
            );
            figures.push(figure);
        }
    }
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    if options.json { table::print_json(&host, &figures) } else { table::print(&host, &figures) }
}

async fn measure(
    service: Reacting,
    place: &Place<'_>,
    kafka: &Kafka,
    topic: &str,
    options: &EffectsOptions,
) -> Result<Figure> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let (mut batch, mut streams, mut workers, mut statements) = (0.0, 0.0, 0, 0.0);
    for _ in 0..options.rounds {
        let applied = ours::apply(service, place, kafka.brokers(), topic, options.events).await?;
        ours.push(applied.events_per_s);
        workers = Reacting::at_once(place.store);
        batch = f64::from(options.events) / applied.batches.len() as f64;
        streams = streams_per_transaction(&applied.batches);
        let recorded = record::record(service, place, options.events, &lanes::deal(applied.batches, workers)).await?;
        statements = recorded.statements_per_transaction();
        bare.push(bare::replay(service, place, options.events, recorded).await?);
    }
    let median = |rates: Vec<f64>| Summary::of(rates).map_or(0.0, |summary| summary.median);
    let (ours_per_s, bare_per_s) = (median(ours), median(bare));
    Ok(Figure {
        service,
        database: place.store,
        events: options.events,
        ours_per_s,
        bare_per_s,
        ratio: ours_per_s / bare_per_s,
        batch,
        streams,
        workers,
        statements,
    })
}

fn streams_per_transaction(batches: &[Vec<events::Event>]) -> f64 {
    let studies = |batch: &Vec<events::Event>| batch.iter().map(|event| event.study).collect::<BTreeSet<u32>>().len();
    batches.iter().map(studies).sum::<usize>() as f64 / batches.len().max(1) as f64
}
