//! What a record goes through in the data thread: from the fetch queue to its lane, or aside while its partition stands still.
//!
//! A partition stands still, alone, when the handler said `Hold`, one of its keys has `key_backlog` records undone, or the user paused it. It is
//! then paused at the client. librdkafka's pause throws away what it has prefetched for that partition, which costs fetching it again; in exchange a
//! partition may stand still for days without memory (un-forwarding its queue instead would fill one queue bound per partition). What the
//! current drain had already taken, at most 512 records, is set aside and goes first on resumption.

use std::sync::Arc;

use bytes::Bytes;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_ext::NativeMessage;
use tokio::time::Instant;
use worker_pool::{Job, Tag, key_hash, lane_of, mix};

use crate::data_thread::DataThread;
use crate::errors::PoolError;
use crate::handler::Handler;
use crate::options::Order;
use crate::partition::Tenure;
use crate::record::{Record, TopicPartition};
use crate::shared::{Begin, HeldSince, Restart};
use crate::source::Source;

/// Jobs per message to a lane.
const JOBS_PER_MESSAGE: usize = 128;

/// The source of errors of fetching, in the status.
const FETCH: &str = "fetch";

/// A record that a drain brought, with its key's hash.
pub(crate) struct Arrived {
    pub(crate) slot: u32,
    pub(crate) key: u64,
    pub(crate) record: Record,
}

/// A user's own key of a record.
pub(crate) type KeyOf = Arc<dyn Fn(&Record) -> Bytes + Send + Sync>;

/// Which records may not swap, as a hash.
pub(crate) struct KeyRule {
    pub(crate) order: Order,
    pub(crate) key_of: Option<KeyOf>,
    unordered: u64,
}

impl KeyRule {
    pub(crate) fn new(order: Order, key_of: Option<KeyOf>) -> Self {
        Self { order, key_of, unordered: 0 }
    }

    /// Whether the rule can tell by a record's own key; if not it has to see the record.
    fn is_of_own_keys(&self) -> bool {
        self.key_of.is_none() || self.order != Order::Key
    }

    /// For a record whose own key, if any, is this.
    fn of_own_key(&mut self, slot: u32, key: Option<&[u8]>) -> u64 {
        match (self.order, key) {
            (Order::Unordered, _) => {
                self.unordered += 1;
                mix(self.unordered)
            }
            (Order::Key, Some(key)) => key_hash(key),
            // Slots are small numbers: shifted, they meet no counter of `Unordered` and no hash of a short key but by chance.
            (Order::Partition, _) | (Order::Key, None) => mix((u64::from(slot) + 1) << 32),
        }
    }

    fn hash(&mut self, slot: u32, record: &Record) -> u64 {
        match &self.key_of {
            Some(key_of) if self.order == Order::Key => key_hash(&key_of(record)),
            _ => self.of_own_key(slot, record.key.as_deref()),
        }
    }
}

impl<H: Handler> DataThread<H> {
    /// Copies a message out, if its partition is ours. What becomes of it is decided once the drain is over.
    pub(crate) fn receive(&mut self, native: &NativeMessage) {
        if native.is_error() {
            self.receive_error(native);
            return;
        }
        let name = || TopicPartition::new(native.topic(), native.partition());
        let slot = self.state.partitions.slot_of_message(native.topic_ptr(), native.partition(), name);
        let Some(slot) = slot else {
            self.meters.not_ours.increment(1);
            return;
        };
        let partition = self.state.partitions.get_mut(slot);
        let is_new = partition.last_offset.is_none_or(|last| native.offset() > last);
        if partition.tenure != Tenure::Owned || !is_new {
            self.meters.not_ours.increment(1);
            return;
        }
        partition.last_offset = Some(native.offset());
        if !partition.known.is_empty() {
            partition.known.hold_against(native.offset(), native.leader_epoch());
        }
        if self.state.last_slot.replace(slot) != Some(slot) {
            partition.epoch = native.leader_epoch();
        }
        let (key, lane) = if self.keys.is_of_own_keys() {
            let key = self.keys.of_own_key(slot, native.key());
            (Some(key), lane_of(key, self.state.lanes.len()))
        } else {
            (None, 0)
        };
        let record = self.state.blocks[lane].copy(native, slot, &self.state.partitions.get(slot).name);
        if std::mem::take(&mut self.state.has_fetch_error) {
            self.shared.clear_error(FETCH);
        }
        self.arrive(slot, record, key);
    }

