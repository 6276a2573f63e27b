//! Topics in memory, as the books' client: what is written, where this member stands, what it has paused, and what the group has committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::options::{Options, Start};
use crate::record::{Record, TopicPartition};
use crate::shared::Begin;
use crate::source::{Position, Refused, Source};

/// Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    logs: BTreeMap<TopicPartition, Log>,
    committed: BTreeMap<TopicPartition, Position>,
    /// The next offset to hand out, of each partition of this member.
    positions: BTreeMap<TopicPartition, i64>,
    paused: BTreeSet<TopicPartition>,
}

#[derive(Debug, Default)]
struct Log {
    records: Vec<Record>,
    next_offset: i64,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a record and returns its offset; `skip` offsets before it hold nothing.
    pub(crate) fn append(&self, mut record: Record, skip: i64) -> i64 {
        let mut inner = self.lock();
        let log = inner.logs.entry(record.topic_partition()).or_default();
        record.offset = log.next_offset + skip;
        log.next_offset = record.offset + 1;
        let offset = record.offset;
        log.records.push(record);
        offset
    }

    pub(crate) fn committed(&self, name: &TopicPartition) -> Option<i64> {
        self.lock().committed.get(name).map(|position| position.offset)
    }

    /// What stands beside the committed offset.
    pub(crate) fn metadata(&self, name: &TopicPartition) -> Option<String> {
        self.lock().committed.get(name).and_then(|position| position.metadata.clone())
    }

    /// Commits an offset as other tools do: with nothing beside it.
    pub(crate) fn reset(&self, name: &TopicPartition, offset: i64) {
        self.keep(&[Position { name: name.clone(), offset, metadata: None }]);
    }

    fn keep(&self, positions: &[Position]) {
        self.lock().committed.extend(positions.iter().map(|position| (position.name.clone(), position.clone())));
    }

    /// Where a partition begins for which no store has a position: the broker's part of an assignment.
    pub(crate) fn begin(&self, name: &TopicPartition, options: &Options) -> Begin {
        let inner = self.lock();
        if let Some(committed) = inner.committed.get(name) {
            return Begin::Kept(committed.offset);
        }
        if let Some(&offset) = options.start_offsets.get(name) {
            return Begin::Chosen(offset);
        }
        let log = inner.logs.get(name);
        let end = log.map_or(0, |log| log.next_offset);
        match options.start {
            Start::Earliest => Begin::Fresh,
            Start::Latest => Begin::Chosen(end),
            Start::Timestamp { ms } => {
                let is_late = |record: &&Record| record.timestamp_ms.is_some_and(|at| at >= ms);
                let first = log.and_then(|log| log.records.iter().find(is_late));
                Begin::Chosen(first.map_or(end, |record| record.offset))
            }
        }
    }

    /// This member has the partition now, from this offset on.
    pub(crate) fn assign(&self, name: &TopicPartition, offset: i64) {
        let mut inner = self.lock();
        inner.paused.remove(name);
        inner.positions.insert(name.clone(), offset);
    }

    pub(crate) fn unassign(&self, name: &TopicPartition) {
        self.lock().positions.remove(name);
    }

    /// The next record of any assigned partition that is not paused; partitions take turns by name.
    pub(crate) fn next(&self) -> Option<Record> {
        let mut inner = self.lock();
        let Inner { logs, positions, paused, .. } = &mut *inner;
        for (name, position) in positions.iter_mut().filter(|(name, _)| !paused.contains(*name)) {
            let Some(log) = logs.get(name) else {
                continue;
            };
            let at = log.records.partition_point(|record| record.offset < *position);
            if let Some(record) = log.records.get(at) {
                *position = record.offset + 1;
                return Some(record.clone());
            }
        }
        None
    }
}

impl Source for Memory {
    fn pause(&self, name: &TopicPartition) -> Result<(), String> {
        self.lock().paused.insert(name.clone());
        Ok(())
    }

    fn resume(&self, name: &TopicPartition) -> Result<(), String> {
        self.lock().paused.remove(name);
        Ok(())
    }

    fn store(&self, positions: &[Position]) -> Vec<Result<(), Refused>> {
        self.keep(positions);
        positions.iter().map(|_| Ok(())).collect()
    }

    fn commit(&self, positions: &[Position]) -> Result<(), String> {
        self.keep(positions);
        Ok(())
    }
}
