//! All partitions this member has or had, with their books, and the sums over them that bound the pool. Pure: no Kafka calls, no lanes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};

use rdkafka_ext::TopicPtr;
use tokio::time::Instant;
use worker_pool::KeyMap;

use crate::ahead::Known;
use crate::copy::keep;
use crate::ledger::{Freed, Ledger};
use crate::partition::{Partition, Tenure};
use crate::record::{Record, TopicPartition};
use crate::shared::Begin;

/// Keys whose room is kept though it is not used.
const KEYS_KEPT: usize = 16_384;

/// The table, and the sums over it.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    /// By slot. A partition keeps its slot for the life of the pool.
    slots: Vec<Partition>,
    by_name: HashMap<TopicPartition, u32>,
    by_topic_object: HashMap<(TopicPtr, i32), u32>,
    /// The last found there: records come in runs of one partition.
    last_found: Option<(TopicPtr, i32, u32)>,
    last_generation: u32,
    /// Partitions that stand still.
    stopped: usize,
    /// Partitions the user paused, ours or not: a pause outlives assignments.
    paused: BTreeSet<TopicPartition>,
    /// True once an assignment has ended with records in hand: their calls may still run, in lanes, though no book knows of them.
    has_abandoned: bool,
    /// Undone records of each key.
    keys: KeyMap<usize>,
    in_flight: usize,
    in_flight_bytes: usize,
    backlog: usize,
    backlog_bytes: usize,
}

impl Partitions {
    pub(crate) fn get(&self, slot: u32) -> &Partition {
        &self.slots[slot as usize]
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Partition {
        &mut self.slots[slot as usize]
    }

    pub(crate) fn slot_of(&self, name: &TopicPartition) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The slot of a message's partition; the name is looked at only once per topic object.
    pub(crate) fn slot_of_message(
        &mut self,
        topic: TopicPtr,
        partition: i32,
        name: impl FnOnce() -> TopicPartition,
    ) -> Option<u32> {
        if let Some((last_topic, last_partition, slot)) = self.last_found
            && (last_topic, last_partition) == (topic, partition)
        {
            return Some(slot);
        }
        let slot = match self.by_topic_object.get(&(topic, partition)) {
            Some(slot) => *slot,
            None => {
                let slot = self.slot_of(&name())?;
                self.by_topic_object.insert((topic, partition), slot);
                slot
            }
        };
        self.last_found = Some((topic, partition, slot));
        Some(slot)
    }

    /// Topic objects may be gone from now on, and their addresses others'.
    fn forget_topic_objects(&mut self) {
        self.by_topic_object.clear();
        self.last_found = None;
    }

    /// All slots, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u32, &Partition)> {
        (0..).zip(&self.slots)
    }

    /// Slots that are ours or being revoked.
    pub(crate) fn live(&self) -> impl Iterator<Item = (u32, &Partition)> {
        self.all().filter(|(_, partition)| partition.tenure != Tenure::Gone)
    }

    /// Records dispatched and not done.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// True when all that is in hand belongs to partitions that stand still: nothing of it makes room by itself.
    pub(crate) fn all_stand_still(&self) -> bool {
        self.live().all(|(_, partition)| partition.is_stopped || partition.ledger.undone() == 0)
    }

    /// Notes that a partition stands still. False if it did before.
    pub(crate) fn stand_still(&mut self, slot: u32) -> bool {
        let is_new = !std::mem::replace(&mut self.get_mut(slot).is_stopped, true);
        self.stopped += usize::from(is_new);
        is_new
    }

    /// Notes that a partition goes on.
    pub(crate) fn go_on(&mut self, slot: u32) {
        let was_stopped = std::mem::take(&mut self.get_mut(slot).is_stopped);
        self.stopped -= usize::from(was_stopped);
    }

    /// True while any partition stands still.
    pub(crate) fn some_stand_still(&self) -> bool {
        self.stopped > 0
    }

    /// Records taken from the client and not done, with their bytes.
    pub(crate) fn taken(&self) -> (usize, usize) {
        (self.in_flight + self.backlog, self.in_flight_bytes + self.backlog_bytes)
    }

