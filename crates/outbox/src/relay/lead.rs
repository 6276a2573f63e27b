//! The relay while it has the lease: read, send, wait for the acknowledgements, mark; and give up before the lease runs out. No transaction
//! is open while it sends.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    FIRST_BACKOFF, LAST_BACKOFF, RelayError,
    lease::Lease,
    options::RelayOptions,
    rows::{self, Pending},
    sender::{Refusal, Sender, refusal},
    status::{Shared, With},
};
use crate::db::Database;

/// Why a round of sending ended early.
#[derive(Debug)]
enum End {
    /// Another relay has the lease, or it runs out.
    Lost,
    /// We were told to stop and the grace is over, or nothing is in flight any more.
    Stopped,
    /// The producer must be rebuilt.
    Trouble(String),
}

/// The answers to one batch.
#[derive(Debug, Default)]
struct Answers {
    acknowledged: Vec<i64>,
    refused: Vec<(Pending, String)>,
    /// Why the broker refused rows that were not alone: it judges a batch as a whole, so that one may have cost the others.
    suspects: Option<String>,
    end: Option<End>,
}

/// What a row has become.
enum Mark {
    Published(Vec<i64>),
    Failed(i64, String),
}

struct Leader<'a> {
    db: &'a Database,
    options: &'a RelayOptions,
    shared: &'a Arc<Shared>,
    lease: Lease,
    stop: &'a CancellationToken,
    /// The rows of the next round: fewer after the broker refused several at once, until the culprit stands alone.
    limit: u32,
}

/// Sends until the lease is lost or `stop`; gives the lease up where it can.
pub(super) async fn lead(
    db: &Database,
    options: &RelayOptions,
    shared: &Arc<Shared>,
    lease: Lease,
    stop: &CancellationToken,
) -> Result<(), RelayError> {
    let mut leader = Leader { db, options, shared, lease, stop, limit: options.batch };
    let mut sender = Sender::new(options, shared)?;
    let mut backoff = FIRST_BACKOFF;
    let end = loop {
        match leader.round(&sender).await {
            Ok(()) => backoff = FIRST_BACKOFF,
            Err(End::Trouble(reason)) => {
                shared.trouble(With::Kafka, &reason);
                sender.discard().await;
                sender = Sender::new(options, shared)?;
                leader.pause(backoff).await;
                backoff = (backoff * 2).min(LAST_BACKOFF);
            }
            Err(end) => break end,
        }
    };
    sender.discard().await;
    match end {
        End::Stopped => leader.lease.release(db).await,
        End::Lost | End::Trouble(_) => tracing::warn!(database = db.shown(), "this relay lost its lease and stands by"),
    }
    Ok(())
}

