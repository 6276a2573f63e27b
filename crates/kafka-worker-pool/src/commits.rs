//! Positions on their way out: to the `PositionStore` first, if there is one, then to librdkafka, which commits them to Kafka. Owned by the
//! data thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use worker_pool::{Backoff, mix};

use crate::handler::BoxError;
use crate::options::Options;
use crate::partition::{Partition, Tenure};
use crate::partitions::Partitions;
use crate::positions::PositionStore;
use crate::record::TopicPartition;
use crate::source::{Position, Source};

/// How long one save may take before it counts as failed.
pub(crate) const SAVE_TIMEOUT: Duration = Duration::from_secs(5);

type Loaded = Result<Vec<(TopicPartition, Option<i64>)>, BoxError>;

/// The pause after a save that failed, also in a drain, which asks without pause.
const SAVE_BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), max: Duration::from_secs(1) };

/// A [`PositionStore`] of any type.
pub(crate) trait AnyStore: Send + Sync {
    fn load_all<'a>(&'a self, partitions: &'a [TopicPartition]) -> Pin<Box<dyn Future<Output = Loaded> + Send + 'a>>;
    fn save_all<'a>(
        &'a self,
        positions: &'a [(TopicPartition, i64)],
    ) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>>;
}

impl<S: PositionStore> AnyStore for S {
    fn load_all<'a>(&'a self, partitions: &'a [TopicPartition]) -> Pin<Box<dyn Future<Output = Loaded> + Send + 'a>> {
        Box::pin(self.load(partitions))
    }

    fn save_all<'a>(
        &'a self,
        positions: &'a [(TopicPartition, i64)],
    ) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>> {
        Box::pin(self.save(positions))
    }
}

/// A position of one assignment.
#[derive(Debug, Clone, Copy)]
struct Mark {
    slot: u32,
    generation: u32,
    position: i64,
}

struct Saving {
    marks: Vec<Mark>,
    answer: Receiver<Result<(), String>>,
}

pub(crate) struct Commits {
    store: Option<Arc<dyn AnyStore>>,
    runtime: Handle,
    save_interval: Duration,
    commit_interval: Duration,
    last_note: Instant,
    saving: Option<Saving>,
    last_save: Instant,
    /// Saves that failed in a row, and when the next may be tried.
    failures: u32,
    not_before: Instant,
    stored_ok: metrics::Counter,
    stored_failed: metrics::Counter,
}

impl Commits {
    pub(crate) fn new(store: Option<Arc<dyn AnyStore>>, runtime: Handle, options: &Options, group: &str) -> Self {
        let count = |result: &'static str| metrics::counter!("kafka_worker_pool_stored_offsets_total", "pool" => group.to_owned(), "result" => result);
        Self {
            store,
            runtime,
            save_interval: options.save_interval,
            commit_interval: Duration::from_millis(u64::from(options.commit_interval_ms)),
            last_note: Instant::now(),
            saving: None,
            last_save: Instant::now(),
            failures: 0,
            not_before: Instant::now(),
            stored_ok: count("ok"),
            stored_failed: count("error"),
        }
    }

    /// The position Kafka may know: what the store has, or without a store what is done.
    fn storable(&self, partition: &Partition) -> Option<i64> {
        match self.store {
            Some(_) => partition.saved,
            None => partition.position(),
        }
    }

    /// True when a save is under way, or these slots have positions the store does not have yet.
    pub(crate) fn is_behind(&self, partitions: &Partitions, slots: &[u32]) -> bool {
        self.store.is_some()
            && (self.saving.is_some()
                || slots.iter().any(|&slot| {
                    let partition = partitions.get(slot);
                    partition.tenure != Tenure::Gone && partition.ledger.watermark() != partition.saved
                }))
    }

    /// Takes the answer of a save, and starts the next when it is time, or at once if `hurry`; after one that failed not before its
    /// pause. An error is returned for the status.
    pub(crate) fn save(&mut self, partitions: &mut Partitions, hurry: bool) -> Option<Result<(), String>> {
        let store = self.store.as_ref()?;
        if let Some(saving) = &self.saving {
            let answer = match saving.answer.try_recv() {
                Ok(answer) => answer,
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => {
                    Err("the position store panicked, or the tokio runtime has ended".to_owned())
                }
            };
            let marks = self.saving.take().map(|saving| saving.marks).unwrap_or_default();
            if answer.is_ok() {
                self.failures = 0;
                for mark in marks {
                    let partition = partitions.get_mut(mark.slot);
                    if partition.generation == mark.generation {
                        partition.saved = Some(mark.position);
                    }
                }
            } else {
                self.failures = self.failures.saturating_add(1);
                let random = mix(u64::from(self.failures) ^ u64::from(std::process::id()));
                self.not_before = Instant::now() + SAVE_BACKOFF.wait(self.failures, random);
            }
            return Some(answer);
        }
        if (!hurry && self.last_save.elapsed() < self.save_interval) || Instant::now() < self.not_before {
            return None;
        }
        self.last_save = Instant::now();
        let marks: Vec<Mark> = partitions
            .live()
            .filter(|(_, partition)| partition.ledger.watermark() != partition.saved)
            .filter_map(|(slot, partition)| {
                Some(Mark { slot, generation: partition.generation, position: partition.ledger.watermark()? })
            })
            .collect();
        if marks.is_empty() {
            return None;
        }
        let positions: Vec<_> =
            marks.iter().map(|mark| (partitions.get(mark.slot).name.clone(), mark.position)).collect();
        let (sender, answer) = sync_channel(1);
        let store = Arc::clone(store);
        self.runtime.spawn(async move {
            let saved = tokio::time::timeout(SAVE_TIMEOUT, store.save_all(&positions)).await;
            let saved = match saved {
                Ok(saved) => saved.map_err(|error| error.to_string()),
                Err(_) => Err(format!("saving positions took longer than {SAVE_TIMEOUT:?}")),
            };
            // The data thread may have ended at its deadline; the positions are lower bounds all the same.
            sender.send(saved).ok();
        });
        self.saving = Some(Saving { marks, answer });
        None
    }

