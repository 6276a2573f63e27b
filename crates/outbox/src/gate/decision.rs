//! What the gate does with a record, from the stream's position alone: apply, drop, park, or stop. Pure, so that a model checker can walk it.
//! It must not know SQL, Kafka, or what an event means.

use std::collections::{BTreeMap, BTreeSet};

/// How a record asks to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An event as its producer sent it.
    Event,
    /// A dead letter on its way again: it may pass a blocked number.
    Replay,
    /// The decision to go on without the event of a blocked number.
    Skip,
    /// The decision to go on without an event that exists nowhere any more: it passes only the number that later ones wait for.
    SkipMissing,
}

/// The position of one source's stream within one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// Every number up to here is done: applied, or skipped by decision.
    pub applied: i64,
    /// Numbers above `applied` that wait for a decision: their dead letters are open.
    pub letters: BTreeSet<i64>,
    /// How many records are parked.
    pub parked: u64,
    /// The lowest number parked.
    pub lowest_parked: Option<i64>,
}

impl Epoch {
    /// What stands in the way of the next number, as the `stream_pos` row shows it.
    #[must_use]
    pub fn blocked(&self) -> Option<i64> {
        self.letters.first().copied()
    }

    fn is_finished(&self) -> bool {
        self.letters.is_empty() && self.parked == 0
    }
}

/// One source's stream: its epochs, which are applied in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// By epoch number. One that is absent has not been seen.
    pub epochs: BTreeMap<i64, Epoch>,
}

/// What to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It is the next one: apply its effect and advance.
    Apply,
    /// It is the decision on the next number: advance without an effect.
    Skip,
    /// Its number is done. With the event id that was applied it is a duplicate, with another one an alarm: [`repeated`] tells.
    Repeat,
    /// Its number waits for a decision about its dead letter: drop it, the letter holds it.
    Blocked,
    /// It came early: keep it until the numbers before it are done.
    Park,
    /// It belongs to a past that the producer's restored database no longer has: drop it.
    Stale,
    /// A decision about a number that waits for none.
    Void,
}

impl Stream {
    /// What to do with the record of this number.
    #[must_use]
    pub fn decide(&self, kind: Kind, epoch: i64, seq: i64) -> Decision {
        let unseen = Epoch::default();
        let here = self.epochs.get(&epoch).unwrap_or(&unseen);
        let has_letter = here.letters.contains(&seq);
        if seq <= here.applied {
            return if matches!(kind, Kind::Skip | Kind::SkipMissing) { Decision::Void } else { Decision::Repeat };
        }
        if self.epochs.range(epoch.saturating_add(1)..).any(|(_, later)| later.applied > 0) {
            return Decision::Stale;
        }
        match kind {
            Kind::Event if has_letter => return Decision::Blocked,
            Kind::Skip if !has_letter => return Decision::Void,
            Kind::Event | Kind::Replay | Kind::Skip | Kind::SkipMissing => {}
        }
        let earlier_unfinished = self.epochs.range(..epoch).any(|(_, earlier)| !earlier.is_finished());
        if kind == Kind::SkipMissing {
            let is_missing = !has_letter && here.lowest_parked.is_some_and(|lowest| lowest > seq);
            let is_next = seq == here.applied + 1 && !earlier_unfinished;
            return if is_missing && is_next { Decision::Skip } else { Decision::Void };
        }
        if seq > here.applied + 1 || earlier_unfinished {
            return Decision::Park;
        }
        if kind == Kind::Skip { Decision::Skip } else { Decision::Apply }
    }

    /// The number is done.
    ///
    /// # Panics
    /// If it is not the next one: that would lose the numbers between.
    pub fn advance(&mut self, epoch: i64, seq: i64) {
        let here = self.epochs.entry(epoch).or_default();
        assert_eq!(seq, here.applied + 1, "a stream advances one number at a time");
        here.applied = seq;
        here.letters.remove(&seq);
    }

    /// The record of this number was parked, and was not before.
    pub fn park(&mut self, epoch: i64, seq: i64) {
        let here = self.epochs.entry(epoch).or_default();
        here.parked += 1;
        here.lowest_parked = Some(here.lowest_parked.map_or(seq, |lowest| lowest.min(seq)));
    }

    /// The epoch whose parked records have something to do: what comes next, or what is done already and must be cleared away.
    #[must_use]
    pub fn drainable(&self) -> Option<i64> {
        for (epoch, here) in &self.epochs {
            match here.lowest_parked {
                Some(lowest) if lowest <= here.applied + 1 => return Some(*epoch),
                Some(_) => return None,
                None if !here.letters.is_empty() => return None,
                None => {}
            }
        }
        None
    }
}

/// Whether a record whose number is done is the one that did it.
#[must_use]
pub fn repeated(applied_event_id: Option<&str>, event_id: &str) -> Repeated {
    match applied_event_id {
        // A skipped number has no event.
        None => Repeated::Duplicate,
        Some(applied) if applied == event_id => Repeated::Duplicate,
        Some(_) => Repeated::Conflict,
    }
}

