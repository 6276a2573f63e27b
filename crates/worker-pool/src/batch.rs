//! One handler call's jobs, and how a failing call is taken apart until the culprit stands alone. Pure.

use std::sync::Arc;

use crate::job::{GaveUp, Job, Tag};

/// What a call does with its jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Hands them to the handler.
    Handle,
    /// Makes the giving up of its one job durable.
    GiveUp(GaveUp),
}

/// Jobs and what the engine knows of them, at the same places.
#[derive(Debug)]
pub(crate) struct Jobs<T> {
    pub(crate) items: Vec<T>,
    pub(crate) tags: Vec<Tag>,
}

/// Jobs of one call: equal keys are neighbours, each key's jobs are in their order. All its keys are busy: nobody else runs them.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub(crate) jobs: Jobs<T>,
    pub(crate) step: Step,
    /// Chunks of the same single key split off behind this one; the next is last.
    pub(crate) rest: Vec<Jobs<T>>,
    /// Failures of the giving up in a row.
    pub(crate) give_up_failures: u32,
}

impl<T> Batch<T> {
    pub(crate) fn new(items: Vec<T>, tags: Vec<Tag>) -> Self {
        Self { jobs: Jobs { items, tags }, step: Step::Handle, rest: Vec::new(), give_up_failures: 0 }
    }

    /// Halves a batch of two or more. Between keys where there are several: the halves then run side by side. Within its one key
    /// otherwise: the second half waits behind the first.
    pub(crate) fn split(mut self) -> (Self, Option<Self>) {
        let tags = &self.jobs.tags;
        let middle = tags.len() / 2;
        let between_keys =
            (1..tags.len()).filter(|&at| tags[at - 1].key != tags[at].key).min_by_key(|&at| at.abs_diff(middle));
        let later = self.jobs.split_off(between_keys.unwrap_or(middle));
        if between_keys.is_some() {
            (self, Some(Self::new(later.items, later.tags)))
        } else {
            self.rest.push(later);
            (self, None)
        }
    }

    /// After the batch's own jobs are over: the chunk of its key that was split off behind it.
    pub(crate) fn next_chunk(mut rest: Vec<Jobs<T>>) -> Option<Self> {
        let Jobs { items, tags } = rest.pop()?;
        let mut next = Self::new(items, tags);
        next.rest = rest;
        Some(next)
    }

    /// Drops jobs that are stale and moves a chunk up when none is left in front. Adds the keys that have gone altogether to `freed` and
    /// returns how many jobs have gone.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Tag) -> bool, freed: &mut Vec<u64>) -> usize {
        let before = self.count();
        let keys: Vec<u64> = distinct_keys(&self.jobs.tags).collect();
        self.jobs.retain(&keep);
        for chunk in &mut self.rest {
            chunk.retain(&keep);
        }
        self.rest.retain(|chunk| !chunk.items.is_empty());
        if self.jobs.items.is_empty()
            && let Some(chunk) = self.rest.pop()
        {
            self.jobs = chunk;
            self.step = Step::Handle;
            self.give_up_failures = 0;
        }
        freed.extend(keys.into_iter().filter(|key| !self.jobs.tags.iter().any(|tag| tag.key == *key)));
        before - self.count()
    }

    /// True when nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.items.is_empty()
    }

    fn count(&self) -> usize {
        self.jobs.items.len() + self.rest.iter().map(|chunk| chunk.items.len()).sum::<usize>()
    }
}

impl<T> Jobs<T> {
    /// Room for a call of this many.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { items: Vec::with_capacity(count), tags: Vec::with_capacity(count) }
    }

    pub(crate) fn push(&mut self, job: Job<T>) {
        self.items.push(job.item);
        self.tags.push(job.tag);
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.tags.clear();
    }

    /// The jobs of a call that has not begun, or is over.
    pub(crate) fn own(jobs: &mut Arc<Self>) -> &mut Self {
        Arc::get_mut(jobs).expect("only a running call's future owns its jobs too")
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self { items: self.items.split_off(at), tags: self.tags.split_off(at) }
    }

    fn retain(&mut self, keep: impl Fn(&Tag) -> bool) {
        let mut tag = self.tags.iter();
        self.items.retain(|_| tag.next().is_some_and(&keep));
        self.tags.retain(keep);
    }
}

impl<T> Batch<T> {
    /// All items, those of later chunks too.
    pub(crate) fn items_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.jobs.items.iter_mut().chain(self.rest.iter_mut().flat_map(|chunk| &mut chunk.items))
    }
}

/// Each key once, as equal keys are neighbours.
pub(crate) fn distinct_keys(tags: &[Tag]) -> impl Iterator<Item = u64> {
    tags.iter().enumerate().filter(|(at, tag)| *at == 0 || tags[at - 1].key != tag.key).map(|(_, tag)| tag.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(keys: &[u64]) -> Batch<usize> {
        let tags = keys
            .iter()
            .map(|&key| Tag { key, group: u32::try_from(key).unwrap(), generation: 1, ticket: 0, attempts: 0 })
            .collect();
        Batch::new((0..keys.len()).collect(), tags)
    }

    #[test]
    fn several_keys_split_between_keys() {
        let (first, second) = batch(&[1, 1, 1, 2, 3]).split();
        assert_eq!(first.jobs.items, [0, 1, 2]);
        assert_eq!(second.map(|second| second.jobs.items), Some(vec![3, 4]));
        assert!(first.rest.is_empty());
    }

    #[test]
    fn one_key_splits_into_chunks_that_follow_each_other() {
        let (first, second) = batch(&[1, 1, 1, 1]).split();
        assert!(second.is_none());
        let (first, _) = first.split();
        assert_eq!(first.jobs.items, [0]);
        let next = Batch::next_chunk(first.rest).unwrap();
        assert_eq!(next.jobs.items, [1]);
        let last = Batch::next_chunk(next.rest).unwrap();
        assert_eq!(last.jobs.items, [2, 3]);
        assert!(Batch::next_chunk(last.rest).is_none());
    }

    #[test]
    fn retain_names_the_keys_that_have_gone() {
        let mut freed = vec![];
        let mut some = batch(&[1, 1, 2, 3]);
        assert_eq!(some.retain(|tag| tag.group != 1, &mut freed), 2);
        assert_eq!(some.jobs.items, [2, 3]);
        let mut none = batch(&[4]);
        assert_eq!(none.retain(|_| false, &mut freed), 1);
        assert!(none.is_empty());
        assert_eq!(freed, [1, 4]);
    }
}