    /// Gives the client what may be committed and has moved, and beside it, in so many bytes, what is done above.
    pub(crate) fn store(&self, source: &impl Source, partitions: &mut Partitions, bytes_max: usize) {
        let mut moved = Vec::new();
        for (slot, partition) in partitions.live() {
            let Some(offset) = self.storable(partition) else {
                continue;
            };
            let is_too_large = bytes_max == 0 && partition.noted.is_some();
            if partition.stored != Some(offset) || is_too_large {
                let metadata = partition.note(bytes_max);
                moved.push((slot, Position { name: partition.name.clone(), offset, metadata }));
            }
        }
        self.give(source, partitions, moved);
    }

    /// Commits what is done above positions that stand still: the client by itself commits only those that move. Every commit interval, or
    /// at once if `hurry`; `again` also what was given before.
    pub(crate) fn note(
        &mut self,
        source: &impl Source,
        partitions: &mut Partitions,
        bytes_max: usize,
        hurry: bool,
        again: impl FnOnce() -> bool,
    ) {
        if !hurry && self.last_note.elapsed() < self.commit_interval {
            return;
        }
        self.last_note = Instant::now();
        let again = again();
        let mut notes = Vec::new();
        for (slot, partition) in partitions.live() {
            let Some(offset) = partition.stored.filter(|stored| Some(*stored) == partition.position()) else {
                continue;
            };
            let Some(metadata) = partition.note(bytes_max) else {
                continue;
            };
            if again || partition.noted.as_ref() != Some(&metadata) {
                notes.push((slot, Position { name: partition.name.clone(), offset, metadata: Some(metadata) }));
            }
        }
        if notes.is_empty() {
            return;
        }
        let positions: Vec<Position> = notes.iter().map(|(_, position)| position.clone()).collect();
        self.give(source, partitions, notes);
        if let Err(error) = source.commit(&positions) {
            tracing::debug!(error, "what is done above positions was not committed");
        }
    }

    fn give(&self, source: &impl Source, partitions: &mut Partitions, given: Vec<(u32, Position)>) {
        if given.is_empty() {
            return;
        }
        let (slots, positions): (Vec<u32>, Vec<Position>) = given.into_iter().unzip();
        let answers = source.store(&positions);
        for ((slot, position), answer) in slots.into_iter().zip(positions).zip(answers) {
            let name = &position.name;
            match answer {
                Ok(()) => {
                    let partition = partitions.get_mut(slot);
                    partition.stored = Some(position.offset);
                    partition.noted = position.metadata;
                    self.stored_ok.increment(1);
                }
                Err(error) => {
                    self.stored_failed.increment(1);
                    if error.is_benign {
                        tracing::debug!(partition = %name, %error, "position not stored");
                    } else {
                        tracing::warn!(partition = %name, %error, "position not stored");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::shared::Begin;

    /// A store that is away for its first `failures` saves.
    #[derive(Clone)]
    struct Away {
        failures: u32,
        saves: Arc<AtomicU32>,
    }

    impl PositionStore for Away {
        async fn load(&self, _partitions: &[TopicPartition]) -> Loaded {
            Ok(Vec::new())
        }

        async fn save(&self, _positions: &[(TopicPartition, i64)]) -> Result<(), BoxError> {
            match self.saves.fetch_add(1, Ordering::Relaxed) < self.failures {
                true => Err("the database is away".into()),
                false => Ok(()),
            }
        }
    }

    /// One partition whose one record is done, and the commits of a pool with this store.
    fn given(store: &Away) -> (Partitions, Commits) {
        let mut partitions = Partitions::default();
        let slot = partitions.assign(&TopicPartition::new("t", 0), Begin::Fresh);
        let ticket = partitions.dispatch(slot, 5, 0, 1, Instant::now());
        assert!(partitions.complete(slot, partitions.get(slot).generation, ticket));
        let commits = Commits::new(Some(Arc::new(store.clone())), Handle::current(), &Options::default(), "g");
        (partitions, commits)
    }

    /// What a drain does: asks every millisecond, in a hurry.
    async fn drain_for(wait: Duration, partitions: &mut Partitions, commits: &mut Commits) -> Vec<Result<(), String>> {
        let until = Instant::now() + wait;
        let mut answers = Vec::new();
        while Instant::now() < until {
            answers.extend(commits.save(partitions, true));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        answers
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_away_is_not_stormed_by_a_drain() {
        let store = Away { failures: u32::MAX, saves: Arc::default() };
        let (mut partitions, mut commits) = given(&store);
        let answers = drain_for(Duration::from_secs(5), &mut partitions, &mut commits).await;
        let saves = store.saves.load(Ordering::Relaxed);
        assert!((5..=15).contains(&saves), "{saves} saves in five seconds");
        assert!(answers.len() >= 4 && answers.iter().all(Result::is_err), "every failure shows");
        assert!(commits.is_behind(&partitions, &[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_comes_back_is_saved_to_within_its_pause() {
        let store = Away { failures: 3, saves: Arc::default() };
        let (mut partitions, mut commits) = given(&store);
        let answers = drain_for(Duration::from_secs(2), &mut partitions, &mut commits).await;
        assert!(answers.last().is_some_and(Result::is_ok), "{answers:?}");
        assert_eq!(partitions.get(0).saved, Some(6));
        assert!(!commits.is_behind(&partitions, &[0]));
    }
}
