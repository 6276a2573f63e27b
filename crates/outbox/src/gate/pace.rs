//! How many events effects get at once: half as many after a transaction that ran out of time, since the same ones would run out of it
//! again, and one more after each that took as many as it might. It must not know what effects do.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// What one transaction may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// After this long it takes no further record.
    pub(super) budget: Duration,
    /// How many events effects get in one call.
    pub(super) at_once: usize,
}

/// Shared by all transactions of a gate.
#[derive(Debug)]
pub(super) struct Pace {
    at_once: AtomicUsize,
    most: usize,
}

impl Pace {
    /// From `most` on, which it never exceeds.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { at_once: AtomicUsize::new(most), most }
    }

    pub(super) fn at_once(&self) -> usize {
        self.at_once.load(Ordering::Relaxed)
    }

    /// A transaction whose effects got so many at once ran out of time. Returns how many they get from now on.
    pub(super) fn ran_out(&self, at_once: usize) -> usize {
        let fewer = (at_once / 2).max(1);
        self.at_once.fetch_min(fewer, Ordering::Relaxed).min(fewer)
    }

    /// A transaction whose effects might get so many at once was committed, after it applied this many.
    pub(super) fn kept(&self, at_once: usize, applied: u64) {
        if at_once < self.most && applied >= at_once as u64 {
            // Only from what it was: what another transaction learned meanwhile stays.
            let _ = self.at_once.compare_exchange(at_once, at_once + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_down_to_one_and_comes_back_one_by_one() {
        let pace = Pace::new(8);
        assert_eq!(
            [pace.ran_out(8), pace.ran_out(8), pace.ran_out(4)],
            [4, 4, 2],
            "two that ran side by side count once"
        );
        assert_eq!([pace.ran_out(2), pace.ran_out(1)], [1, 1]);
        for expected in 2..=8 {
            let at_once = pace.at_once();
            pace.kept(at_once, 0);
            assert_eq!(pace.at_once(), at_once, "fewer prove nothing");
            pace.kept(at_once, at_once as u64);
            assert_eq!(pace.at_once(), expected);
        }
        pace.kept(8, 100);
        assert_eq!(pace.at_once(), 8);
        assert_eq!(Pace::new(0).at_once(), 1);
    }
}
