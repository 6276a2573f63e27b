//! What others hold of a lane besides its inbox: orders that overtake the jobs in it, and the means to wake it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::calls::Wakes;

/// An order to a lane that overtakes its inbox.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Jobs of this group up to this generation are nobody's any more.
    Forget { group: u32, generation: u32 },
    /// Held jobs of this group go to the handler again.
    Release { group: u32 },
}

/// What others hold of a lane besides its inbox.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) wakes: Arc<Wakes>,
    /// Bounded by rebalances and operators: a few at a time.
    orders: Mutex<Vec<Order>>,
    has_orders: AtomicBool,
}

impl Link {
    pub(crate) fn new(slots: usize) -> Self {
        Self { wakes: Arc::new(Wakes::new(slots)), orders: Mutex::new(Vec::new()), has_orders: AtomicBool::new(false) }
    }

    pub(crate) fn give(&self, order: Order) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.push(order);
        self.has_orders.store(true, Ordering::Release);
        drop(orders);
        self.wakes.wake_lane();
    }

    pub(crate) fn take(&self) -> Vec<Order> {
        if !self.has_orders.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
