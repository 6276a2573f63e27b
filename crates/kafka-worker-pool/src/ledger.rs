//! The books of one partition: which records were dispatched, which are done, and up to where all are done. Pure. A ring in the order of
//! dispatch, not of offsets: compaction and control records leave gaps in those.

use std::collections::VecDeque;
use std::ops::Range;

use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: i64,
    key: u64,
    bytes: u32,
    is_done: bool,
    at: Instant,
}

/// What a completed record frees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) key: u64,
    pub(crate) bytes: usize,
}

/// The books of one assignment of one partition.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    ring: VecDeque<Entry>,
    /// Ticket of the ring's front.
    base: u64,
    undone: usize,
    watermark: Option<i64>,
}

impl Ledger {
    /// The books of an assignment that begins at a chosen position, which is to be kept even if no record comes.
    pub(crate) fn starting_at(position: i64) -> Self {
        Self { watermark: Some(position), ..Self::default() }
    }

    /// Enters a dispatched record and returns its ticket. Offsets come in rising order.
    pub(crate) fn dispatch(&mut self, offset: i64, key: u64, bytes: usize, at: Instant) -> u64 {
        let ticket = self.next_ticket();
        self.ring.push_back(Entry { offset, key, bytes: u32::try_from(bytes).unwrap_or(u32::MAX), is_done: false, at });
        self.undone += 1;
        ticket
    }

    /// The ticket of the next record dispatched.
    pub(crate) fn next_ticket(&self) -> u64 {
        self.base + self.ring.len() as u64
    }

    /// A record was done as soon as it came: it needs no ticket. Those that follow each other take one place.
    pub(crate) fn done_at_once(&mut self, offset: i64) {
        match self.ring.back_mut() {
            None => self.watermark = Some(offset + 1),
            Some(last) if last.is_done => last.offset = offset,
            Some(last) => {
                let at = last.at;
                self.ring.push_back(Entry { offset, key: 0, bytes: 0, is_done: true, at });
            }
        }
    }

    /// A record is done. `None` if there is no such ticket or it was done before: then nothing changes.
    pub(crate) fn complete(&mut self, ticket: u64) -> Option<Freed> {
        let index = usize::try_from(ticket.checked_sub(self.base)?).ok()?;
        let entry = self.ring.get_mut(index)?;
        if std::mem::replace(&mut entry.is_done, true) {
            return None;
        }
        let freed = Freed { key: entry.key, bytes: entry.bytes as usize };
        self.undone -= 1;
        while let Some(front) = self.ring.front()
            && front.is_done
        {
            self.watermark = Some(front.offset + 1);
            self.ring.pop_front();
            self.base += 1;
        }
        Some(freed)
    }

    /// The offset of a record in hand.
    pub(crate) fn offset_of(&self, ticket: u64) -> Option<i64> {
        let index = usize::try_from(ticket.checked_sub(self.base)?).ok()?;
        self.ring.get(index).map(|entry| entry.offset)
    }

    /// The next offset to read after a restart: every record dispatched below it is done. `None` before the first is.
    pub(crate) fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// The lowest offset dispatched and not done: the ring's front is never done.
    pub(crate) fn first_undone(&self) -> Option<i64> {
        self.ring.front().map(|entry| entry.offset)
    }

    /// The offset after the last that was dispatched, of those that are not forgotten.
    pub(crate) fn end(&self) -> Option<i64> {
        self.ring.back().map(|entry| entry.offset + 1).or(self.watermark)
    }

    /// True if records are done above one that is not.
    pub(crate) fn has_done_ahead(&self) -> bool {
        self.ring.len() > self.undone
    }

    /// The offsets above the first record that is not done in which all that was dispatched is done, in rising order.
    pub(crate) fn done_ahead(&self) -> impl Iterator<Item = Range<i64>> {
        // Between two records of the ring lie none, or records that came done and share an entry: an entry reaches down to the one before.
        let below = self.ring.iter().map(|entry| entry.offset + 1);
        below.zip(self.ring.iter().skip(1)).filter(|(_, entry)| entry.is_done).map(|(end, entry)| end..entry.offset + 1)
    }

    /// Records dispatched and not done.
    pub(crate) fn undone(&self) -> usize {
        self.undone
    }

