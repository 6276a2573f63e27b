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

/// A place for one future, used again and again.
pub(crate) struct Slot<F, C> {
    future: Pin<Box<Option<F>>>,
    waker: Waker,
    call: Option<C>,
}

impl<F: Future, C> Slot<F, C> {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { future: Box::pin(None), waker, call: None }
    }

    /// Polls a new future once; one that has ended is dropped.
    pub(crate) fn begin(&mut self, future: impl FnOnce() -> F) -> Poll<Result<F::Output, Panicked>> {
        self.future.set(Some(future()));
        let polled = self.poll();
        if polled.is_ready() {
            self.clear();
        }
        polled
    }

    /// Hands out the place with the future in it, and makes another.
    pub(crate) fn take_future(&mut self) -> Pin<Box<Option<F>>> {
        std::mem::replace(&mut self.future, Box::pin(None))
    }

    fn poll(&mut self) -> Poll<Result<F::Output, Panicked>> {
        let Some(future) = self.future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let mut context = Context::from_waker(&self.waker);
        match catch_unwind(AssertUnwindSafe(|| future.poll(&mut context))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(Panicked(message_of(panic.as_ref())))),
        }
    }

    /// Drops the future. Its drop may panic as well; the place is free either way.
    fn clear(&mut self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.future.set(None))) {
            tracing::warn!(panic = message_of(panic.as_ref()), "dropping a handler call panicked");
            self.future = Box::pin(None);
        }
    }
}

/// How a new call began.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begun<O> {
    /// It ended at once; no slot was taken.
    Ended(Result<O, Panicked>),
    /// It goes on in this slot.
    Pending(usize),
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
            .map(|slot| Slot::new(Waker::from(Arc::new(SlotWaker { wakes: Arc::clone(wakes), slot }))))
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

    /// Polls a new future once, in the place of a free slot. Only if it is pending is the slot taken, and then waits for its
    /// [`attach`](Self::attach). There must be room.
    pub(crate) fn begin(&mut self, future: impl FnOnce() -> F) -> Begun<F::Output> {
        let slot = *self.free.last().expect("callers ask has_room before they begin");
        match self.slots[slot].begin(future) {
            Poll::Pending => {
                self.free.pop();
                Begun::Pending(slot)
            }
            Poll::Ready(answer) => Begun::Ended(answer),
        }
    }

    /// What the lane knows of the call that took this slot.
    pub(crate) fn attach(&mut self, slot: usize, call: C) {
        self.slots[slot].call = Some(call);
    }

    /// Polls one slot. `None`: still pending, or the slot is empty (a late wake of a call that has gone).
    pub(crate) fn poll(&mut self, slot: usize) -> Option<(C, Result<F::Output, Panicked>)> {
        let entry = &mut self.slots[slot];
        entry.call.as_ref()?;
        let Poll::Ready(answer) = entry.poll() else {
            return None;
        };
        self.take(slot).map(|call| (call, answer))
    }

    /// Drops the future of a slot and frees it.
    pub(crate) fn take(&mut self, slot: usize) -> Option<C> {
        let entry = &mut self.slots[slot];
        let call = entry.call.take()?;
        entry.clear();
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
    use std::future::{pending, poll_fn, ready};

    type Boxed = Pin<Box<dyn Future<Output = u32>>>;

    fn begun(calls: &mut Calls<Boxed, &'static str>, name: &'static str, future: Boxed) -> Begun<u32> {
        let begun = calls.begin(|| future);
        if let Begun::Pending(slot) = begun {
            calls.attach(slot, name);
        }
        begun
    }

    #[test]
    fn only_what_is_pending_takes_a_slot() {
        let wakes = Arc::new(Wakes::new(2));
        let mut calls = Calls::new(2, &wakes);
        assert_eq!(begun(&mut calls, "ready", Box::pin(ready(7))), Begun::Ended(Ok(7)));
        let planned = Box::pin(async { panic!("as planned") });
        assert_eq!(begun(&mut calls, "panics", planned), Begun::Ended(Err(Panicked("as planned".into()))));
        assert_eq!(calls.in_flight(), 0);

        let Begun::Pending(first) = begun(&mut calls, "first", Box::pin(pending())) else { panic!("must be pending") };
        let mut polls = 0;
        let second = Box::pin(poll_fn(move |_| {
            polls += 1;
            if polls == 1 { Poll::Pending } else { Poll::Ready(8) }
        }));
        let Begun::Pending(second) = begun(&mut calls, "second", second) else { panic!("must be pending") };
        assert!(!calls.has_room());
        assert_eq!(calls.poll(second), Some(("second", Ok(8))));
        assert_eq!(calls.poll(second), None, "a late wake finds nothing");
        assert_eq!(calls.take(first), Some("first"));
        assert_eq!(calls.poll(first), None, "a late wake finds nothing");
        assert_eq!(calls.in_flight(), 0);
    }

    #[test]
    fn a_drop_that_panics_frees_its_slot() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                if !std::thread::panicking() {
                    panic!("as planned");
                }
            }
        }
        let wakes = Arc::new(Wakes::new(1));
        let mut calls = Calls::new(1, &wakes);
        let bomb = Bomb;
        let holding = Box::pin(async move {
            pending::<()>().await;
            drop(bomb);
            1
        });
        let Begun::Pending(slot) = begun(&mut calls, "bomb", holding) else { panic!("must be pending") };
        assert_eq!(calls.take(slot), Some("bomb"));
        assert!(calls.has_room());
        assert_eq!(begun(&mut calls, "next", Box::pin(ready(7))), Begun::Ended(Ok(7)));
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
