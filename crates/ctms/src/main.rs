//! `ctms`: runs the platform on one machine and looks after it anywhere.

mod attach;
mod broker;
mod clients;
mod cluster;
mod database;
mod demo;
mod dev;
mod dlq;
mod doctor;
mod load;
mod outbox;
mod output;
mod topics;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// The clinical-trial event platform: run it on one machine, look after it anywhere.
#[derive(Parser, Debug)]
#[command(name = "ctms", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    telemetry: service_kit::config::TelemetryArgs,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show everything once: a study starts, three services react, and each effect is read back.
    Demo(demo::DemoArgs),
    /// Run the broker and the four services in this process, and log events as they pass.
    Dev(dev::DevArgs),
    /// Start many projects from many clients: measure, and count every effect.
    Load(load::LoadArgs),
    /// The platform's topics on a broker.
    Topics(topics::TopicsArgs),
    /// Dead letters: what the services could not handle.
    Dlq(dlq::DlqArgs),
    /// The outbox of a service: publish events again, set refused ones free.
    Outbox(outbox::OutboxArgs),
    /// Find out what is wrong between the parts, with the command that mends it.
    Doctor(doctor::DoctorArgs),
}

/// A person watches: the log of four services would hide what the command says. `--log-level info` shows it.
const LOG_LEVEL: &str = "warn";

fn main() -> ExitCode {
    let command = Cli::command().mut_arg("log_level", |argument| argument.default_value(LOG_LEVEL));
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&format!("cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run(cli)).unwrap_or_else(|error| {
        output::error(&service_kit::sentence(&error));
        ExitCode::FAILURE
    })
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    service_kit::telemetry::init(&cli.telemetry, "ctms")?;
    match cli.command {
        Command::Demo(args) => demo::run(args).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Load(args) => load::run(args).await,
        Command::Topics(args) => topics::run(args).await,
        Command::Dlq(args) => dlq::run(args).await,
        Command::Outbox(args) => outbox::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
    }
}
