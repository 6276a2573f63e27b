//! What goes on beside events and calls: the rest of a large study is generated, windows close, and old answers to request ids are forgotten. Several instances may do it at once.

use std::time::Duration;

use contracts::ids::ProjectId;
use outbox::db::{self, Database, DbErr};
use time::Date;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::domain::push::Channel;
use crate::generation;
use crate::store::{assignment, campaign, notification};

/// Studies looked after in one round.
const STUDIES_AT_ONCE: i64 = 100;

/// Generates what starts and schedules of large studies left to do, looking every `every` until `stop`.
///
/// # Errors
/// None: what cannot be done now is done in the next round.
pub(crate) async fn generate_rest(
    db: Database,
    channel: Channel,
    every: Duration,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut rounds = rounds(every);
    while stop.run_until_cancelled(rounds.tick()).await.is_some() {
        if let Some(Err(error)) = stop.run_until_cancelled(generate_what_is_left(&db, channel)).await {
            tracing::warn!(%error, "assignments of a large study could not be generated");
        }
    }
    Ok(())
}

/// Generates until nothing is left; returns how many assignments.
///
/// # Errors
/// The database's.
pub(crate) async fn generate_what_is_left(db: &Database, channel: Channel) -> Result<i64, DbErr> {
    let mut created = 0;
    loop {
        let studies = campaign::to_generate(db.reader(), STUDIES_AT_ONCE).await?;
        if studies.is_empty() {
            return Ok(created);
        }
        for study in studies {
            created +=
                db.transaction(move |tx| Box::pin(async move { generation::go_on(tx, &study, channel).await })).await?;
        }
    }
}

/// Closes windows every `every` until `stop`.
///
/// # Errors
/// None: what cannot be done now is done in the next round.
pub(crate) async fn close_windows(db: Database, every: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    let mut rounds = rounds(every);
    while stop.run_until_cancelled(rounds.tick()).await.is_some() {
        // What a round has committed stays, so it may be cut off between two of its transactions.
        match stop.run_until_cancelled(miss_what_closed(&db, db::now().date())).await {
            None | Some(Ok(0)) => {}
            Some(Ok(missed)) => tracing::info!(missed, "windows closed without an answer"),
            Some(Err(error)) => tracing::warn!(%error, "assignments whose window closed could not be marked"),
        }
    }
    Ok(())
}

fn rounds(every: Duration) -> Interval {
    let mut rounds = tokio::time::interval(every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}

/// Marks assignments whose window closed before `today` as missed; returns how many.
///
/// # Errors
/// The database's.
pub(crate) async fn miss_what_closed(db: &Database, today: Date) -> Result<u64, DbErr> {
    let mut missed = 0;
    loop {
        let studies = assignment::studies_to_close(db.reader(), today, STUDIES_AT_ONCE).await?;
        if studies.is_empty() {
            return Ok(missed);
        }
        for study in studies {
            missed += miss_of(db, study, today).await?;
        }
    }
}

async fn miss_of(db: &Database, study: ProjectId, today: Date) -> Result<u64, DbErr> {
    db.transaction(move |tx| {
        Box::pin(async move {
            // The lock of the study comes first everywhere.
            campaign::lock(tx, &study, db::now()).await?;
            let missed = assignment::miss_closed(tx, &study, today).await?;
            notification::cancel_needless(tx, &study).await?;
            Ok::<u64, DbErr>(missed)
        })
    })
    .await
}
