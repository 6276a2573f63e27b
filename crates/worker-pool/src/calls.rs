//! The in-flight set of a lane: a fixed number of slots, each with a place for one future that is used again and again, and a waker of its
//! own, so that a wake polls one call and not all. Knows nothing of keys or retries.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Which slots were woken, and whom to tell.
#[derive(Debug)]
pub(crate) struct Wakes {
    words: Box<[AtomicU64]>,
    lane: AtomicWaker,
}

impl Wakes {
    pub(crate) fn new(slots: usize) -> Self {
        Self { words: (0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(), lane: AtomicWaker::new() }
    }

    /// Wakes the lane itself.
    pub(crate) fn wake_lane(&self) {
        self.lane.wake();
    }

    /// Whom to wake from now on.
    pub(crate) fn register(&self, waker: &Waker) {
        self.lane.register(waker);
    }

    fn mark(&self, slot: usize) {
        self.words[slot / 64].fetch_or(1 << (slot % 64), Ordering::AcqRel);
        self.lane.wake();
    }

    /// Takes all marks and pushes the marked slots.
    pub(crate) fn take(&self, woken: &mut Vec<usize>) {
        for (index, word) in self.words.iter().enumerate() {
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::AcqRel);
            while bits != 0 {
                woken.push(index * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}

struct SlotWaker {
    wakes: Arc<Wakes>,
    slot: usize,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wakes.mark(self.slot);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakes.mark(self.slot);
    }
}

struct Slot<F, C> {
    future: Pin<Box<Option<F>>>,
    waker: Waker,
    call: Option<C>,
}

/// A panic's message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked(pub(crate) String);

/// Futures in flight, each with what the lane knows of its call.
pub(crate) struct Calls<F, C> {
    slots: Vec<Slot<F, C>>,
    free: Vec<usize>,
}

impl<F: Future, C> Calls<F, C> {
    /// Slots whose wakes go to `wakes`.
    pub(crate) fn new(slots: usize, wakes: &Arc<Wakes>) -> Self {
        let slots: Vec<_> = (0..slots)
            .map(|slot| Slot {
                future: Box::pin(None),
                waker: Waker::from(Arc::new(SlotWaker { wakes: Arc::clone(wakes), slot })),
                call: None,
            })
            .collect();
        let free = (0..slots.len()).rev().collect();
        Self { slots, free }
    }

    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a slot for this call. There must be room.
    pub(crate) fn insert(&mut self, call: C, future: F) -> usize {
        let slot = self.free.pop().expect("callers ask has_room before they insert");
        self.slots[slot].future.set(Some(future));
        self.slots[slot].call = Some(call);
        slot
    }

    /// Polls one slot. `None`: still pending, or the slot is empty (a late wake of a call that has gone).
    pub(crate) fn poll(&mut self, slot: usize) -> Option<(C, Result<F::Output, Panicked>)> {
        let entry = &mut self.slots[slot];
        let future = entry.future.as_mut().as_pin_mut()?;
        let mut context = Context::from_waker(&entry.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut context)));
        let output = match polled {
            Ok(Poll::Pending) => return None,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(Panicked(message_of(panic.as_ref()))),
        };
        self.take(slot).map(|call| (call, output))
    }

    /// Drops the future of a slot and frees it.
    pub(crate) fn take(&mut self, slot: usize) -> Option<C> {
        let entry = &mut self.slots[slot];
        let call = entry.call.take()?;
        // A future's drop may panic as well; the slot is free either way.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| entry.future.set(None))) {
            tracing::warn!(panic = message_of(panic.as_ref()), "dropping a handler call panicked");
            entry.future = Box::pin(None);
        }
        self.free.push(slot);
        Some(call)
    }

    /// The calls in flight with their slots.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut C)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, entry)| Some((slot, entry.call.as_mut()?)))
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    type Boxed = Pin<Box<dyn Future<Output = u32>>>;

    #[test]
    fn slots_are_used_again_and_a_panic_frees_its_own() {
        let wakes = Arc::new(Wakes::new(2));
        let mut calls: Calls<Boxed, &str> = Calls::new(2, &wakes);
        let first = calls.insert("ready", Box::pin(ready(7)));
        let second = calls.insert("panics", Box::pin(async { panic!("as planned") }));
        assert!(!calls.has_room());
        assert_eq!(calls.poll(first), Some(("ready", Ok(7))));
        assert_eq!(calls.poll(second), Some(("panics", Err(Panicked("as planned".into())))));
        let third = calls.insert("pending", Box::pin(pending()));
        assert_eq!(calls.poll(third), None);
        assert_eq!(calls.in_flight(), 1);
        assert_eq!(calls.take(third), Some("pending"));
        assert_eq!(calls.poll(third), None, "a late wake finds nothing");
    }

    #[test]
    fn wakes_name_their_slot() {
        let wakes = Arc::new(Wakes::new(130));
        for slot in [0, 64, 129] {
            wakes.mark(slot);
        }
        let mut woken = vec![];
        wakes.take(&mut woken);
        assert_eq!(woken, [0, 64, 129]);
        woken.clear();
        wakes.take(&mut woken);
        assert!(woken.is_empty());
    }
}
