//! What a lane runs next: per-key order and nothing else. Pure: no clock, no async. A key is busy from the moment its first job is ready
//! until its last is over; while it is busy its other jobs wait behind it.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use crate::batch::{Batch, Jobs, Step};
use crate::hash::KeyMap;
use crate::job::{Job, Tag};

/// Keys and ready jobs whose room a lane keeps though it is not used.
const ROOM_KEPT: usize = 4_096;

/// Where a new job went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed<'a, T> {
    /// Its assignment is over.
    Dropped,
    /// It is the first of its key.
    Ready,
    /// It waits, here.
    Behind(&'a mut T),
}

/// The jobs of one lane that are not running.
pub(crate) struct Schedule<T> {
    /// Jobs behind each busy key's first.
    behind: KeyMap<VecDeque<Job<T>>>,
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
            behind: KeyMap::default(),
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
    pub(crate) fn push(&mut self, job: Job<T>) -> Pushed<'_, T> {
        if self.is_stale(&job.tag) {
            self.dropped += 1;
            return Pushed::Dropped;
        }
        match self.behind.entry(job.tag.key) {
            Entry::Occupied(busy) => {
                let behind = busy.into_mut();
                behind.push_back(job);
                Pushed::Behind(&mut behind.back_mut().expect("just pushed").item)
            }
            Entry::Vacant(idle) => {
                idle.insert(VecDeque::new());
                self.ready.push_back(job);
                Pushed::Ready
            }
        }
    }

    /// True for a new job that may run at once: its key is idle and its assignment goes on. Nothing is entered.
    pub(crate) fn is_free(&self, tag: &Tag) -> bool {
        !self.is_stale(tag) && (self.behind.is_empty() || !self.behind.contains_key(&tag.key))
    }

    /// A job that was free runs on: its key is busy from now.
    pub(crate) fn occupy(&mut self, key: u64) {
        let before = self.behind.insert(key, VecDeque::new());
        debug_assert!(before.is_none(), "a free key has no entry");
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

    /// Jobs that are the first of their key, and not running.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// True when there is something to call.
    pub(crate) fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.again.is_empty() || !self.put_off.is_empty()
    }

    /// A batch that was here before.
    pub(crate) fn next_again(&mut self) -> Option<Batch<T>> {
        self.again.pop_front()
    }

    /// A batch that was put off: only once there is nothing else.
    pub(crate) fn next_put_off(&mut self) -> Option<Batch<T>> {
        self.put_off.pop_front()
    }

    /// True when no key is busy, so that nothing is here and nothing is running or waiting elsewhere.
    pub(crate) fn is_idle(&self) -> bool {
        self.behind.is_empty() && self.again.is_empty() && self.put_off.is_empty()
    }

    /// Fills the next call: up to `max_batch` ready jobs with what waits behind them.
    pub(crate) fn fill(&mut self, jobs: &mut Jobs<T>, max_batch: usize) {
        while jobs.items.len() < max_batch
            && let Some(first) = self.ready.pop_front()
        {
            let key = first.tag.key;
            jobs.push(first);
            if jobs.items.len() < max_batch
                && let Some(behind) = self.behind.get_mut(&key)
            {
                let room = behind.len().min(max_batch - jobs.items.len());
                behind.drain(..room).for_each(|job| jobs.push(job));
            }
        }
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
                if self.behind.is_empty() && self.behind.capacity() > ROOM_KEPT {
                    // After a burst of keys nothing of it stays.
                    self.behind.shrink_to(ROOM_KEPT / 2);
                    self.ready.shrink_to(ROOM_KEPT / 2);
                }
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

    fn batch(key: u64, ticket: u64) -> Batch<u64> {
        let Job { tag, item } = job(key, ticket);
        Batch::new(vec![item], vec![tag])
    }

    fn next(schedule: &mut Schedule<u64>, max_batch: usize) -> Vec<u64> {
        let mut jobs = Jobs::with_capacity(max_batch);
        schedule.fill(&mut jobs, max_batch);
        jobs.items
    }

    #[test]
    fn a_key_is_never_in_two_calls() {
        let mut schedule = scheduled(&[(1, 10), (1, 11), (2, 20)]);
        assert_eq!(next(&mut schedule, 1), [10]);
        assert_eq!(next(&mut schedule, 1), [20]);
        assert!(next(&mut schedule, 1).is_empty(), "11 waits for 10");
        schedule.release_key(1);
        assert_eq!(next(&mut schedule, 1), [11]);
        schedule.release_key(1);
        schedule.release_key(2);
        assert!(schedule.is_idle());
    }

    #[test]
    fn what_is_put_off_comes_last_until_it_is_recalled() {
        let mut schedule = scheduled(&[(1, 10), (2, 20), (3, 30)]);
        assert_eq!(next(&mut schedule, 1), [10]);
        schedule.put_off(batch(1, 10));
        assert_eq!(next(&mut schedule, 1), [20]);
        assert_eq!(next(&mut schedule, 1), [30]);
        schedule.push_again(batch(3, 30));
        schedule.recall_put_off();
        assert!(schedule.next_put_off().is_none(), "it has its place again");
        assert_eq!(schedule.next_again().unwrap().jobs.items, [30]);
        assert_eq!(schedule.next_again().unwrap().jobs.items, [10]);
        schedule.put_off(batch(1, 10));
        assert!(schedule.has_work() && !schedule.is_idle());
        schedule.forget(0, 1, &mut []);
        assert!(!schedule.has_work(), "what is put off is forgotten as well");
    }

    #[test]
    fn a_batch_keeps_each_keys_jobs_together_and_in_order() {
        let mut schedule = scheduled(&[(1, 10), (2, 20), (1, 11), (1, 12), (3, 30)]);
        assert_eq!(next(&mut schedule, 4), [10, 11, 12, 20]);
        assert_eq!(next(&mut schedule, 4), [30]);
    }

    #[test]
    fn a_free_job_makes_its_key_busy_only_once_it_runs_on() {
        let mut schedule = scheduled(&[]);
        assert!(schedule.is_free(&job(1, 10).tag));
        assert!(schedule.is_idle(), "asking enters nothing");
        schedule.occupy(1);
        assert!(!schedule.is_free(&job(1, 11).tag));
        assert_eq!(schedule.push(job(1, 11)), Pushed::Behind(&mut 11));
        schedule.release_key(1);
        assert_eq!(next(&mut schedule, 1), [11]);
        schedule.forget(0, 1, &mut []);
        assert!(!schedule.is_free(&job(2, 20).tag), "its assignment is over");
    }

    #[test]
    fn a_burst_of_keys_leaves_no_room_behind() {
        let mut schedule = Schedule::new();
        for key in 0..100_000 {
            schedule.push(job(key, key));
        }
        while schedule.ready() > 0 {
            for key in next(&mut schedule, 1) {
                schedule.release_key(key);
            }
        }
        assert!(schedule.is_idle());
        assert!(schedule.behind.capacity() <= ROOM_KEPT, "{}", schedule.behind.capacity());
        assert!(schedule.ready.capacity() <= ROOM_KEPT, "{}", schedule.ready.capacity());
    }

    #[test]
    fn what_is_forgotten_goes_and_what_comes_late_too() {
        let mut schedule = scheduled(&[(1, 10), (1, 11), (2, 20)]);
        assert_eq!(next(&mut schedule, 1), [10]);
        schedule.forget(0, 1, &mut []);
        assert_eq!(schedule.take_dropped(), 2);
        assert_eq!(schedule.ready(), 0);
        assert_eq!(schedule.push(job(9, 90)), Pushed::Dropped, "an old generation that comes late");
        schedule.release_key(1);
        assert!(schedule.is_idle());
        let mut again = job(1, 12);
        again.tag.generation = 2;
        schedule.push(again);
        assert_eq!(next(&mut schedule, 1), [12]);
    }
}