    fn receive_error(&mut self, native: &NativeMessage) {
        let Some(error) = native.error() else {
            return;
        };
        let name = TopicPartition::new(error.topic.as_str(), error.partition);
        let slot = self.state.partitions.slot_of(&name);
        if error.code != RDKafkaErrorCode::AutoOffsetReset {
            self.shared.set_error(FETCH, &error.to_string());
            self.state.has_fetch_error = true;
            tracing::warn!(partition = %name, %error, "the client could not fetch");
            return;
        }
        let Some(slot) = slot.filter(|&slot| self.state.partitions.get(slot).tenure == Tenure::Owned) else {
            return;
        };
        self.meters.resets.increment(1);
        tracing::warn!(partition = %name, reason = error.reason, begin = ?self.state.partitions.get(slot).begin,
            "the broker does not have the position of this partition (a topic made anew, records past their retention, or no position yet); starting it anew");
        // A position somebody chose and the broker does not have is no better than one that was kept.
        let had = match self.state.partitions.get(slot).begin {
            Begin::Chosen(_) => Begin::Fresh,
            begin => begin,
        };
        self.pool.forget(slot, self.state.partitions.get(slot).generation);
        self.state.partitions.end(slot);
        self.state.partitions.assign(&name, had);
        self.shared.restarts.add(Restart { partition: name, had });
    }
}

impl<H: Handler, Q: Source> DataThread<H, Q> {
    /// Notes a record of a partition that is ours. `key`: where its own key tells what orders it.
    pub(crate) fn arrive(&mut self, slot: u32, record: Record, key: Option<u64>) {
        self.state.largest_bytes = self.state.largest_bytes.max(record.size_bytes());
        self.state.taken += 1;
        let key = key.unwrap_or_else(|| self.keys.hash(slot, &record));
        self.state.arrived.push(Arrived { slot, key, record });
    }

    /// Calls the handler with what a drain brought, or hands it to the lanes.
    pub(crate) fn enter_arrived(&mut self, now: Instant) {
        let mut arrived = std::mem::take(&mut self.state.arrived);
        let mut is_direct = self.begin_direct();
        for record in arrived.drain(..) {
            self.enter(record, &mut is_direct, now);
        }
        self.end_direct();
        self.flush();
        self.state.arrived = arrived;
    }

    /// What a record goes through once it is one of ours, wherever it comes from.
    fn enter(&mut self, arrived: Arrived, is_direct: &mut bool, now: Instant) {
        let Arrived { slot, key, record } = arrived;
        let partition = self.state.partitions.get(slot);
        if partition.is_stopped {
            self.state.partitions.set_aside(slot, record);
        } else if partition.is_paused {
            // It came back to us while it was paused.
            self.state.partitions.set_aside(slot, record);
            self.stop(slot);
        } else if !partition.known.is_empty() && self.was_done(slot, record.offset) {
            // It is in the ledger; nobody is called.
        } else if *is_direct && self.may_call_directly(key) {
            *is_direct = self.call_directly(slot, record, key, now);
        } else if let Some(record) = self.dispatch(slot, record, key, now) {
            self.state.partitions.set_aside(slot, record);
            self.stop(slot);
        }
    }

    /// True if the commit this assignment began at says that the record was done. The ledger has it then.
    fn was_done(&mut self, slot: u32, offset: i64) -> bool {
        let was_done = self.state.partitions.get_mut(slot).knows_done(offset);
        if was_done {
            self.meters.already_done.increment(1);
        }
        was_done
    }

    /// Hands a record to its lane, or back when its key is at its cap.
    fn dispatch(&mut self, slot: u32, record: Record, key: u64, now: Instant) -> Option<Record> {
        if self.state.partitions.of_key(key) >= self.options.key_cap() {
            self.state.partitions.get_mut(slot).full_key = Some(key);
            return Some(record);
        }
        let ticket = self.state.partitions.dispatch(slot, record.offset, record.size_bytes(), key, now);
        let tag = Tag { key, group: slot, generation: self.state.partitions.get(slot).generation, ticket, attempts: 0 };
        let lane = lane_of(key, self.state.lanes.len());
        self.state.lanes[lane].push(Job { tag, item: record });
        if self.state.lanes[lane].len() >= JOBS_PER_MESSAGE {
            self.flush_lane(lane);
        }
        None
    }

    pub(crate) fn flush(&mut self) {
        for lane in 0..self.state.lanes.len() {
            self.flush_lane(lane);
        }
    }

    pub(crate) fn flush_lane(&mut self, lane: usize) {
        if self.state.lanes[lane].is_empty() {
            return;
        }
        let next = Vec::with_capacity(JOBS_PER_MESSAGE);
        let jobs = std::mem::replace(&mut self.state.lanes[lane], next);
        if self.pool.offer(lane, jobs).is_err() {
            // The jobs stay undone in the ledger, so nothing behind them is committed.
            self.shared
                .fail(PoolError::Invariant(format!("lane {lane} took no records although there was room for them")));
        }
    }

