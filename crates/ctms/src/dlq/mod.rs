//! `ctms dlq`: what the services could not handle, and what to do about it. It needs the broker alone.

mod decide;
mod letters;
mod read;
mod show;

use std::{path::PathBuf, process::ExitCode};

use service_kit::config::KafkaArgs;

use crate::{broker, invocation, output};

use letters::{Letters, State};

/// Flags of `ctms dlq`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct DlqArgs {
    #[command(subcommand)]
    command: DlqCommand,
    #[command(flatten)]
    kafka: KafkaArgs,
    /// Print one JSON object on the last line of stdout.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum DlqCommand {
    /// List dead letters: the open ones, newest last.
    List {
        /// List the replayed and the discarded ones too.
        #[arg(long)]
        all: bool,
        /// Only those of this consumer group, e.g. epro-srv.
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
    },
    /// Show one dead letter: where it came from, why it could not be handled, its headers and its payload.
    Show {
        /// Its id, or an unambiguous beginning of it.
        letter: String,
    },
    /// Send a dead letter to its group again. Later events of its project wait for it.
    Replay {
        /// Its id, or an unambiguous beginning of it.
        letter: String,
        /// Send this file's bytes instead of the recorded payload.
        #[arg(long, value_name = "FILE")]
        payload: Option<PathBuf>,
        #[command(flatten)]
        decision: DecisionArgs,
    },
    /// Give a dead letter up: its number is skipped, and later events of its project go on.
    Discard {
        /// Its id, or an unambiguous beginning of it.
        letter: String,
        #[command(flatten)]
        decision: DecisionArgs,
    },
}

/// Who decided, and why; both are recorded.
#[derive(clap::Args, Clone, Debug)]
struct DecisionArgs {
    /// Who decides; the user of this shell where it is not said.
    #[arg(long, env = "CTMS_ACTOR", value_name = "NAME", default_value_t = user_of_this_shell())]
    by: String,
    /// Why.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    why: String,
}

fn user_of_this_shell() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|user| !user.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Runs the command.
///
/// # Errors
/// The broker does not answer, no or more than one letter has the id, or a record was not acknowledged.
pub(crate) async fn run(args: DlqArgs) -> anyhow::Result<ExitCode> {
    let config = broker::client(&args.kafka)?;
    let letters = Letters::fold(read::dead_letter_records(&config, &args.kafka.kafka_topic).await?);
    match args.command {
        DlqCommand::List { all, group } => {
            let wanted = letters
                .iter()
                .filter(|letter| all || letter.state == State::Open)
                .filter(|letter| group.as_deref().is_none_or(|group| letter.letter.group == group));
            show::list(&wanted.collect::<Vec<_>>(), all, args.json)?;
        }
        DlqCommand::Show { letter } => show::one(letters.find(&letter)?, args.json)?,
        DlqCommand::Replay { letter, payload, decision } => {
            let letter = letters.find_open(&letter)?;
            decide::replay(&config, letter, payload.as_deref(), decision).await?;
            confirm("replay", letter, args.json)?;
        }
        DlqCommand::Discard { letter, decision } => {
            let letter = letters.find_open(&letter)?;
            decide::discard(&config, letter, decision).await?;
            confirm("discard", letter, args.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn confirm(what: &str, letter: &letters::FoldedLetter, json: bool) -> anyhow::Result<()> {
    let (id, group) = (&letter.letter.letter_id, &letter.letter.group);
    if json {
        output::json(&serde_json::json!({ "ok": true, "letter_id": id, "group": group, "sent": what }))?;
    } else {
        let text = format!("{what}: {id} is on its way to {group}; see what became of it: ctms dlq show {id}");
        output::line(&invocation::as_called(&text));
    }
    Ok(())
}
