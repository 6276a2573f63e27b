//! What a lane runs next: per-key order and nothing else. Pure: no clock, no async. A key is busy from the moment its first job is ready
//! until its last is over; while it is busy its other jobs wait behind it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::batch::{Batch, Step};
use crate::job::{Job, Tag};

/// Key hashes are mixed already: hashing them again would only cost.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = crate::hash::key_hash(bytes);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// The jobs of one lane that are not running.
pub(crate) struct Schedule<T> {
    /// Jobs behind each busy key's first.
    behind: HashMap<u64, VecDeque<Job<T>>, BuildHasherDefault<AsItIs>>,
    /// The first job of each key that is not running.
    ready: VecDeque<Job<T>>,
    /// Batches to be called as they are: after a split, a wait or a release.
    again: VecDeque<Batch<T>>,
    /// As `again`, but only when there is nothing else, until somebody recalls them.
    put_off: VecDeque<Batch<T>>,
    /// By group: jobs of this generation and older are nobody's any more.
    forgotten: Vec<u32>,
    /// Jobs dropped since somebody asked.
    dropped: usize,
}

impl<T> Schedule<T> {
    pub(crate) fn new() -> Self {
        Self {
            behind: HashMap::default(),
            ready: VecDeque::new(),
            again: VecDeque::new(),
            put_off: VecDeque::new(),
            forgotten: Vec::new(),
            dropped: 0,
        }
    }

    /// Takes out of a batch what has been forgotten while it ran. True if jobs of the call itself were among it.
    pub(crate) fn drop_stale(&mut self, batch: &mut Batch<T>) -> bool {
        let call_is_stale = batch.jobs.tags.iter().any(|tag| self.is_stale(tag));
        let mut freed = Vec::new();
        let dropped = batch.retain(|tag| !self.is_stale(tag), &mut freed);
        self.dropped += dropped;
        for key in freed {
            self.release_key(key);
        }
        call_is_stale
    }

    /// How many jobs were dropped since the last call.
    pub(crate) fn take_dropped(&mut self) -> usize {
        std::mem::take(&mut self.dropped)
    }

    /// Takes a new job; the order of calls is the order within its key.
    pub(crate) fn push(&mut self, job: Job<T>) {
        if self.is_stale(&job.tag) {
            self.dropped += 1;
            return;
        }
        match self.behind.entry(job.tag.key) {
            Entry::Occupied(mut busy) => busy.get_mut().push_back(job),
            Entry::Vacant(idle) => {
                idle.insert(VecDeque::new());
                self.ready.push_back(job);
            }
        }
    }

    /// Takes back a batch whose keys are still busy.
    pub(crate) fn push_again(&mut self, batch: Batch<T>) {
        self.again.push_back(batch);
    }

    /// As [`push_again`](Self::push_again), before all others.
    pub(crate) fn push_again_first(&mut self, batch: Batch<T>) {
        self.again.push_front(batch);
    }

    /// As [`push_again`](Self::push_again), behind everything else.
    pub(crate) fn put_off(&mut self, batch: Batch<T>) {
        self.put_off.push_back(batch);
    }

    /// Lets what was put off take its place among what comes again.
    pub(crate) fn recall_put_off(&mut self) {
        self.again.append(&mut self.put_off);
    }

    /// True when the next call is no handler's, but gives a job up.
    pub(crate) fn gives_up_next(&self) -> bool {
        self.again.front().is_some_and(|batch| batch.step != Step::Handle)
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.again.is_empty() || !self.put_off.is_empty()
    }

    /// True when no key is busy, so that nothing is here and nothing is running or waiting elsewhere.
    pub(crate) fn is_idle(&self) -> bool {
        self.behind.is_empty() && self.again.is_empty() && self.put_off.is_empty()
    }

    /// The next call: a batch that was here before, or up to `max_batch` ready jobs with what waits behind them.
    pub(crate) fn next(&mut self, max_batch: usize) -> Option<Batch<T>> {
        if let Some(batch) = self.again.pop_front() {
            return Some(batch);
        }
        let expected = self.ready.len().min(max_batch);
        let mut items = Vec::with_capacity(expected);
        let mut tags = Vec::with_capacity(expected);
        while items.len() < max_batch
            && let Some(first) = self.ready.pop_front()
        {
            let key = first.tag.key;
            items.push(first.item);
            tags.push(first.tag);
            if items.len() < max_batch
                && let Some(behind) = self.behind.get_mut(&key)
            {
                let room = behind.len().min(max_batch - items.len());
                for job in behind.drain(..room) {
                    items.push(job.item);
                    tags.push(job.tag);
                }
            }
        }
        if items.is_empty() {
            return self.put_off.pop_front();
        }
        Some(Batch::new(items, tags))
    }

