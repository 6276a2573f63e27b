//! `ctms`: runs the platform on one machine and looks after it anywhere.

mod attach;
mod broker;
mod clients;
mod cluster;
mod courier;
mod database;
mod decision;
mod demo;
mod dev;
mod dlq;
mod doctor;
mod gate;
mod invocation;
mod load;
mod outbox;
mod output;
mod topics;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

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
    /// The gate of a consumer: what it waits for, and how to go on without an event that is lost.
    Gate(gate::GateArgs),
    /// The outbox of a service: publish events again, set refused ones free.
    Outbox(outbox::OutboxArgs),
    /// Find out what is wrong between the parts, with the command that mends it.
    Doctor(doctor::DoctorArgs),
}

/// A person watches: the log of four services would hide what the command says. `--log-level info` shows it.
const LOG_LEVEL: &str = "warn";

fn main() -> ExitCode {
    let matches = command().try_get_matches().unwrap_or_else(|error| misused(&error));
    let wants_json = wants_json(&matches);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| misused(&error));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&format!("cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run(cli)).unwrap_or_else(|error| {
        let error = invocation::as_called(&service_kit::sentence(&error));
        let failure = serde_json::json!({ "ok": false, "error": error });
        if !wants_json || output::json(&failure).is_err() {
            output::error(&error);
        }
        ExitCode::FAILURE
    })
}

/// Ends as clap does: usage on stderr and exit code 2, help on stdout and exit code 0. Where JSON was asked for, a misuse is a line of JSON too.
fn misused(error: &clap::Error) -> ! {
    let asked = std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json");
    if asked && error.use_stderr() {
        // Without the usage that follows the first paragraph.
        let text = error.to_string();
        let said = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ").trim();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        // Not written: then stderr says it alone.
        let _ = output::json(&serde_json::json!({ "ok": false, "error": said }));
    }
    error.exit()
}

/// The flags of a command that has subcommands may stand behind those too: people write them where they think of them.
fn command() -> clap::Command {
    let everywhere = |command: clap::Command| {
        command.mut_args(|argument| if argument.is_positional() { argument } else { argument.global(true) })
    };
    let command = Cli::command().mut_arg("log_level", |argument| argument.default_value(LOG_LEVEL));
    ["topics", "dlq", "outbox", "gate"]
        .into_iter()
        .fold(everywhere(command), |all, name| all.mut_subcommand(name, everywhere))
}

/// Whether the command was asked for JSON: then a failure is one line of JSON as well.
fn wants_json(mut matches: &ArgMatches) -> bool {
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or_default()
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    service_kit::telemetry::init(&cli.telemetry, "ctms")?;
    match cli.command {
        Command::Demo(args) => demo::run(args).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Load(args) => load::run(args).await,
        Command::Topics(args) => topics::run(args).await,
        Command::Dlq(args) => dlq::run(args).await,
        Command::Gate(args) => gate::run(args).await,
        Command::Outbox(args) => outbox::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> (Cli, bool) {
        let matches = command().try_get_matches_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{error}"));
        (Cli::from_arg_matches(&matches).unwrap(), wants_json(&matches))
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_behind_the_subcommand() {
        for line in [
            "ctms topics apply --kafka-brokers h:1 --json --log-level debug",
            "ctms --log-level debug topics --kafka-brokers h:1 --json apply",
        ] {
            let (cli, json) = parsed(line);
            let Command::Topics(topics) = cli.command else { panic!("{line}") };
            assert_eq!((topics.kafka.kafka_brokers.as_str(), json), ("h:1", true), "{line}");
            assert_eq!(cli.telemetry.log_level, "debug", "{line}");
        }
        assert!(parsed("ctms dlq discard some-id --why rubbish --json --kafka-brokers h:1").1);
        assert!(!parsed("ctms outbox retry --database sqlite://a.db").1);
    }
}