/// See [`repeated`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// The same event again: drop it.
    Duplicate,
    /// Another event under the same number: quarantine it and raise the alarm.
    Conflict,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(applied: i64, letters: &[i64], parked: &[i64]) -> Stream {
        let epoch = Epoch {
            applied,
            letters: letters.iter().copied().collect(),
            parked: parked.len() as u64,
            lowest_parked: parked.iter().min().copied(),
        };
        Stream { epochs: BTreeMap::from([(0, epoch)]) }
    }

    #[test]
    fn the_table_of_one_epoch() {
        use Decision::{Apply, Blocked, Park, Repeat, Skip, Void};
        let open = || stream(4, &[], &[]);
        let gap = || stream(4, &[], &[7]);
        let blocked = || stream(4, &[5], &[6]);
        let ahead = || stream(4, &[7], &[]);
        let cases = [
            ("the next event", open(), Kind::Event, 5, Apply),
            ("the last one again", open(), Kind::Event, 4, Repeat),
            ("an old one again", open(), Kind::Event, 1, Repeat),
            ("one too early", open(), Kind::Event, 6, Park),
            ("what fills a gap", gap(), Kind::Event, 5, Apply),
            ("within the gap", gap(), Kind::Event, 6, Park),
            ("a letter's record again", blocked(), Kind::Event, 5, Blocked),
            ("behind a letter", blocked(), Kind::Event, 6, Park),
            ("the letter's replay", blocked(), Kind::Replay, 5, Apply),
            ("the letter's discard", blocked(), Kind::Skip, 5, Skip),
            ("a replay of what is done", blocked(), Kind::Replay, 3, Repeat),
            ("a discard of what is done", blocked(), Kind::Skip, 3, Void),
            ("a discard without a letter", open(), Kind::Skip, 5, Void),
            ("a replay without a letter", open(), Kind::Replay, 5, Apply),
            ("up to a letter ahead", ahead(), Kind::Event, 5, Apply),
            ("a letter ahead, its record again", ahead(), Kind::Event, 7, Blocked),
            ("a letter ahead, its replay", ahead(), Kind::Replay, 7, Park),
            ("a letter ahead, its discard", ahead(), Kind::Skip, 7, Park),
            ("a missing number given up", gap(), Kind::SkipMissing, 5, Skip),
            ("a missing number behind another", gap(), Kind::SkipMissing, 6, Void),
            ("what is parked is not missing", gap(), Kind::SkipMissing, 7, Void),
            ("what nothing waits for is not missing", open(), Kind::SkipMissing, 5, Void),
            ("what is done is not missing", gap(), Kind::SkipMissing, 4, Void),
            ("a letter is discarded, not given up", blocked(), Kind::SkipMissing, 5, Void),
        ];
        for (name, stream, kind, seq, expected) in cases {
            assert_eq!(stream.decide(kind, 0, seq), expected, "{name}");
        }
    }

    #[test]
    fn epochs_are_applied_in_order() {
        let mut stream = stream(8, &[], &[]);
        assert_eq!(stream.decide(Kind::Event, 1, 1), Decision::Apply, "a new epoch begins at 1");
        stream.advance(1, 1);
        assert_eq!(stream.decide(Kind::Event, 0, 9), Decision::Stale, "the past ends where the new epoch begins");
        assert_eq!(stream.decide(Kind::Event, 0, 8), Decision::Repeat);
        let waiting = super::tests::stream(8, &[9], &[]);
        assert_eq!(waiting.decide(Kind::Event, 1, 1), Decision::Park, "the old epoch has an open letter");
        let gap = super::tests::stream(8, &[], &[10]);
        assert_eq!(gap.decide(Kind::Event, 1, 1), Decision::Park, "the old epoch has a gap");
    }

    #[test]
    fn only_what_can_go_on_is_drainable() {
        assert_eq!(stream(4, &[], &[]).drainable(), None);
        assert_eq!(stream(4, &[], &[5, 6]).drainable(), Some(0));
        assert_eq!(stream(4, &[], &[3]).drainable(), Some(0), "what is done is cleared away");
        assert_eq!(stream(4, &[], &[6]).drainable(), None);
        let mut two = stream(4, &[5], &[]);
        two.park(1, 1);
        assert_eq!(two.drainable(), None, "the later epoch waits for the letter");
        two.advance(0, 5);
        assert_eq!(two.drainable(), Some(1));
    }

    #[test]
    fn another_event_under_a_done_number_is_a_conflict() {
        assert_eq!(repeated(Some("a"), "a"), Repeated::Duplicate);
        assert_eq!(repeated(Some("a"), "b"), Repeated::Conflict);
        assert_eq!(repeated(None, "b"), Repeated::Duplicate, "a skipped number has no event");
    }
}
