//! What the handlers of a trial wrote down, and what it proves: which records were lost, doubled, out of order. Pure but for the reading.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use anyhow::{Context as _, Result};

/// Bytes of one attempt in a log.
const LINE: usize = 40;

/// One call of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) id: u64,
    pub(crate) key: u64,
    /// Place within the key.
    pub(crate) sequence: u64,
    pub(crate) began_ns: u64,
    /// 0 for an attempt that failed.
    pub(crate) done_ns: u64,
}

/// What a trial proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Verdict {
    /// Neither handled nor a dead letter.
    pub(crate) lost: usize,
    /// Handled once more than needed.
    pub(crate) doubled: usize,
    /// Handled while another record of its key was, or before one that precedes it. Going back to the last commit is no disorder: what
    /// is done again is counted as doubled.
    pub(crate) out_of_order: usize,
    pub(crate) failed_attempts: usize,
}

impl Verdict {
    /// Of these attempts on records `0..records`; `dead_letters` are in durable hands.
    pub(crate) fn of(attempts: &[Attempt], records: u64, dead_letters: &BTreeSet<u64>) -> Self {
        let done: Vec<&Attempt> = attempts.iter().filter(|attempt| attempt.done_ns > 0).collect();
        let distinct: BTreeSet<u64> = done.iter().map(|attempt| attempt.id).collect();
        let mut by_key: BTreeMap<u64, Vec<&Attempt>> = BTreeMap::new();
        for attempt in &done {
            by_key.entry(attempt.key).or_default().push(attempt);
        }
        Self {
            lost: (0..records).filter(|id| !distinct.contains(id) && !dead_letters.contains(id)).count(),
            doubled: done.len() - distinct.len(),
            out_of_order: by_key.into_values().map(disorder).sum(),
            failed_attempts: attempts.len() - done.len(),
        }
    }
}

/// How many of one key's attempts began out of order.
fn disorder(mut attempts: Vec<&Attempt>) -> usize {
    attempts.sort_by_key(|attempt| attempt.began_ns);
    // Records that were lost, or are dead letters, are counted elsewhere: the order is that of those that were handled.
    let known: BTreeSet<u64> = attempts.iter().map(|attempt| attempt.sequence).collect();
    let places: BTreeMap<u64, usize> =
        known.into_iter().enumerate().map(|(place, sequence)| (sequence, place)).collect();
    let (mut next, mut busy_until_ns, mut found) = (0, 0, 0);
    for attempt in attempts {
        let place = places[&attempt.sequence];
        if place > next || attempt.began_ns < busy_until_ns {
            found += 1;
        }
        next = place + 1;
        busy_until_ns = busy_until_ns.max(attempt.done_ns);
    }
    found
}

/// The log of a trial, read as it grows.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    read: u64,
    attempts: Vec<Attempt>,
    done: BTreeSet<u64>,
}

impl Log {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: 0, attempts: Vec::new(), done: BTreeSet::new() }
    }

    /// Takes what was appended since. True if anything was.
    ///
    /// # Errors
    /// When the file cannot be read; one that does not exist yet is empty.
    pub(crate) fn catch_up(&mut self) -> Result<bool> {
        let Ok(mut file) = File::open(&self.path) else { return Ok(false) };
        file.seek(SeekFrom::Start(self.read)).context("cannot seek in a log")?;
        let mut fresh = Vec::new();
        file.read_to_end(&mut fresh).with_context(|| format!("cannot read {}", self.path.display()))?;
        let lines = fresh.chunks_exact(LINE);
        // A line that is half written is read next time.
        self.read += (fresh.len() - lines.remainder().len()) as u64;
        let before = self.attempts.len();
        self.attempts.extend(lines.filter_map(parse));
        self.done.extend(self.attempts[before..].iter().filter(|one| one.done_ns > 0).map(|one| one.id));
        Ok(self.attempts.len() > before)
    }

    pub(crate) fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Records that were handled at least once.
    pub(crate) fn done(&self) -> &BTreeSet<u64> {
        &self.done
    }
}

fn parse(line: &[u8]) -> Option<Attempt> {
    let mut numbers = line.chunks_exact(8).filter_map(|number| Some(u64::from_le_bytes(*number.first_chunk()?)));
    let mut next = || numbers.next();
    Some(Attempt { id: next()?, key: next()?, sequence: next()?, began_ns: next()?, done_ns: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts on one key, one after the other, by place in the key; ids are the places.
    fn in_turn(places: &[u64]) -> Vec<Attempt> {
        let attempt = |(at, place): (u64, &u64)| Attempt {
            id: *place,
            key: 1,
            sequence: *place,
            began_ns: at * 10,
            done_ns: at * 10 + 9,
        };
        (1..).zip(places).map(attempt).collect()
    }

    fn verdict(places: &[u64]) -> Verdict {
        Verdict::of(&in_turn(places), 4, &BTreeSet::new())
    }

    #[test]
    fn in_order_and_complete() {
        assert_eq!(verdict(&[0, 1, 2, 3]), Verdict::default());
    }

    #[test]
    fn a_swap_is_disorder() {
        assert!(verdict(&[0, 2, 1, 3]).out_of_order > 0);
        assert!(verdict(&[1, 0, 2, 3]).out_of_order > 0, "also at the start");
    }

    #[test]
    fn a_restart_from_the_last_commit_doubles_and_is_no_disorder() {
        assert_eq!(verdict(&[0, 1, 2, 1, 2, 3]), Verdict { doubled: 2, ..Verdict::default() });
        assert!(verdict(&[0, 1, 2, 2, 1, 2, 3]).out_of_order == 0, "two restarts");
        assert!(verdict(&[0, 1, 2, 0, 2, 3]).out_of_order > 0, "what is done again keeps its order too");
    }

    #[test]
    fn two_of_a_key_at_once_are_disorder() {
        let mut attempts = in_turn(&[0, 1, 2, 3]);
        attempts[2].done_ns = 45;
        assert_eq!(Verdict::of(&attempts, 4, &BTreeSet::new()).out_of_order, 1);
    }

    #[test]
    fn lost_is_what_is_neither_handled_nor_a_dead_letter() {
        let attempts = in_turn(&[0, 3]);
        assert_eq!(Verdict::of(&attempts, 4, &BTreeSet::from([1])), Verdict { lost: 1, ..Verdict::default() });
    }

    #[test]
    fn a_failed_attempt_is_not_handled() {
        let mut attempts = in_turn(&[0, 1, 1, 2, 3]);
        attempts[1].done_ns = 0;
        assert_eq!(Verdict::of(&attempts, 4, &BTreeSet::new()), Verdict { failed_attempts: 1, ..Verdict::default() });
    }

    #[test]
    fn half_a_line_waits_for_its_rest() {
        let path = std::env::temp_dir().join(format!("bench-attempts-{}", std::process::id()));
        let whole: Vec<u8> = [7_u64, 1, 0, 5, 6].iter().flat_map(|number| number.to_le_bytes()).collect();
        std::fs::write(&path, [&whole[..], &whole[..13]].concat()).expect("a temporary file");
        let mut log = Log::new(path.clone());
        assert!(log.catch_up().expect("readable"));
        assert_eq!(log.attempts().len(), 1);
        std::fs::write(&path, [&whole[..], &whole[..]].concat()).expect("a temporary file");
        assert!(log.catch_up().expect("readable"));
        assert_eq!(log.attempts()[1], Attempt { id: 7, key: 1, sequence: 0, began_ns: 5, done_ns: 6 });
        std::fs::remove_file(path).expect("it was there");
    }
}
