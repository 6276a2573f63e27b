//! The commands of this repository, as `cargo xtask …`. They need nothing but cargo and what the tests themselves look
//! for; this file only reads the command line.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on its standard streams")]

mod bench;
mod servers;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The commands of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs every test, on a real Kafka and a real PostgreSQL where it finds or can start them.
    Test(test::Options),
    /// Starts the Kafka and the PostgreSQL of the tests, prints where they are, and keeps them until Ctrl-C.
    Servers,
    /// Measures what the project promises about speed, beside its peers.
    #[command(subcommand)]
    Bench(bench::Command),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Servers => servers::run(),
        Command::Bench(command) => bench::run(&command),
    }
}
