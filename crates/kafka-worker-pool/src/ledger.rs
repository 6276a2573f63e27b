//! The books of one partition: which records were dispatched, which are done, and up to where all are done. Pure. A ring in the order of
//! dispatch, not of offsets: compaction and control records leave gaps in those. Records that are done behind one that is not leave the ring in
//! the end, so that one stuck record costs no memory, however many follow it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use tokio::time::Instant;

/// Places of the ring that those may hold which are done, beside as many as are not.
const SPARE: usize = 16_384;

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
    /// By ticket, what left the ring and is not done: all else that left it is.
    behind: BTreeMap<u64, Entry>,
    /// While some are behind: the offset after the last that left the ring.
    left_to: Option<i64>,
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
        if self.ring.len() > SPARE {
            self.thin_out(SPARE);
        }
        ticket
    }

    /// Takes the older half out of a ring in which most are done.
    pub(crate) fn thin_out(&mut self, spare: usize) {
        if self.ring.len() <= 2 * self.undone + spare {
            return;
        }
        for _ in 0..self.ring.len() / 2 {
            let Some(entry) = self.ring.pop_front() else { return };
            if !entry.is_done {
                self.behind.insert(self.base, entry);
            }
            self.base += 1;
            self.left_to = Some(entry.offset + 1);
        }
    }

    /// The ticket of the next record dispatched.
    pub(crate) fn next_ticket(&self) -> u64 {
        self.base + self.ring.len() as u64
    }

    /// A record was done as soon as it came: it needs no ticket. Those that follow each other take one place.
    pub(crate) fn done_at_once(&mut self, offset: i64) {
        match self.ring.back_mut() {
            Some(last) if last.is_done => last.offset = offset,
            None if self.behind.is_empty() => self.watermark = Some(offset + 1),
            last => {
                // It is never the oldest, so nobody asks since when.
                let at = last.map(|last| last.at).or_else(|| self.oldest()).unwrap_or_else(Instant::now);
                self.ring.push_back(Entry { offset, key: 0, bytes: 0, is_done: true, at });
            }
        }
    }

    /// A record is done. `None` if there is no such ticket or it was done before: then nothing changes.
    pub(crate) fn complete(&mut self, ticket: u64) -> Option<Freed> {
        let entry = match ticket.checked_sub(self.base) {
            None => self.complete_behind(ticket)?,
            Some(index) => {
                let entry = self.ring.get_mut(usize::try_from(index).ok()?)?;
                if std::mem::replace(&mut entry.is_done, true) {
                    return None;
                }
                *entry
            }
        };
        self.undone -= 1;
        if self.behind.is_empty() {
            self.advance();
        }
        Some(Freed { key: entry.key, bytes: entry.bytes as usize })
    }

    fn complete_behind(&mut self, ticket: u64) -> Option<Entry> {
        let entry = self.behind.remove(&ticket)?;
        if let Some((next, first)) = self.behind.first_key_value()
            && ticket < *next
        {
            self.watermark = Some(first.offset);
        }
        Some(entry)
    }

    /// Moves the watermark over what is done at the ring's front.
    fn advance(&mut self) {
        if let Some(end) = self.left_to.take() {
            self.watermark = Some(end);
        }
        while let Some(front) = self.ring.front()
            && front.is_done
        {
            self.watermark = Some(front.offset + 1);
            self.ring.pop_front();
            self.base += 1;
        }
    }

    /// The offset of a record in hand.
    pub(crate) fn offset_of(&self, ticket: u64) -> Option<i64> {
        let entry = match ticket.checked_sub(self.base) {
            None => self.behind.get(&ticket),
            Some(index) => self.ring.get(usize::try_from(index).ok()?),
        };
        entry.map(|entry| entry.offset)
    }

    /// The next offset to read after a restart: every record dispatched below it is done. `None` before the first is.
    pub(crate) fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// The lowest offset dispatched and not done.
    pub(crate) fn first_undone(&self) -> Option<i64> {
        self.first().map(|entry| entry.offset)
    }

    /// The offset after the last that was dispatched, of those that are not forgotten.
    pub(crate) fn end(&self) -> Option<i64> {
        self.ring.back().map(|entry| entry.offset + 1).or(self.left_to).or(self.watermark)
    }

    /// True if records are done above one that is not.
    pub(crate) fn has_done_ahead(&self) -> bool {
        self.ring.len() > self.undone || !self.behind.is_empty()
    }

    /// The offsets above the first record that is not done in which all that was dispatched is done, in rising order.
    pub(crate) fn done_ahead(&self) -> impl Iterator<Item = Range<i64>> {
        // Of each, up to where all is done before it, and where what comes after it begins. Between two records of the ring lie none, or records
        // that came done and share an entry: an entry reaches down to the one before.
        let behind = self.behind.values().map(|entry| (entry.offset, entry.offset + 1));
        let left = self.left_to.map(|end| (end, end));
        let ring = self.ring.iter().map(|entry| match entry.is_done {
            true => (entry.offset + 1, entry.offset + 1),
            false => (i64::MIN, entry.offset + 1),
        });
        let mut begin = i64::MAX;
        behind.chain(left).chain(ring).filter_map(move |(end, next)| {
            let run = std::mem::replace(&mut begin, next)..end;
            (!run.is_empty()).then_some(run)
        })
    }

    /// Records dispatched and not done.
    pub(crate) fn undone(&self) -> usize {
        self.undone
    }

    /// The first record that is not done: with none behind, the ring's front is never done.
    fn first(&self) -> Option<&Entry> {
        self.behind.first_key_value().map(|(_, entry)| entry).or(self.ring.front())
    }

    /// When the oldest record that is not done was dispatched.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.first().map(|entry| entry.at)
    }

    /// Ends the assignment: what is not done is nobody's any more.
    pub(crate) fn abandon(&mut self) -> Vec<Freed> {
        self.undone = 0;
        self.base += self.ring.len() as u64;
        self.left_to = None;
        let behind = std::mem::take(&mut self.behind).into_values();
        behind
            .chain(self.ring.drain(..))
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
    fn a_stuck_record_costs_no_memory_however_many_follow_it() {
        let (mut ledger, first) = ledger(&[1]);
        let mut last = Vec::new();
        for offset in 2..200_000 {
            let ticket = ledger.dispatch(offset, 1, 10, Instant::now());
            if offset == 70_000 || offset > 199_990 {
                last.push(ticket);
            } else {
                assert!(ledger.complete(ticket).is_some());
            }
        }
        assert!(ledger.ring.capacity() < 4 * SPARE, "{}", ledger.ring.capacity());
        assert_eq!((ledger.undone(), ledger.watermark(), ledger.offset_of(first[0])), (11, None, Some(1)));
        let ahead: Vec<(i64, i64)> = ledger.done_ahead().map(|run| (run.start, run.end)).collect();
        assert_eq!(ahead.first(), Some(&(2, 70_000)));
        assert!(ledger.complete(first[0]).is_some());
        assert!(ledger.complete(first[0]).is_none(), "only once");
        assert_eq!(ledger.watermark(), Some(70_000));
        for ticket in last {
            assert!(ledger.complete(ticket).is_some());
        }
        assert_eq!((ledger.undone(), ledger.watermark(), ledger.has_done_ahead()), (0, Some(200_000), false));
        ledger.done_at_once(200_000);
        assert_eq!(ledger.watermark(), Some(200_001));
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
