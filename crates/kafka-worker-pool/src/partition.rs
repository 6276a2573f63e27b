//! One partition and its books, and what of them Kafka keeps. Pure.

use std::collections::VecDeque;

use crate::ahead::{self, Known};
use crate::ledger::Ledger;
use crate::record::{Record, TopicPartition};
use crate::shared::{Begin, HeldSince};

/// Whose a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// Ours: its records are dispatched.
    Owned,
    /// Being revoked: its records in hand are finished, no new ones are dispatched.
    Draining,
    /// Somebody else's.
    Gone,
}

/// One partition and its current, or last, assignment.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) name: TopicPartition,
    pub(crate) tenure: Tenure,
    /// Grows with every assignment of any partition; completions of an older one are ignored.
    pub(crate) generation: u32,
    pub(crate) begin: Begin,
    pub(crate) ledger: Ledger,
    /// What an earlier assignment did above the position this one began at.
    pub(crate) known: Known,
    /// The leader epoch of a record taken lately: later ones have this or a higher one.
    pub(crate) epoch: Option<i32>,
    /// Highest offset taken in this assignment.
    pub(crate) last_offset: Option<i64>,
    /// True while the partition is paused at the client, because a record is held, a key is at its cap, or the user paused it.
    pub(crate) is_stopped: bool,
    /// True between the user's pause and resume.
    pub(crate) is_paused: bool,
    /// Taken from the client and not dispatched, while stopped: at most one drain of the fetch queue.
    pub(crate) backlog: VecDeque<Record>,
    /// The key at its cap.
    pub(crate) full_key: Option<u64>,
    pub(crate) held: Vec<HeldSince>,
    /// Last position given to the `PositionStore`.
    pub(crate) saved: Option<i64>,
    /// Last position given to Kafka.
    pub(crate) stored: Option<i64>,
    /// What was given to it beside that position.
    pub(crate) noted: Option<String>,
}

impl Partition {
    /// The next offset to read after a restart, for Kafka. Before any record is done that is the first one, once there is something to note
    /// beside it.
    pub(crate) fn position(&self) -> Option<i64> {
        self.ledger.watermark().or_else(|| {
            let has_note = self.known.life().is_some() && self.ledger.has_done_ahead();
            if has_note { self.ledger.first_undone() } else { None }
        })
    }

    /// What is done above the position, as text of so many bytes at most. `None`, at no cost, where nothing is.
    pub(crate) fn note(&self, bytes_max: usize) -> Option<String> {
        let life = self.known.life()?;
        let has_any = self.ledger.has_done_ahead() || !self.known.is_empty();
        if bytes_max == 0 || !has_any {
            return None;
        }
        let position = self.position()?;
        let from = self.ledger.end().unwrap_or(position);
        let done = self.ledger.done_ahead().chain(self.known.from(from));
        ahead::write(life, self.epoch.max(self.known.epoch()), position, done, bytes_max)
    }

    /// True if this record was done in an earlier assignment, and is entered as done now.
    pub(crate) fn knows_done(&mut self, offset: i64) -> bool {
        if !self.known.was_done(offset) {
            return false;
        }
        self.ledger.done_at_once(offset);
        true
    }
}