    /// True once calls may run that no book knows of.
    pub(crate) fn has_abandoned(&self) -> bool {
        self.has_abandoned
    }

    /// Undone records of a key.
    pub(crate) fn of_key(&self, key: u64) -> usize {
        self.keys.get(&key).copied().unwrap_or(0)
    }

    /// Begins a new assignment. What was left of an older one is abandoned: `ended` had to be called for it.
    pub(crate) fn assign(&mut self, name: &TopicPartition, begin: Begin) -> u32 {
        self.last_generation += 1;
        // A record that came after its partition had gone may have left the address of a topic object that is free by now.
        self.forget_topic_objects();
        let fresh = Partition {
            name: name.clone(),
            tenure: Tenure::Owned,
            generation: self.last_generation,
            begin,
            ledger: match begin {
                Begin::Chosen(position) => Ledger::starting_at(position),
                Begin::Kept(_) | Begin::Fresh | Begin::Unknown => Ledger::default(),
            },
            known: Known::default(),
            epoch: None,
            last_offset: None,
            is_stopped: false,
            is_paused: self.paused.contains(name),
            backlog: VecDeque::new(),
            full_key: None,
            held: Vec::new(),
            saved: None,
            stored: None,
            noted: None,
        };
        if let Some(slot) = self.slot_of(name) {
            self.end(slot);
            *self.get_mut(slot) = fresh;
            return slot;
        }
        let slot = u32::try_from(self.slots.len()).expect("a member has fewer partitions than 2^32");
        self.slots.push(fresh);
        self.by_name.insert(name.clone(), slot);
        slot
    }

    /// Notes the user's pause. The slot, if the partition is ours.
    pub(crate) fn pause(&mut self, name: &TopicPartition) -> Option<u32> {
        self.paused.insert(name.clone());
        let slot = self.slot_of(name)?;
        let partition = self.get_mut(slot);
        partition.is_paused = true;
        (partition.tenure == Tenure::Owned).then_some(slot)
    }

    /// Ends the user's pause.
    pub(crate) fn unpause(&mut self, name: &TopicPartition) {
        self.paused.remove(name);
        if let Some(slot) = self.slot_of(name) {
            self.get_mut(slot).is_paused = false;
        }
    }

    /// Partitions the user paused, ours or not.
    pub(crate) fn paused(&self) -> impl Iterator<Item = &TopicPartition> {
        self.paused.iter()
    }

    /// Ends an assignment and returns how many of its records were in hand.
    pub(crate) fn end(&mut self, slot: u32) -> usize {
        self.forget_topic_objects();
        let partition = &mut self.slots[slot as usize];
        partition.tenure = Tenure::Gone;
        self.stopped -= usize::from(std::mem::take(&mut partition.is_stopped));
        partition.full_key = None;
        partition.held.clear();
        let backlog = std::mem::take(&mut partition.backlog);
        let undone = partition.ledger.abandon();
        self.has_abandoned |= !undone.is_empty();
        self.backlog -= backlog.len();
        self.backlog_bytes -= backlog.iter().map(Record::size_bytes).sum::<usize>();
        for freed in &undone {
            self.free(*freed);
        }
        undone.len()
    }

    /// Enters a record of so many bytes that is about to be dispatched, and returns its ticket.
    pub(crate) fn dispatch(&mut self, slot: u32, offset: i64, bytes: usize, key: u64, now: Instant) -> u64 {
        self.in_flight += 1;
        self.in_flight_bytes += bytes;
        *self.keys.entry(key).or_default() += 1;
        self.slots[slot as usize].ledger.dispatch(offset, key, bytes, now)
    }

    /// Keeps a record of a stopped partition for later.
    pub(crate) fn set_aside(&mut self, slot: u32, mut record: Record) {
        keep(&mut record);
        self.backlog += 1;
        self.backlog_bytes += record.size_bytes();
        self.slots[slot as usize].backlog.push_back(record);
    }

    /// The next record that was set aside.
    pub(crate) fn take_aside(&mut self, slot: u32) -> Option<Record> {
        let record = self.slots[slot as usize].backlog.pop_front()?;
        self.backlog -= 1;
        self.backlog_bytes -= record.size_bytes();
        Some(record)
    }

