//! `cargo xtask bench`: builds the benchmarks in release and hands its command line on to them. One file per subcommand.

mod arguments;
mod correct;
mod effects;
mod limits;
mod pool;
mod start;

use std::process::{Command as Process, ExitCode};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::test::build;

/// What can be measured. What each is for stands at its options, so that its `--help` tells the whole of it.
#[derive(Subcommand)]
pub(crate) enum Command {
    Pool(pool::Options),
    Correct(correct::Options),
    Limits(limits::Options),
    /// epro-, finance- and monitor-srv applying events, beside a bare loop that runs the same statements with no Kafka.
    Effects(effects::Options),
    /// StartProject over gRPC beside pgbench and a bare server that run the same statements.
    Start(start::Options),
}

pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Pool(options) => program(if options.ready { "ready" } else { "pool" }, &options.arguments()),
        Command::Correct(options) => program("correct", &options.arguments()),
        Command::Limits(options) => program("limits", &options.arguments()),
        Command::Effects(options) => {
            for service in ["epro-srv", "finance-srv", "monitor-srv"] {
                build::release_binary(service, service)?;
            }
            program("effects", &options.arguments())
        }
        Command::Start(options) => {
            build::release_binary("project-srv", "project-srv")?;
            program("start", &options.arguments())
        }
    }
}

/// Runs a subcommand of the program `bench`, built in release.
fn program(subcommand: &str, arguments: &[String]) -> Result<ExitCode> {
    let program = build::release_binary("bench", "bench")?;
    let status = Process::new(&program)
        .arg(subcommand)
        .args(arguments)
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
