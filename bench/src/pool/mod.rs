//! `bench pool`: Kafka, the preloaded topic, every arm in turn, the figures.

mod arm;
mod options;
mod page;
mod plan;
mod results;
mod run;
mod table;

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use testkit::kafka::Kafka;

use crate::{
    arms::xorshift,
    host::Host,
    peers::{Peers, Wanted},
};
use plan::{Turn, turns};
use results::Results;
use run::Stage;

pub(crate) use arm::{Arm, Launch, own};
pub(crate) use options::PoolOptions;
pub(crate) use run::{reading, unique};
pub(crate) use table::aligned;

/// What one step of the workload cpu20us shall take.
const SPIN: Duration = Duration::from_micros(20);

pub(crate) fn run(options: &PoolOptions) -> Result<()> {
    let turns = turns(options);
    anyhow::ensure!(!turns.is_empty(), "no arm and workload fit what was chosen: leave out --arms or --only");
    let stage = stage(&turns)?;
    let host = Host::now(kafka_version(&stage.kafka))?;
    eprintln!("loading {} records", table::count(plan::PRELOADED));
    stage.preload()?;
    let mut results = Results::default();
    measure(&stage, &turns, &mut results);
    fs::remove_dir_all(&stage.folder).with_context(|| format!("cannot remove {}", stage.folder.display()))?;
    if let Some(folder) = &options.page {
        page::write(folder, &host, &results, &options.command())?;
    }
    if options.json {
        println!("{}", results.json(&host).context("cannot print the figures")?);
    } else {
        println!("{}", table::markdown(&results.figures()));
    }
    Ok(())
}

fn stage(turns: &[Turn]) -> Result<Stage> {
    let wants = |arms: &[Arm]| turns.iter().any(|turn| arms.contains(&turn.cell.arm));
    eprintln!("building the peers that are asked for");
    let peers = Peers::build(Wanted {
        kq: wants(&[Arm::Kq]),
        franz: wants(&[Arm::FranzGo]),
        parallel_consumer: wants(&[Arm::ParallelConsumerKey, Arm::ParallelConsumerUnordered]),
    });
    eprintln!("starting Kafka");
    let kafka = Kafka::given().or_else(|_| Kafka::start_for_load())?;
    let folder = testkit::target_dir().join(unique("bench"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(Stage { kafka, peers, spin: spin(), folder })
}

/// Runs the turns; an arm that cannot run is said aloud, once, and left out from then on.
fn measure(stage: &Stage, turns: &[Turn], results: &mut Results) {
    let mut took: Vec<(plan::Cell, f64)> = Vec::new();
    for (place, turn) in turns.iter().enumerate() {
        let cell = turn.cell;
        if results.failures().iter().any(|failure| failure.arm == cell.arm) {
            continue;
        }
        let left = left(&turns[place..], &took, results);
        let label = format!(
            "[{}/{}] {} C={} round {} {}",
            place + 1,
            turns.len(),
            cell.workload.name(),
            cell.concurrency,
            turn.round,
            cell.arm.name()
        );
        let start = Instant::now();
        match stage.run(cell) {
            Ok(run) => {
                let delay = if cell.workload.is_paced() {
                    format!(", p99 {:.1} ms", run.reading.p99_ms)
                } else {
                    String::new()
                };
                let cut = if run.reading.complete { "" } else { " (cut)" };
                eprintln!(
                    "{label}: {} msgs/s{cut}, {:.2} µs CPU{delay}; about {left} left",
                    table::rate(run.reading.msgs_per_s),
                    results::cpu_us(&run),
                );
                results.add(cell, run);
            }
            Err(error) => {
                eprintln!("{label}: SKIPPED: {error:#}");
                results.fail(cell.arm, format!("{error:#}"));
            }
        }
        took.push((cell, start.elapsed().as_secs_f64()));
    }
}

/// How long these turns will take, by what their cells took before.
fn left(turns: &[Turn], took: &[(plan::Cell, f64)], results: &Results) -> String {
    let will_run = |turn: &&Turn| !results.failures().iter().any(|failure| failure.arm == turn.cell.arm);
    let seconds: f64 = turns
        .iter()
        .filter(will_run)
        .map(|turn| {
            let known = took.iter().rev().find(|(cell, _)| *cell == turn.cell);
            known.map_or_else(|| turn.cell.expected_seconds(), |(_, seconds)| *seconds)
        })
        .sum();
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

/// How many steps of the chain take 20 µs on this machine: the fastest of several tries, since the machine may be busy.
fn spin() -> u32 {
    const STEPS: u32 = 1_000_000;
    let tries = (0..5).map(|seed| {
        let start = Instant::now();
        std::hint::black_box(xorshift(seed, STEPS));
        start.elapsed()
    });
    let fastest = tries.min().unwrap_or(SPIN).as_nanos().max(1);
    u32::try_from(u128::from(STEPS) * SPIN.as_nanos() / fastest).unwrap_or(STEPS)
}

/// Which Kafka the figures belong to.
pub(crate) fn kafka_version(kafka: &Kafka) -> String {
    if kafka.is_ours() { format!("Kafka {}", testkit::kafka::VERSION) } else { format!("given: {}", kafka.brokers()) }
}
