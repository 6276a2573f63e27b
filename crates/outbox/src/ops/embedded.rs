//! The embedded broker forgets on exit: what its consumers have not applied is sent again, and they read from the beginning. Only for
//! whoever owns all the databases and starts the broker anew. No relay may work meanwhile: one that does is left alone, and the restart refused.

use std::collections::{BTreeMap, HashMap};

use crate::{
    db::{self, Database, DbErr, Tx},
    facts,
    relay::{Standstill, TakeoverError},
};

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

/// What the broker that takes over is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Forgets,
    Remembers,
}

/// Prepares the databases for a broker without a memory, and notes in the producer's that it has none. Safe to repeat, and to stop half-way.
///
/// # Errors
/// A relay works on one of the databases, or the database's.
pub async fn embedded_restart(producer: &Database, consumers: &[Database]) -> Result<EmbeddedRestart, TakeoverError> {
    restart(producer, consumers, Next::Forgets).await
}

/// Prepares the databases for a broker that remembers, if the one before it did not: what that one was told and a consumer has not applied
/// is nowhere but in the producer's outbox. None where nothing was to be done. Safe to repeat, and to stop half-way.
///
/// # Errors
/// A relay works on one of the databases that such a broker served, or the database's.
pub async fn leave_embedded(
    producer: &Database,
    consumers: &[Database],
) -> Result<Option<EmbeddedRestart>, TakeoverError> {
    if facts::get(producer.reader(), facts::BROKER_FORGETS).await?.is_none() {
        return Ok(None);
    }
    restart(producer, consumers, Next::Remembers).await.map(Some)
}

async fn restart(producer: &Database, consumers: &[Database], next: Next) -> Result<EmbeddedRestart, TakeoverError> {
    // By address: one database may play several parts.
    let mut still: BTreeMap<&str, Standstill> = BTreeMap::new();
    let done = async {
        for database in std::iter::once(producer).chain(consumers) {
            if !still.contains_key(database.shown()) {
                still.insert(database.shown(), Standstill::of(database).await?);
            }
        }
        let mut positions = Vec::with_capacity(consumers.len());
        let mut letters = 0;
        for consumer in consumers {
            positions.push(applied(consumer).await?);
            letters += still[consumer.shown()].transaction(|tx| Box::pin(forget_broker(tx))).await?;
        }
        let lowest = lowest_of(&positions);
        let taken_over =
            still[producer.shown()].transaction(move |tx| Box::pin(async move { take_over(tx, &lowest, next).await }));
        Ok(EmbeddedRestart { events: taken_over.await?, letters })
    }
    .await;
    for standstill in still.into_values() {
        standstill.end().await;
    }
    producer.wake_relay();
    done
}

/// The producer's part, in one transaction: whoever stops before it finds everything still to be done.
async fn take_over(tx: &Tx, lowest: &Lowest, next: Next) -> Result<u64, DbErr> {
    match next {
        Next::Forgets => facts::set(tx, facts::BROKER_FORGETS, "yes").await?,
        Next::Remembers => facts::clear(tx, facts::BROKER_FORGETS).await?,
    }
    send_again_above(tx, lowest).await
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
    let sql = "UPDATE outbox SET published_at = NULL WHERE published_at IS NOT NULL AND stream_id IN
                   (SELECT 'letter/' || letter_id FROM dead_letter WHERE state IN ('open', 'quarantined'))";
    db::exec(tx, sql, []).await
}

async fn send_again_above(tx: &Tx, lowest: &Lowest) -> Result<u64, DbErr> {
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
