//! The embedded broker forgets on exit: what its consumers have not applied is sent again, and they read from the beginning. Only for
//! whoever owns all the databases and starts the broker anew; nothing of these services may run meanwhile.

use std::collections::HashMap;

use crate::db::{self, Database, DbErr, Tx};

/// What [`embedded_restart`] set to be sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbeddedRestart {
    /// Events that not every consumer has applied.
    pub events: u64,
    /// Letters, and what was published about them, that wait for a decision.
    pub letters: u64,
}

/// The lowest number that every consumer has applied, by stream and epoch.
type Lowest = HashMap<(String, i64), i64>;

/// Prepares the databases for a broker without a memory. Safe to repeat, and to stop half-way.
///
/// # Errors
/// The database's.
pub async fn embedded_restart(producer: &Database, consumers: &[Database]) -> Result<EmbeddedRestart, DbErr> {
    let mut positions = Vec::with_capacity(consumers.len());
    let mut letters = 0;
    for consumer in consumers {
        positions.push(applied(consumer).await?);
        letters += consumer.transaction(|tx| Box::pin(forget_broker(tx))).await?;
    }
    let lowest = lowest_of(&positions);
    let events = producer.transaction(move |tx| Box::pin(async move { send_again_above(tx, &lowest).await })).await?;
    producer.wake_relay();
    Ok(EmbeddedRestart { events, letters })
}

/// Whether all positions of this consumer were reached on a broker without a memory: what that broker was told and the consumer has not
/// applied is nowhere but in the producer's outbox, also when another broker takes its place.
///
/// # Errors
/// The database's.
pub async fn read_only_embedded(consumer: &Database) -> Result<bool, DbErr> {
    let sql = "SELECT 1 FROM kafka_pos WHERE cluster_id IS NOT NULL LIMIT 1";
    Ok(db::query_one(consumer.reader(), sql, []).await?.is_none())
}

/// What one consumer has applied. Of several sources of a stream the lowest counts: sending too much again is harmless.
async fn applied(consumer: &Database) -> Result<Lowest, DbErr> {
    let sql = "SELECT stream_id, stream_epoch, min(applied_seq) AS applied FROM stream_pos WHERE source <> '' GROUP BY stream_id, stream_epoch";
    let rows = db::query_all(consumer.reader(), sql, []).await?;
    rows.iter()
        .map(|row| Ok(((row.try_get("", "stream_id")?, row.try_get("", "stream_epoch")?), row.try_get("", "applied")?)))
        .collect()
}

/// A stream that one consumer has not seen is not in the result: it counts as 0.
fn lowest_of(consumers: &[Lowest]) -> Lowest {
    let Some((first, others)) = consumers.split_first() else { return Lowest::new() };
    let of_all = |(stream, applied): (&(String, i64), &i64)| {
        let lowest =
            others.iter().try_fold(*applied, |lowest, other| other.get(stream).map(|applied| lowest.min(*applied)))?;
        Some((stream.clone(), lowest))
    };
    first.iter().filter_map(of_all).collect()
}

async fn forget_broker(tx: &Tx) -> Result<u64, DbErr> {
    db::exec(tx, "DELETE FROM kafka_pos", []).await?;
    db::exec(tx, "DELETE FROM relay_lease", []).await?;
    let sql = "UPDATE outbox SET published_at = NULL WHERE published_at IS NOT NULL AND stream_id IN
                   (SELECT 'letter/' || letter_id FROM dead_letter WHERE state IN ('open', 'quarantined'))";
    db::exec(tx, sql, []).await
}

async fn send_again_above(tx: &Tx, lowest: &Lowest) -> Result<u64, DbErr> {
    db::exec(tx, "DELETE FROM relay_lease", []).await?;
    let sql = "SELECT stream_id, stream_epoch, max(stream_seq) AS published FROM outbox
               WHERE published_at IS NOT NULL AND stream_id NOT LIKE '%/%' GROUP BY stream_id, stream_epoch";
    let mut events = 0;
    for row in db::query_all(tx, sql, []).await? {
        let stream: (String, i64) = (row.try_get("", "stream_id")?, row.try_get("", "stream_epoch")?);
        let applied = lowest.get(&stream).copied().unwrap_or(0);
        if applied < row.try_get("", "published")? {
            let sql = "UPDATE outbox SET published_at = NULL
                       WHERE published_at IS NOT NULL AND stream_id = $1 AND stream_epoch = $2 AND stream_seq > $3";
            events += db::exec(tx, sql, [stream.0.into(), stream.1.into(), applied.into()]).await?;
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(streams: &[(&str, i64)]) -> Lowest {
        streams.iter().map(|(stream, applied)| (((*stream).to_owned(), 0), *applied)).collect()
    }

    #[test]
    fn the_slowest_consumer_decides_and_an_unseen_stream_counts_as_nothing() {
        let lowest = lowest_of(&[positions(&[("a", 5), ("b", 2)]), positions(&[("a", 3)])]);
        assert_eq!(lowest, positions(&[("a", 3)]));
        assert_eq!(lowest_of(&[]), Lowest::new());
    }
}