    /// When the oldest record that is not done was dispatched: the ring's front is never done.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.ring.front().map(|entry| entry.at)
    }

    /// Ends the assignment: what is not done is nobody's any more.
    pub(crate) fn abandon(&mut self) -> Vec<Freed> {
        self.undone = 0;
        self.base += self.ring.len() as u64;
        self.ring
            .drain(..)
            .filter(|entry| !entry.is_done)
            .map(|entry| Freed { key: entry.key, bytes: entry.bytes as usize })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(offsets: &[i64]) -> (Ledger, Vec<u64>) {
        let mut ledger = Ledger::default();
        let tickets = offsets.iter().map(|&offset| ledger.dispatch(offset, 1, 10, Instant::now())).collect();
        (ledger, tickets)
    }

    #[test]
    fn the_watermark_moves_only_over_what_is_done_without_gaps() {
        let (mut ledger, tickets) = ledger(&[5, 6, 9, 20]);
        assert_eq!(ledger.watermark(), None);
        ledger.complete(tickets[1]);
        ledger.complete(tickets[3]);
        assert_eq!(ledger.watermark(), None, "5 is not done");
        ledger.complete(tickets[0]);
        assert_eq!(ledger.watermark(), Some(7));
        ledger.complete(tickets[2]);
        assert_eq!(ledger.watermark(), Some(21), "offsets have gaps, tickets have none");
        assert_eq!(ledger.undone(), 0);
    }

    #[test]
    fn a_chosen_start_is_a_position_before_the_first_record() {
        let mut ledger = Ledger::starting_at(7);
        assert_eq!(ledger.watermark(), Some(7));
        let ticket = ledger.dispatch(9, 1, 10, Instant::now());
        assert_eq!(ledger.watermark(), Some(7));
        ledger.complete(ticket);
        assert_eq!(ledger.watermark(), Some(10));
    }

    #[test]
    fn done_twice_or_unknown_changes_nothing() {
        let (mut ledger, tickets) = ledger(&[1, 2]);
        assert!(ledger.complete(tickets[1]).is_some());
        assert!(ledger.complete(tickets[1]).is_none());
        assert!(ledger.complete(99).is_none());
        assert!(ledger.complete(tickets[0]).is_some());
        assert!(ledger.complete(tickets[0]).is_none(), "gone from the ring");
        assert_eq!(ledger.undone(), 0);
    }

    #[test]
    fn what_is_done_at_once_waits_behind_what_is_not_and_takes_no_room() {
        let (mut ledger, tickets) = ledger(&[1]);
        for offset in 2..1_000 {
            ledger.done_at_once(offset);
        }
        assert_eq!(ledger.watermark(), None, "1 is not done");
        assert!(ledger.ring.len() <= 2);
        let next = ledger.dispatch(1_000, 1, 10, Instant::now());
        ledger.done_at_once(1_001);
        ledger.complete(tickets[0]);
        assert_eq!(ledger.watermark(), Some(1_000));
        ledger.complete(next);
        assert_eq!((ledger.watermark(), ledger.undone()), (Some(1_002), 0));
        ledger.done_at_once(1_005);
        assert_eq!(ledger.watermark(), Some(1_006));
        let late = ledger.dispatch(1_006, 1, 10, Instant::now());
        assert!(ledger.complete(late).is_some());
        assert_eq!(ledger.watermark(), Some(1_007));
    }

    #[test]
    fn what_is_done_ahead_holds_no_record_that_is_not_done() {
        let (mut ledger, tickets) = ledger(&[5, 6, 9, 20, 21]);
        let ahead = |ledger: &Ledger| ledger.done_ahead().map(|run| (run.start, run.end)).collect::<Vec<_>>();
        assert!(!ledger.has_done_ahead() && ahead(&ledger).is_empty());
        ledger.complete(tickets[2]);
        assert_eq!(ahead(&ledger), [(7, 10)], "where nothing was, nothing is to be done");
        ledger.complete(tickets[3]);
        ledger.done_at_once(30);
        ledger.done_at_once(31);
        assert_eq!(ahead(&ledger), [(7, 10), (10, 21), (22, 32)]);
        assert_eq!((ledger.first_undone(), ledger.end()), (Some(5), Some(32)));
        ledger.complete(tickets[0]);
        assert_eq!((ledger.watermark(), ahead(&ledger)), (Some(6), vec![(7, 10), (10, 21), (22, 32)]));
        ledger.complete(tickets[1]);
        assert_eq!((ledger.watermark(), ahead(&ledger)), (Some(21), vec![(22, 32)]));
        ledger.complete(tickets[4]);
        assert!(!ledger.has_done_ahead());
        assert_eq!((ledger.first_undone(), ledger.end()), (None, Some(32)));
    }

    #[test]
    fn what_is_abandoned_never_completes() {
        let (mut ledger, tickets) = ledger(&[1, 2, 3]);
        ledger.complete(tickets[1]);
        assert_eq!(ledger.abandon().len(), 2);
        assert!(ledger.complete(tickets[0]).is_none());
        assert_eq!((ledger.watermark(), ledger.undone()), (None, 0));
    }
}
