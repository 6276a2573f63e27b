//! The program behind `cargo xtask bench`: its arms in Rust, each a subcommand of its own, and the runs that compare them with their peers.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on its standard streams")]

mod arms;
mod chart;
mod correct;
mod effects;
mod host;
mod limits;
mod peers;
mod pool;
mod ready;
mod start;
mod statistics;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use arms::{ArmOptions, Lanes, LoadOptions, Reading};
use correct::CorrectOptions;
use limits::{LimitsOptions, SpreadOptions};
use pool::PoolOptions;
use ready::ReadyOptions;

/// The benchmarks of the worker pool. `cargo xtask bench` builds and runs all of it; the arms run alone for a profiler.
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures the arms beside each other.
    Pool(PoolOptions),
    /// Counts what the arms lose, double and disorder when something goes wrong.
    Correct(CorrectOptions),
    /// Memory with many keys, the pause of a rebalance, the start of many partitions.
    Limits(LimitsOptions),
    /// Arm of `limits`: a member of many topics.
    Spread(SpreadOptions),
    /// The cost of the engine alone, with records ready in memory.
    Ready(ReadyOptions),
    /// Measures StartProject beside pgbench and a bare server.
    Start(start::StartOptions),
    /// Measures the services that react beside a bare loop of the same statements.
    Effects(effects::EffectsOptions),
    /// Arm of `start`: a bare server.
    BareStart(start::BareOptions),
    /// Creates a topic and fills it.
    Load(LoadOptions),
    /// Arm: kafka-worker-pool.
    Ours {
        /// The handler blocks the thread it runs on, which is one of the pool's own.
        #[arg(long)]
        blocking: bool,
        #[command(flatten)]
        arm: ArmOptions,
    },
    /// Arm: a `BaseConsumer::poll` loop.
    Raw(ArmOptions),
    /// Arm: the pool one writes by hand.
    Naive {
        /// How messages reach the tasks.
        #[arg(long, value_enum, default_value_t = Lanes::Shared)]
        lanes: Lanes,
        #[command(flatten)]
        arm: ArmOptions,
    },
    /// Arm: as many tasks on the workload's timer, and no Kafka.
    Bare(ArmOptions),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Pool(options) => {
            pool::run(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Correct(options) => correct::run(&options),
        Command::Limits(options) => {
            limits::run(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Spread(options) => {
            limits::spread(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Ready(options) => {
            ready::run(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Start(options) => {
            start::run(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Effects(options) => {
            effects::run(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::BareStart(options) => {
            start::serve(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Load(options) => {
            arms::load(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Ours { blocking, arm } => ended(arms::ours(&arm, blocking)),
        Command::Raw(options) => ended(arms::raw(&options)),
        Command::Naive { lanes, arm } => ended(arms::naive(&arm, lanes)),
        Command::Bare(options) => ended(arms::bare(&options)),
    }
}

/// Prints what an arm measured, and ends the process without the client's farewells: they are not measured and take seconds.
fn ended(reading: Result<Reading>) -> ! {
    let printed = reading.and_then(|reading| serde_json::to_string(&reading).context("cannot print a reading"));
    match printed {
        Ok(line) => {
            println!("{line}");
            std::process::exit(0)
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            std::process::exit(1)
        }
    }
}
