//! Parked records whose turn has come: applied in order, a bounded number per transaction, each failure charged to the record that failed.
//! It must not know how they came to be parked.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kafka_worker_pool::{HandlerError, Record};

use super::{
    Inner,
    decision::Decision,
    effects::{EffectError, Effects},
    fold::{Done, Fold, GateError},
    incoming::{Incoming, StreamKey},
    pace::Bounds,
    parked, sink,
};
use crate::db::{DbErr, Tx};

const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Applies what is parked in these streams as far as it goes. Returns when nothing more can go on: at a gap or at a dead letter.
pub(super) async fn drain<E: Effects>(gate: &Arc<Inner<E>>, stream_id: &str) -> Result<(), HandlerError> {
    let mut limit = gate.options.drain_batch.max(1);
    let mut attempts = 0;
    loop {
        let (bounds, began) = (gate.bounds(), Instant::now());
        let outcome = gate.db.transaction({
            let (gate, stream_id) = (gate.clone(), stream_id.to_owned());
            move |tx| Box::pin(async move { once(tx, &gate, &stream_id, limit, bounds).await })
        });
        match outcome.await {
            Ok(drained) => {
                let goes_on = drained.cleared > 0 && !drained.done.drainable.is_empty();
                gate.tell(bounds, &drained.done);
                if !goes_on {
                    return Ok(());
                }
                limit = gate.options.drain_batch.max(1);
                attempts = 0;
            }
            Err(error) if error.is_environment() => {
                gate.failed(bounds, began, &error);
                return Err(super::handler_error(error));
            }
            // What stands before the culprit is applied first; then it stands alone.
            Err(GateError::Effect { index, .. }) if index > 0 => limit = u32::try_from(index).unwrap_or(1),
            Err(GateError::Effect { culprit, error, .. }) => {
                limit = 1;
                attempts += 1;
                settle(gate, &culprit, error, attempts).await?;
            }
            Err(error @ (GateError::Database(_) | GateError::Full(_))) => return Err(super::handler_error(error)),
        }
    }
}

/// Decides about a parked record that failed: wait and try again, or give it up. (An error of the environment goes to the pool, which waits;
/// the delivery that follows finds the record still parked.)
async fn settle<E: Effects>(
    gate: &Arc<Inner<E>>,
    culprit: &Incoming,
    error: EffectError,
    attempts: u32,
) -> Result<(), HandlerError> {
    let final_cause = match error {
        EffectError::Reject(cause) => Some(cause),
        other if attempts >= gate.options.max_attempts => Some(other.to_string()),
        EffectError::Retry(_) | EffectError::Database(_) => None,
    };
    if let Some(cause) = final_cause {
        let letter = sink::give_up(gate, &culprit.record, &cause, attempts).await;
        return letter.map_err(super::database_error);
    }
    tokio::time::sleep((gate.options.backoff * 2_u32.saturating_pow(attempts - 1)).min(MAX_BACKOFF)).await;
    Ok(())
}

struct Drained {
    done: Done,
    cleared: u64,
}

/// One transaction: the first parked records of the stream that can go on, each decided anew under the lock.
async fn once<E: Effects>(
    tx: &Tx,
    gate: &Inner<E>,
    stream_id: &str,
    limit: u32,
    bounds: Bounds,
) -> Result<Drained, GateError> {
    let started = Instant::now();
    let mut fold = Fold::begin(tx, &gate.options, &gate.effects, bounds, &[stream_id].into()).await?;
    let keys: Vec<StreamKey> = fold.streams.keys().cloned().collect();
    let mut cleared = 0;
    let mut taken = 0;
    for key in keys {
        let Some(epoch) = fold.streams.get(&key).drainable() else { continue };
        let mut range: Option<(i64, i64)> = None;
        let read = |(seq, record): (i64, Record)| {
            let unreadable = |malformed| DbErr::Custom(format!("a parked record does not read back: {malformed}"));
            Ok((seq, Incoming::of(&record).map_err(unreadable)?))
        };
        let first = parked::first(tx, &key, epoch, i64::from(limit)).await?;
        let (numbers, items): (Vec<i64>, Vec<Incoming>) = first.into_iter().map(read).collect::<Result<_, DbErr>>()?;
        fold.know(&items).await?;
        for (seq, item) in numbers.into_iter().zip(&items) {
            let is_late = taken > 0 && started.elapsed() >= bounds.budget;
            if is_late || matches!(fold.take(taken, item)?, Decision::Park) {
                break;
            }
            taken += 1;
            range = Some((range.map_or(seq, |(from, _)| from), seq));
            fold.apply_some(&items).await?;
        }
        fold.apply_rest(&items).await?;
        if let Some((from, to)) = range {
            let removed = parked::remove(tx, &key, epoch, from, to).await?;
            fold.streams.unpark(&key, epoch, removed, parked::lowest(tx, &key, epoch).await?);
            cleared += removed;
        }
        if taken > 0 {
            break;
        }
    }
    Ok(Drained { done: fold.finish().await?, cleared })
}