    fn stop(&mut self, slot: u32) {
        if !self.state.partitions.stand_still(slot) {
            return;
        }
        let name = self.state.partitions.get(slot).name.clone();
        tracing::info!(partition = %name, "the partition stands still until a record is released, a key's backlog has shrunk, or it is resumed");
        self.meters.stops.increment(1);
        if let Err(error) = self.queue.pause(&name) {
            // Then its records keep coming and are set aside; the bound on the whole pool holds.
            tracing::warn!(partition = %name, %error, "the client did not pause the partition");
        }
    }

    /// A handler said `Hold`.
    pub(crate) fn hold(&mut self, tag: Tag, cause: String) {
        let partition = self.state.partitions.get_mut(tag.group);
        if partition.generation != tag.generation || partition.tenure == Tenure::Gone {
            return;
        }
        let Some(offset) = partition.ledger.offset_of(tag.ticket) else {
            return;
        };
        tracing::warn!(partition = %partition.name, offset, cause, "a record is held; its partition stands still until it is released");
        partition.held.retain(|held| held.offset != offset);
        partition.held.push(HeldSince { partition: partition.name.clone(), offset, cause, since: Instant::now() });
        self.stop(tag.group);
    }

    /// Lets one partition, or all, go on after a hold.
    pub(crate) fn release(&mut self, name: Option<&TopicPartition>) {
        let slots: Vec<u32> = self
            .state
            .partitions
            .live()
            .filter(|(_, partition)| !partition.held.is_empty())
            .filter(|(_, partition)| name.is_none_or(|name| partition.name == *name))
            .map(|(slot, _)| slot)
            .collect();
        for slot in slots {
            self.state.partitions.get_mut(slot).held.clear();
            self.pool.release(slot);
        }
    }

    /// The user lets partitions stand still. What was dispatched goes on.
    pub(crate) fn pause(&mut self, names: &[TopicPartition]) {
        for name in names {
            if let Some(slot) = self.state.partitions.pause(name) {
                self.stop(slot);
            }
        }
    }

    /// Lets partitions go on whose reason to stand still is over.
    pub(crate) fn resume_stopped(&mut self) {
        if !self.state.partitions.some_stand_still() {
            return;
        }
        let half = self.options.key_cap() / 2;
        let free: Vec<u32> = self
            .state
            .partitions
            .live()
            .filter(|(_, partition)| {
                partition.tenure == Tenure::Owned
                    && partition.is_stopped
                    && !partition.is_paused
                    && partition.held.is_empty()
            })
            .filter(|(_, partition)| partition.full_key.is_none_or(|key| self.state.partitions.of_key(key) <= half))
            .map(|(slot, _)| slot)
            .collect();
        for slot in free {
            self.resume(slot);
        }
    }

    fn resume(&mut self, slot: u32) {
        self.state.partitions.get_mut(slot).full_key = None;
        let now = Instant::now();
        while let Some(record) = self.state.partitions.take_aside(slot) {
            if self.was_done(slot, record.offset) {
                continue;
            }
            let key = self.keys.hash(slot, &record);
            if let Some(record) = self.dispatch(slot, record, key, now) {
                self.state.partitions.put_back(slot, record);
                self.flush();
                return;
            }
        }
        self.flush();
        let name = self.state.partitions.get(slot).name.clone();
        match self.queue.resume(&name) {
            Ok(()) => {
                self.state.partitions.go_on(slot);
                tracing::info!(partition = %name, "the partition goes on");
            }
            // It stays stopped, so this is tried again on the next turn.
            Err(error) => {
                tracing::debug!(partition = %name, %error, "the client did not resume the partition");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: Option<&'static str>) -> Record {
        Record { key: key.map(|key| Bytes::from_static(key.as_bytes())), ..Record::empty() }
    }

    #[test]
    fn one_key_is_one_hash_across_partitions_and_no_key_is_its_partition() {
        let mut rule = KeyRule::new(Order::Key, None);
        assert_eq!(rule.hash(0, &record(Some("P-1"))), rule.hash(9, &record(Some("P-1"))));
        assert_ne!(rule.hash(0, &record(Some("P-1"))), rule.hash(0, &record(Some("P-2"))));
        assert_eq!(rule.hash(3, &record(None)), rule.hash(3, &record(None)));
        assert_ne!(rule.hash(3, &record(None)), rule.hash(4, &record(None)));
    }

    #[test]
    fn other_orders_do_not_look_at_keys() {
        let mut partition = KeyRule::new(Order::Partition, None);
        assert_eq!(partition.hash(1, &record(Some("a"))), partition.hash(1, &record(Some("b"))));
        let mut unordered = KeyRule::new(Order::Unordered, None);
        assert_ne!(unordered.hash(1, &record(Some("a"))), unordered.hash(1, &record(Some("a"))));
    }

    #[test]
    fn a_key_of_the_users_own_replaces_the_records() {
        let mut rule = KeyRule::new(Order::Key, Some(Arc::new(|_| Bytes::from_static(b"same"))));
        assert_eq!(rule.hash(1, &record(Some("a"))), rule.hash(2, &record(None)));
    }
}
