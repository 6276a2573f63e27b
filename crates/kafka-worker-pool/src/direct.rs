//! Short handlers are called on the data thread itself: see `worker_pool::Direct`. The rules are those of the lanes: a record whose key has
//! others undone goes to its lane, behind them; a call that does not end at once goes on there.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use worker_pool::{Called, Job, Tag, lane_of};

use crate::data_thread::DataThread;
use crate::errors::PoolError;
use crate::handler::Handler;
use crate::record::Record;
use crate::source::Source;

/// How long the thread waits for lanes that end nothing.
const LANES_TIMEOUT: Duration = Duration::from_millis(20);

impl<H: Handler, Q: Source> DataThread<H, Q> {
    /// True if the handler is short, so that this drain may call it here.
    pub(crate) fn begin_direct(&mut self) -> bool {
        let Some(direct) = &mut self.direct else {
            return false;
        };
        direct.begin() && !self.state.partitions.has_abandoned()
    }

    /// True while the lanes end what they have before this thread begins to call the handler. Not for long: what they have may be stuck.
    pub(crate) fn waits_for_lanes(&mut self) -> bool {
        let in_flight = self.state.partitions.in_flight();
        let is_crowded = in_flight >= self.pool.slots_per_lane();
        let Some(direct) = self.direct.as_mut().filter(|direct| is_crowded && direct.is_on()) else {
            self.state.waits = None;
            return false;
        };
        let waits = self.state.waits.filter(|(_, left)| *left <= in_flight);
        let (since, _) = *self.state.waits.insert(waits.unwrap_or_else(|| (Instant::now(), in_flight)));
        let goes_on = since.elapsed() < LANES_TIMEOUT;
        if !goes_on {
            direct.put_off();
            self.state.waits = None;
        }
        goes_on
    }

    /// True if no record of this key is undone, and a lane has room for the call should it go on.
    pub(crate) fn may_call_directly(&self, key: u64) -> bool {
        self.state.partitions.of_key(key) == 0 && self.state.partitions.in_flight() < self.pool.slots_per_lane()
    }

    /// Calls the handler with a record. False if the handler is short no longer.
    pub(crate) fn call_directly(&mut self, slot: u32, record: Record, key: u64, now: Instant) -> bool {
        let Some(direct) = &mut self.direct else {
            return false;
        };
        let (offset, bytes) = (record.offset, record.size_bytes());
        let partition = self.state.partitions.get_mut(slot);
        let ticket = partition.ledger.next_ticket();
        let tag = Tag { key, group: slot, generation: partition.generation, ticket, attempts: 0 };
        match direct.call(Job { tag, item: record }) {
            Called::Done(()) => {
                partition.ledger.done_at_once(offset);
                self.state.done_directly += 1;
            }
            Called::GoesOn(begun) => {
                self.state.partitions.dispatch(slot, offset, bytes, key, now);
                let lane = lane_of(key, self.state.lanes.len());
                if !self.pool.go_on(lane, begun) {
                    // It stays undone in the ledger, so nothing behind it is committed.
                    self.shared.fail(PoolError::Invariant(format!("lane {lane} did not take a call that had begun")));
                }
            }
        }
        direct.is_on()
    }

    /// The calls of a drain are over.
    pub(crate) fn end_direct(&mut self) {
        let done = std::mem::take(&mut self.state.done_directly);
        if done == 0 {
            return;
        }
        self.shared.counters.handled.fetch_add(done, Ordering::Relaxed);
        if let Some(direct) = &mut self.direct {
            direct.end();
        }
    }
}
