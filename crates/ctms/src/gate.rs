//! `ctms gate`: what a consumer's gate waits for, and how to go on without an event that exists nowhere any more.

use std::{process::ExitCode, time::Duration};

use ::outbox::{
    db::{self, Database},
    ops::{self, Gap},
};
use anyhow::Context as _;
use contracts::{
    control::{Decision, stream_letter_id},
    envelope::{CE_PARTITIONKEY, CE_SEQUENCE, CE_SOURCE, CE_STREAMEPOCH, CE_SUBJECT},
    topics::{GROUPS, retry_topic},
};
use service_kit::config::KafkaArgs;
use tokio::time::Instant;

use crate::{
    broker,
    courier::{Courier, Parcel},
    decision::DecisionArgs,
    invocation,
    output::{self, age},
};

/// How long the group may take to carry the decision out.
const CARRIED_OUT_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Flags of `ctms gate`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct GateArgs {
    #[command(subcommand)]
    command: GateCommand,
    #[command(flatten)]
    kafka: KafkaArgs,
    /// The database of the consumer, e.g. <sqlite://.ctms/epro/epro.db>.
    #[arg(long, env = "CTMS_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
    /// Print one JSON object on the last line of stdout.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum GateCommand {
    /// The streams that wait for a number, ten at most, the longest first.
    Gaps,
    /// Give up the number that a project waits for: its event has no effect in this service, now or ever. Only for an event that exists
    /// nowhere any more; one that the outbox holds comes with `ctms outbox republish`.
    Skip {
        /// The project.
        #[arg(long, value_name = "ID")]
        project: String,
        /// The number that is missing, as `ctms gate gaps` shows it.
        #[arg(long, value_name = "N")]
        number: i64,
        /// The consumer's group.
        #[arg(long, value_name = "GROUP", value_parser = clap::builder::PossibleValuesParser::new(GROUPS))]
        group: String,
        /// The database of project-srv, which is asked for the event first.
        #[arg(long, value_name = "URL", default_value = "sqlite://.ctms/project/project.db")]
        producer: String,
        /// The database of project-srv is lost too: do not ask it.
        #[arg(long, conflicts_with = "producer")]
        producer_is_lost: bool,
        /// Confirms that the event may be lost to this service for good.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        decision: DecisionArgs,
    },
}

/// Runs the command.
///
/// # Errors
/// The database or the broker cannot be reached, the number is not missing, its event exists, or it was not confirmed.
pub(crate) async fn run(args: GateArgs) -> anyhow::Result<ExitCode> {
    let url = args.database.as_deref().context("name the consumer's database with --database URL")?;
    let database = crate::database::existing(url).await?;
    let done = perform(&database, &args).await;
    database.close().await;
    done
}