    /// A key's jobs in hand are over: its next is ready, or the key is idle.
    pub(crate) fn release_key(&mut self, key: u64) {
        let Entry::Occupied(mut busy) = self.behind.entry(key) else {
            return;
        };
        match busy.get_mut().pop_front() {
            Some(next) => self.ready.push_back(next),
            None => {
                busy.remove();
            }
        }
    }

    /// True for a job of an assignment that is over.
    pub(crate) fn is_stale(&self, tag: &Tag) -> bool {
        self.forgotten.get(tag.group as usize).is_some_and(|&generation| tag.generation <= generation)
    }

    /// Drops all jobs of this group up to this generation that are not running, in `elsewhere` (waiting, held) too.
    pub(crate) fn forget(&mut self, group: u32, generation: u32, elsewhere: &mut [&mut Batch<T>]) {
        let index = group as usize;
        if self.forgotten.len() <= index {
            self.forgotten.resize(index + 1, 0);
        }
        self.forgotten[index] = self.forgotten[index].max(generation);
        let keep = |tag: &Tag| !(tag.group == group && tag.generation <= generation);

        for behind in self.behind.values_mut() {
            let before = behind.len();
            behind.retain(|job| keep(&job.tag));
            self.dropped += before - behind.len();
        }
        let mut freed: Vec<u64> = Vec::new();
        self.ready.retain(|job| {
            let stays = keep(&job.tag);
            if !stays {
                freed.push(job.tag.key);
            }
            stays
        });
        self.dropped += freed.len();
        for batch in self.again.iter_mut().chain(&mut self.put_off) {
            self.dropped += batch.retain(keep, &mut freed);
        }
        for batch in elsewhere {
            self.dropped += batch.retain(keep, &mut freed);
        }
        self.again.retain(|batch| !batch.is_empty());
        self.put_off.retain(|batch| !batch.is_empty());
        for key in freed {
            self.release_key(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(key: u64, ticket: u64) -> Job<u64> {
        Job { tag: Tag { key, group: 0, generation: 1, ticket, attempts: 0 }, item: ticket }
    }

    fn scheduled(jobs: &[(u64, u64)]) -> Schedule<u64> {
        let mut schedule = Schedule::new();
        for &(key, ticket) in jobs {
            schedule.push(job(key, ticket));
        }
        schedule
    }

    #[test]
    fn a_key_is_never_in_two_calls() {
        let mut schedule = scheduled(&[(1, 10), (1, 11), (2, 20)]);
        assert_eq!(schedule.next(1).unwrap().jobs.items, [10]);
        assert_eq!(schedule.next(1).unwrap().jobs.items, [20]);
        assert!(schedule.next(1).is_none(), "11 waits for 10");
        schedule.release_key(1);
        assert_eq!(schedule.next(1).unwrap().jobs.items, [11]);
        schedule.release_key(1);
        schedule.release_key(2);
        assert!(schedule.is_idle());
    }

    #[test]
    fn what_is_put_off_comes_last_until_it_is_recalled() {
        let mut schedule = scheduled(&[(1, 10), (2, 20), (3, 30)]);
        let first = schedule.next(1).unwrap();
        schedule.put_off(first);
        assert_eq!(schedule.next(1).unwrap().jobs.items, [20]);
        let again = schedule.next(1).unwrap();
        assert_eq!(again.jobs.items, [30]);
        schedule.push_again(again);
        schedule.recall_put_off();
        assert_eq!(schedule.next(1).unwrap().jobs.items, [30]);
        let last = schedule.next(1).unwrap();
        assert_eq!(last.jobs.items, [10]);
        schedule.put_off(last);
        assert!(schedule.has_work() && !schedule.is_idle());
        schedule.forget(0, 1, &mut []);
        assert!(!schedule.has_work(), "what is put off is forgotten as well");
    }

    #[test]
    fn a_batch_keeps_each_keys_jobs_together_and_in_order() {
        let mut schedule = scheduled(&[(1, 10), (2, 20), (1, 11), (1, 12), (3, 30)]);
        assert_eq!(schedule.next(4).unwrap().jobs.items, [10, 11, 12, 20]);
        assert_eq!(schedule.next(4).unwrap().jobs.items, [30]);
    }

    #[test]
    fn what_is_forgotten_goes_and_what_comes_late_too() {
        let mut schedule = scheduled(&[(1, 10), (1, 11), (2, 20)]);
        let running = schedule.next(1).unwrap();
        schedule.forget(0, 1, &mut []);
        assert_eq!(schedule.take_dropped(), 2);
        assert!(!schedule.has_work());
        schedule.push(job(9, 90));
        assert!(!schedule.has_work(), "an old generation that comes late");
        schedule.release_key(running.jobs.tags[0].key);
        assert!(schedule.is_idle());
        let mut again = job(1, 12);
        again.tag.generation = 2;
        schedule.push(again);
        assert_eq!(schedule.next(1).unwrap().jobs.items, [12]);
    }
}
