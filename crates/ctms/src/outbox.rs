//! `ctms outbox`: sends events again, sets refused ones free, starts a new epoch. It needs the producer's database alone.

use std::process::ExitCode;

use ::outbox::{
    db::{self, Database},
    ops::{self, Republish},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::output::{self, age};

/// Flags of `ctms outbox`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct OutboxArgs {
    #[command(subcommand)]
    command: OutboxCommand,
    /// The database of the service that publishes, e.g. project-srv's.
    #[arg(
        long,
        global = true,
        env = "CTMS_DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite://.ctms/project/project.db",
        hide_env_values = true
    )]
    database: String,
    /// Print one JSON object on the last line of stdout.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum OutboxCommand {
    /// How many events wait to be published, and which the broker refused.
    Status,
    /// Publish events again. Consumers drop what they have applied; a gap is filled. The service must run for them to go.
    #[command(group(clap::ArgGroup::new("which").required(true)))]
    Republish {
        /// All events of this project.
        #[arg(long, value_name = "ID", group = "which")]
        project: Option<String>,
        /// All events accepted since then, e.g. 2026-01-31T00:00:00Z.
        #[arg(long, value_name = "TIME", group = "which", value_parser = parse_time)]
        since: Option<OffsetDateTime>,
        /// Only for this consumer group, by its retry topic: reaches it also where its partition stands still.
        #[arg(long, value_name = "GROUP", value_parser = clap::builder::PossibleValuesParser::new(contracts::topics::GROUPS))]
        group: Option<String>,
    },
    /// Set events free that the broker refused, after the cause is mended.
    Retry {
        /// Only those of this project.
        #[arg(long, value_name = "ID")]
        project: Option<String>,
    },
    /// After a restored backup: number every project's events anew, in a new epoch. Stop project-srv before.
    NewEpoch {
        /// Confirms that the database went back in time and that no project-srv runs on it.
        #[arg(long, required = true)]
        restored_from_backup: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// The database cannot be reached, or is not that of a service.
pub(crate) async fn run(args: OutboxArgs) -> anyhow::Result<ExitCode> {
    let database = crate::database::existing(&args.database).await?;
    let done = perform(&database, args.command, args.json).await.map_err(|error| match error.downcast::<db::DbErr>() {
        Ok(error) => anyhow::Error::new(error)
            .context(format!("{} did not take it; is it project-srv's database?", database.shown())),
        Err(error) => error,
    });
    database.close().await;
    done?;
    Ok(ExitCode::SUCCESS)
}

async fn perform(database: &Database, command: OutboxCommand, json: bool) -> anyhow::Result<()> {
    let (number, text) = match command {
        OutboxCommand::Status => return status(database, json).await,
        OutboxCommand::Republish { project, since, group } => {
            let which = match (project.clone(), since) {
                (Some(project), _) => Republish::Project(project),
                (None, Some(since)) => Republish::Since(since),
                (None, None) => anyhow::bail!("name the events: --project ID or --since TIME"),
            };
            let refill = ops::republish(database, which, group.as_deref()).await?;
            if let Some(project) = project.filter(|_| refill.events == 0) {
                anyhow::bail!(
                    "{} holds no event of {project:?}; check the id, and that this is the database of the service that wrote it",
                    database.shown()
                );
            }
            (refill.events, format!("{} events go out again as soon as the service runs", refill.events))
        }
        OutboxCommand::Retry { project } => {
            let freed = ops::retry_failed(database, project.as_deref()).await?;
            (freed, format!("{freed} refused events are free to go again"))
        }
        OutboxCommand::NewEpoch { .. } => {
            let (streams, epoch) = ops::new_epoch(database, "project").await?;
            (
                streams,
                format!(
                    "{streams} projects number their events anew in epoch {epoch}, and new ones begin in it; start project-srv now"
                ),
            )
        }
    };
    if json {
        output::json(&serde_json::json!({ "ok": true, "count": number }))?;
    } else {
        output::line(&text);
    }
    Ok(())
}

async fn status(database: &Database, json: bool) -> anyhow::Result<()> {
    let backlog = ops::unpublished(database).await?;
    let failed = ops::failed_rows(database).await?;
    let oldest = backlog.oldest.map(|oldest| db::now() - oldest);
    if json {
        return output::json(&serde_json::json!({
            "ok": failed.is_empty(),
            "pending": backlog.pending,
            "failed": backlog.failed,
            "oldest_s": oldest.map(time::Duration::as_seconds_f64),
        }));
    }
    output::line(&match oldest {
        Some(oldest) => format!("{} events wait to be published, the oldest for {}", backlog.pending, age(oldest)),
        None => "no event waits to be published".to_owned(),
    });
    for row in failed {
        output::line(&format!("refused: {} #{} of {}: {}", row.event_type, row.stream_seq, row.stream_id, row.cause));
    }
    Ok(())
}

fn parse_time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "write a time like 2026-01-31T00:00:00Z".to_owned())
}