async fn perform(database: &Database, args: &GateArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        GateCommand::Gaps => gaps(database, args.json).await?,
        GateCommand::Skip { project, number, group, producer, producer_is_lost, yes, decision } => {
            let gap = missing(database, project, *number).await?;
            if !producer_is_lost {
                refuse_if_it_exists(producer, group, &gap).await?;
            }
            anyhow::ensure!(
                *yes,
                "giving up number {} of {project} is for good: {group} never applies that event, also if it turns up later, and goes on with the {} events behind it; confirm with --yes",
                gap.missing,
                gap.parked
            );
            send(args, group, &gap, decision).await?;
            let carried_out = carried_out(database, &gap).await?;
            tell(args.json, group, &gap, carried_out)?;
            if !carried_out {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn gaps(database: &Database, json: bool) -> anyhow::Result<()> {
    let gaps = ops::gaps(database, Duration::ZERO).await?;
    if json {
        let shown = |gap: &Gap| {
            serde_json::json!({
                "project": gap.stream_id,
                "number": gap.missing,
                "epoch": gap.stream_epoch,
                "parked": gap.parked,
                "since_s": (db::now() - gap.since).whole_seconds(),
            })
        };
        return output::json(&serde_json::json!({ "gaps": gaps.iter().map(shown).collect::<Vec<_>>() }));
    }
    if gaps.is_empty() {
        output::line("no project waits for a number");
    }
    for gap in gaps {
        let waits = age(db::now() - gap.since);
        output::line(&format!(
            "{} waits for number {} for {waits}; {} events are parked behind it",
            gap.stream_id, gap.missing, gap.parked
        ));
    }
    Ok(())
}

async fn missing(database: &Database, project: &str, number: i64) -> anyhow::Result<Gap> {
    let gaps = ops::gaps_of(database, project).await?;
    let waits_for: Vec<String> = gaps.iter().map(|gap| gap.missing.to_string()).collect();
    gaps.into_iter().find(|gap| gap.missing == number).ok_or_else(|| {
        if waits_for.is_empty() {
            anyhow::anyhow!("project {project:?} waits for no number in {}; see `ctms gate gaps`", database.shown())
        } else {
            anyhow::anyhow!("project {project:?} waits for number {}, not for {number}", waits_for.join(" and "))
        }
    })
}

async fn refuse_if_it_exists(producer: &str, group: &str, gap: &Gap) -> anyhow::Result<()> {
    let outbox = crate::database::existing(producer)
        .await
        .map_err(|error| error.context("the outbox must be asked for the event first: name it with --producer URL"))?;
    let held = ops::holds_event(&outbox, &gap.stream_id, gap.stream_epoch, gap.missing).await;
    outbox.close().await;
    anyhow::ensure!(
        !held?,
        "number {} of {} is not lost: `ctms outbox republish --project {} --group {group} --database {producer}` brings it",
        gap.missing,
        gap.stream_id,
        gap.stream_id
    );
    Ok(())
}

async fn send(args: &GateArgs, group: &str, gap: &Gap, decision: &DecisionArgs) -> anyhow::Result<()> {
    let letter_id = stream_letter_id(group, &gap.source, &gap.stream_id, gap.stream_epoch, gap.missing);
    let decision = Decision { letter_id, by: decision.by.clone(), why: decision.why.clone() };
    let headers: Vec<(String, Vec<u8>)> = [
        (CE_SOURCE, gap.source.clone()),
        (CE_SUBJECT, gap.stream_id.clone()),
        (CE_SEQUENCE, gap.missing.to_string()),
        (CE_STREAMEPOCH, gap.stream_epoch.to_string()),
        (CE_PARTITIONKEY, gap.stream_id.clone()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.into_bytes()))
    .collect();
    let parcel = Parcel {
        topic: &retry_topic(&args.kafka.kafka_topic, group),
        key: Some(gap.stream_id.as_bytes()),
        headers: &headers,
        decision: &decision.gap_headers(),
        payload: None,
    };
    Courier::new(&broker::client(&args.kafka)?)?.send(parcel).await
}

/// Waits until the project waits for that number no longer.
async fn carried_out(database: &Database, gap: &Gap) -> anyhow::Result<bool> {
    let deadline = Instant::now() + CARRIED_OUT_WITHIN;
    loop {
        let gaps = ops::gaps_of(database, &gap.stream_id).await?;
        let waits = gaps
            .iter()
            .any(|now| (&now.source, now.stream_epoch, now.missing) == (&gap.source, gap.stream_epoch, gap.missing));
        if !waits || Instant::now() >= deadline {
            return Ok(!waits);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn tell(json: bool, group: &str, gap: &Gap, carried_out: bool) -> anyhow::Result<()> {
    if json {
        return output::json(
            &serde_json::json!({ "ok": carried_out, "project": gap.stream_id, "number": gap.missing, "group": group }),
        );
    }
    output::line(&invocation::as_called(&if carried_out {
        format!(
            "number {} of {} is given up for {group}; who and why is recorded: ctms dlq list --all",
            gap.missing, gap.stream_id
        )
    } else {
        format!(
            "the decision is on its way, but {group} has not taken it within {CARRIED_OUT_WITHIN:?}; see its /readyz"
        )
    }));
    Ok(())
}
