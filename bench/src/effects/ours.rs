//! Arm: the service's release binary on a topic that is full before it starts.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use outbox::db::{self, Database};
use testkit::{Child, free_port};
use time::OffsetDateTime;

use super::{
    events::{self, Event},
    prepare::Place,
    service::Reacting,
};

/// Between two looks at how far the service is.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// A service that makes no progress for this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the service did.
pub(super) struct Applied {
    /// From the first to the last transaction.
    pub(super) events_per_s: f64,
    /// What each transaction applied, in the order of their ends.
    pub(super) batches: Vec<Vec<Event>>,
}

/// Runs the service until every event is applied.
pub(super) async fn apply(
    service: Reacting,
    place: &Place<'_>,
    brokers: &str,
    topic: &str,
    events: u32,
) -> Result<Applied> {
    let url = place.prepared(service, events).await?;
    let mut command = Command::new(beside(service.name())?);
    command
        .arg(format!("--grpc-listen=127.0.0.1:{}", free_port()))
        .arg(format!("--admin-listen=127.0.0.1:{}", free_port()))
        .arg(format!("--database-url={url}"))
        .arg(format!("--kafka-brokers={brokers}"))
        .arg(format!("--kafka-topic={topic}"))
        .arg("--log-level=warn");
    let log = place.folder.join(format!("{}.log", service.name()));
    let mut child = Child::spawn(command, &log)?;
    let database = Database::connect(&url, &db::Options::default()).await?;
    let expected = i64::from(events / events::OF_A_STUDY * events::OF_A_STUDY);
    let finished = until_applied(&database, expected).await;
    child.kill()?;
    finished.with_context(|| format!("its log is {}", log.display()))?;
    let applied = reading(&database, expected).await;
    database.close().await;
    applied
}

/// A program that was built with this one.
fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program has no path")?;
    let path = own.with_file_name(name);
    anyhow::ensure!(path.exists(), "{} is not built; `cargo xtask bench effects` builds it", path.display());
    Ok(path)
}

/// The positions tell it with little work for the database: they follow what is applied.
async fn until_applied(database: &Database, expected: i64) -> Result<()> {
    let sql = "SELECT CAST(coalesce(sum(next_offset), 0) AS bigint) AS applied FROM kafka_pos";
    let (mut last, mut moved_at) = (0, Instant::now());
    loop {
        let row = db::query_one(database.reader(), sql, []).await?;
        let applied: i64 = row.context("a sum is one row")?.try_get("", "applied")?;
        if applied >= expected {
            return Ok(());
        }
        if applied != last {
            (last, moved_at) = (applied, Instant::now());
        }
        if moved_at.elapsed() > PATIENCE {
            bail!("{applied} of {expected} events were applied, and nothing more for {PATIENCE:?}");
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

async fn reading(database: &Database, expected: i64) -> Result<Applied> {
    // Each transaction writes its own instant to all it applied.
    let sql = "SELECT stream_id, stream_seq, applied_at FROM applied ORDER BY applied_at, stream_id, stream_seq";
    let rows = db::query_all(database.reader(), sql, []).await?;
    let events = i64::try_from(rows.len()).context("a count is no larger than that")?;
    anyhow::ensure!(events == expected, "{events} events were applied, {expected} were loaded");
    let (mut batches, mut instants): (Vec<Vec<Event>>, Vec<OffsetDateTime>) = (Vec::new(), Vec::new());
    for row in rows {
        let (id, seq): (String, i64) = (row.try_get("", "stream_id")?, row.try_get("", "stream_seq")?);
        let study = events::study_number(&id).with_context(|| format!("{id:?} is no study of ours"))?;
        let at: OffsetDateTime = row.try_get("", "applied_at")?;
        if instants.last() != Some(&at) {
            instants.push(at);
            batches.push(Vec::new());
        }
        let event = Event { study, seq: u32::try_from(seq).context("a number of an event")? };
        batches.last_mut().context("there is a batch")?.push(event);
    }
    let (first, last) = instants.first().zip(instants.last()).context("nothing was applied")?;
    let seconds = (*last - *first).as_seconds_f64();
    anyhow::ensure!(seconds > 0.0, "all was applied at once: take more --events");
    Ok(Applied { events_per_s: events as f64 / seconds, batches })
}
