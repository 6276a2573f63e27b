//! `ctms dlq`: what the services could not handle, and what to do about it. It needs the broker alone.

mod bulk;
mod decide;
mod letters;
mod read;
mod select;
mod show;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use service_kit::config::KafkaArgs;

use crate::{broker, courier::Courier, decision::DecisionArgs, invocation, output};

use bulk::Verdict;
use letters::{Letters, State};
use select::Selection;

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
    /// Send a dead letter to its group again, or all that match. Later events of its project wait for it.
    Replay {
        #[command(flatten)]
        selection: Selection,
        /// Send this file's bytes instead of the recorded payload.
        #[arg(long, value_name = "FILE", requires = "letter")]
        payload: Option<PathBuf>,
        #[command(flatten)]
        decision: DecisionArgs,
    },
    /// Give a dead letter up, or all that match: its number is skipped, and later events of its project go on.
    Discard {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        decision: DecisionArgs,
    },
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
        DlqCommand::Replay { selection, payload, decision } => {
            let courier = Courier::new(&config)?;
            let Some(id) = selection.letter() else {
                bulk::run(&courier, &letters, &selection, Verdict::Replay, &decision, args.json).await?;
                return Ok(ExitCode::SUCCESS);
            };
            let letter = letters.find_open(id)?;
            let payload = payload.as_deref().map(payload_of).transpose()?;
            decide::replay(&courier, letter, payload.as_deref(), &decision).await?;
            confirm("replay", letter, args.json)?;
        }
        DlqCommand::Discard { selection, decision } => {
            let courier = Courier::new(&config)?;
            let Some(id) = selection.letter() else {
                bulk::run(&courier, &letters, &selection, Verdict::Discard, &decision, args.json).await?;
                return Ok(ExitCode::SUCCESS);
            };
            let letter = letters.find_open(id)?;
            decide::discard(&courier, letter, &decision).await?;
            confirm("discard", letter, args.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn payload_of(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the payload {}", path.display()))
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