    /// Puts back what `take_aside` gave.
    pub(crate) fn put_back(&mut self, slot: u32, record: Record) {
        self.backlog += 1;
        self.backlog_bytes += record.size_bytes();
        self.slots[slot as usize].backlog.push_front(record);
    }

    /// A record is done. False for one of an older assignment, or done before.
    pub(crate) fn complete(&mut self, slot: u32, generation: u32, ticket: u64) -> bool {
        let Some(partition) = self.slots.get_mut(slot as usize) else {
            return false;
        };
        if partition.generation != generation || partition.tenure == Tenure::Gone {
            return false;
        }
        if !partition.held.is_empty()
            && let Some(offset) = partition.ledger.offset_of(ticket)
        {
            // A release may have overtaken the news of this hold.
            partition.held.retain(|held| held.offset != offset);
        }
        let Some(freed) = partition.ledger.complete(ticket) else {
            return false;
        };
        self.free(freed);
        true
    }

    fn free(&mut self, freed: Freed) {
        self.in_flight -= 1;
        self.in_flight_bytes -= freed.bytes;
        if let Entry::Occupied(mut count) = self.keys.entry(freed.key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
                if self.keys.is_empty() && self.keys.capacity() > KEYS_KEPT {
                    // After a burst of keys nothing of it stays.
                    self.keys.shrink_to(KEYS_KEPT / 2);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::HeldSince;

    fn record(offset: i64) -> Record {
        Record { offset, value: Some(bytes::Bytes::from_static(b"12345")), ..Record::empty() }
    }

    #[test]
    fn sums_return_to_zero_however_records_end() {
        let mut partitions = Partitions::default();
        let name = TopicPartition::new("t", 0);
        let slot = partitions.assign(&name, Begin::Fresh);
        let generation = partitions.get(slot).generation;
        let done = partitions.dispatch(slot, 1, 5, 7, Instant::now());
        partitions.dispatch(slot, 2, 5, 7, Instant::now());
        partitions.set_aside(slot, record(3));
        assert_eq!(partitions.taken(), (3, 15));
        assert_eq!(partitions.of_key(7), 2);
        assert!(partitions.complete(slot, generation, done));
        assert!(!partitions.complete(slot, generation, done), "only once");
        assert_eq!(partitions.end(slot), 1);
        assert_eq!(partitions.taken(), (0, 0));
        assert_eq!(partitions.of_key(7), 0);
    }

    #[test]
    fn a_hold_whose_release_came_first_ends_with_its_record() {
        let mut partitions = Partitions::default();
        let name = TopicPartition::new("t", 0);
        let slot = partitions.assign(&name, Begin::Fresh);
        let generation = partitions.get(slot).generation;
        let tickets = [1, 2, 3].map(|offset| partitions.dispatch(slot, offset, 5, 7, Instant::now()));
        for offset in [2, 3] {
            let held = HeldSince { partition: name.clone(), offset, cause: "full".to_owned(), since: Instant::now() };
            partitions.get_mut(slot).held.push(held);
        }
        assert!(partitions.complete(slot, generation, tickets[1]));
        let held: Vec<i64> = partitions.get(slot).held.iter().map(|held| held.offset).collect();
        assert_eq!(held, [3], "done behind one that is not");
    }

    #[test]
    fn completions_of_an_older_assignment_are_ignored() {
        let mut partitions = Partitions::default();
        let name = TopicPartition::new("t", 0);
        let slot = partitions.assign(&name, Begin::Fresh);
        let old = partitions.get(slot).generation;
        let ticket = partitions.dispatch(slot, 1, 5, 7, Instant::now());
        partitions.end(slot);
        assert_eq!(partitions.assign(&name, Begin::Kept(1)), slot);
        partitions.dispatch(slot, 1, 5, 7, Instant::now());
        assert!(!partitions.complete(slot, old, ticket));
        assert_eq!(partitions.get(slot).ledger.watermark(), None);
        assert_eq!(partitions.in_flight(), 1);
    }
}