impl Leader<'_> {
    /// One look at the outbox: send what is there and mark it, or wait for more.
    async fn round(&mut self, sender: &Sender) -> Result<(), End> {
        if self.stop.is_cancelled() {
            return Err(End::Stopped);
        }
        self.keep_lease().await?;
        let rows = match rows::pending(self.db, self.limit, self.options.batch_bytes).await {
            Ok(rows) => rows,
            Err(error) => {
                self.shared.trouble(With::Database, &error);
                self.pause(LAST_BACKOFF / 4).await;
                return Ok(());
            }
        };
        self.shared.well(With::Database);
        if rows.is_empty() {
            if self.shared.is_suspicious() {
                if sender.reaches_a_broker().await { self.shared.well(With::Kafka) } else { self.shared.confirm() }
            }
            self.pause(self.options.poll).await;
            return Ok(());
        }
        // A read may have taken long: what is sent must be sent under the lease.
        self.keep_lease().await?;
        let sent = rows.len();
        let answers = self.publish(sender, rows).await;
        let end = self.record(answers, sent).await;
        if end.is_ok() {
            self.limit = self.limit.saturating_mul(2).min(self.options.batch);
        }
        end
    }

    /// Waits to be woken, no longer than this and than the lease allows.
    async fn pause(&self, limit: Duration) {
        let until = (Instant::now() + limit).min(self.lease.renewal());
        tokio::select! {
            () = self.db.woken() => {}
            () = tokio::time::sleep_until(until) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn keep_lease(&mut self) -> Result<(), End> {
        if Instant::now() >= self.lease.renewal() && self.lease.is_safe() {
            match self.lease.renew(self.db).await {
                Ok(true) => {}
                Ok(false) => return Err(End::Lost),
                Err(error) => self.shared.trouble(With::Database, &error),
            }
        }
        if self.lease.is_safe() { Ok(()) } else { Err(End::Lost) }
    }

    /// Sends the rows and waits for the answers.
    async fn publish(&mut self, sender: &Sender, rows: Vec<Pending>) -> Answers {
        let mut answers = Answers::default();
        let mut in_flight = FuturesUnordered::new();
        let mut held: HashSet<String> = HashSet::new();
        for row in rows {
            if held.contains(&row.stream_id) {
                continue;
            }
            match sender.send(&row) {
                Ok(delivery) => in_flight.push(async move { (row, delivery.await) }),
                Err(Refusal::Permanent(cause)) => {
                    held.insert(row.stream_id.clone());
                    answers.refused.push((row, cause));
                }
                // The rest stays in the database and is read again.
                Err(Refusal::Full) => break,
                Err(Refusal::Trouble(reason)) => {
                    answers.end = Some(End::Trouble(reason));
                    break;
                }
            }
        }
        let sent = in_flight.len();
        let mut grace: Option<Instant> = None;
        while !in_flight.is_empty() {
            let wake = grace.map_or(self.lease.renewal(), |grace| grace.min(self.lease.renewal()));
            tokio::select! {
                Some((row, delivery)) = in_flight.next() => answers.take(row, delivery, sent == 1),
                () = tokio::time::sleep_until(wake) => self.shared.confirm(),
                () = self.stop.cancelled(), if grace.is_none() => grace = Some(Instant::now() + self.options.grace),
            }
            if answers.end.is_some() {
                break;
            }
            if let Err(end) = self.keep_lease().await {
                answers.end = Some(end);
                break;
            }
            if grace.is_some_and(|grace| Instant::now() >= grace) {
                tracing::warn!(
                    rows = in_flight.len(),
                    "no acknowledgement within the grace; the rows are sent again by the next relay"
                );
                answers.end = Some(End::Stopped);
                break;
            }
            if Instant::now() >= self.lease.renewal() {
                // The database does not answer: do not spin on the renewal.
                tokio::time::sleep(FIRST_BACKOFF).await;
            }
        }
        answers
    }

    /// Marks what was answered, then ends the round as it has to end.
    async fn record(&mut self, answers: Answers, sent: usize) -> Result<(), End> {
        let Answers { acknowledged, refused, suspects, mut end } = answers;
        if let Some(cause) = suspects {
            self.limit = u32::try_from(sent / 2).unwrap_or(self.options.batch).max(1);
            end.get_or_insert(End::Trouble(format!("{cause}; the rows are sent again, fewer at once")));
        }
        for (row, cause) in refused {
            self.shared.failed();
            tracing::error!(
                event_id = row.event_id,
                stream_id = row.stream_id,
                topic = row.topic,
                cause,
                "the broker refuses this event for good and its stream waits; mend the cause, then `ctms outbox retry`"
            );
            self.until_written(&Mark::Failed(row.id, cause)).await?;
        }
        if !acknowledged.is_empty() {
            let rows = acknowledged.len();
            self.until_written(&Mark::Published(acknowledged)).await?;
            self.shared.published(rows);
            self.shared.well(With::Kafka);
        }
        end.map_or(Ok(()), Err)
    }

    /// Repeats a write while the database is away and we hold the lease: it is cheaper than sending again.
    async fn until_written(&mut self, mark: &Mark) -> Result<(), End> {
        loop {
            let written = match mark {
                Mark::Published(ids) => rows::mark_published(self.db, &self.lease, ids).await,
                Mark::Failed(id, cause) => rows::mark_failed(self.db, &self.lease, *id, cause).await,
            };
            match written {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(End::Lost),
                Err(error) => self.shared.trouble(With::Database, &error),
            }
            self.keep_lease().await?;
            tokio::time::sleep(FIRST_BACKOFF).await;
        }
    }
}

impl Answers {
    fn take(&mut self, row: Pending, delivery: <rdkafka::producer::DeliveryFuture as Future>::Output, is_alone: bool) {
        match delivery {
            Ok(Ok(_)) => self.acknowledged.push(row.id),
            Ok(Err((error, _))) => match refusal(&error) {
                Refusal::Permanent(cause) if is_alone => self.refused.push((row, cause)),
                Refusal::Permanent(cause) => self.suspects = Some(cause),
                Refusal::Full => self.end = Some(End::Trouble(error.to_string())),
                Refusal::Trouble(reason) => self.end = Some(End::Trouble(reason)),
            },
            Err(_) => self.end = Some(End::Trouble("the producer ended with records in flight".to_owned())),
        }
    }
}
