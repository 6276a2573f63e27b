//! The engine's metrics, by name. Every one carries the label `pool`; those of one lane carry `lane`.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Handles of one lane, made once: recording is then an atomic or two.
pub(crate) struct Meters {
    /// `worker_pool_queue_depth`: jobs in the lanes that are not over.
    pub(crate) queue_depth: Gauge,
    /// `worker_pool_slots_busy`: handler calls in flight.
    pub(crate) slots_busy: Gauge,
    /// `worker_pool_oldest_call_seconds` (per lane): age of the oldest call in flight.
    pub(crate) oldest_call: Gauge,
    /// `worker_pool_handler_seconds`: time of one handler call; calls of less than 20 µs that follow each other count with their mean.
    pub(crate) handler: Histogram,
    /// `worker_pool_batch_jobs`: jobs of one handler call, where `max_batch` is more than 1.
    pub(crate) batch_jobs: Histogram,
    /// `worker_pool_done_total`: jobs handled.
    pub(crate) done: Counter,
    /// `worker_pool_retries_total`: failed attempts that will be tried again.
    pub(crate) retries: Counter,
    /// `worker_pool_splits_total`: failing batches taken apart.
    pub(crate) splits: Counter,
    /// `worker_pool_dead_letters_total`: jobs given up for good.
    pub(crate) dead_letters: Counter,
    /// `worker_pool_dead_letter_failures_total`: failed tries to make a giving up durable.
    pub(crate) dead_letter_failures: Counter,
    /// `worker_pool_timeouts_total`: calls past their timeout.
    pub(crate) timeouts: Counter,
    /// `worker_pool_panics_total`: calls that panicked.
    pub(crate) panics: Counter,
    /// `worker_pool_holds_total`: jobs that wait for a release.
    pub(crate) holds: Counter,
    /// `worker_pool_long_polls_total`: polls of a handler that took longer than 10 ms.
    pub(crate) long_polls: Counter,
    /// `worker_pool_unavailable_total`: calls that found the environment failing.
    pub(crate) unavailable: Counter,
    /// `worker_pool_circuit_open`: 1 while the circuit is not closed.
    pub(crate) circuit_open: Gauge,
    /// `worker_pool_failing_circuit_open`: 1 while every attempt fails and the pool waits.
    pub(crate) failing_circuit_open: Gauge,
    /// `worker_pool_failing_circuit_opened_total`: how often it came to that.
    pub(crate) failing_circuit_opened: Counter,
    busy_shown: usize,
}

impl Meters {
    pub(crate) fn new(pool: &str, lane: usize) -> Self {
        let pool = pool.to_owned();
        let count = |name: &'static str| counter!(name, "pool" => pool.clone());
        let level = |name: &'static str| gauge!(name, "pool" => pool.clone());
        Self {
            queue_depth: level("worker_pool_queue_depth"),
            slots_busy: level("worker_pool_slots_busy"),
            oldest_call: gauge!("worker_pool_oldest_call_seconds", "pool" => pool.clone(), "lane" => lane.to_string()),
            handler: histogram!("worker_pool_handler_seconds", "pool" => pool.clone()),
            batch_jobs: histogram!("worker_pool_batch_jobs", "pool" => pool.clone()),
            done: count("worker_pool_done_total"),
            retries: count("worker_pool_retries_total"),
            splits: count("worker_pool_splits_total"),
            dead_letters: count("worker_pool_dead_letters_total"),
            dead_letter_failures: count("worker_pool_dead_letter_failures_total"),
            timeouts: count("worker_pool_timeouts_total"),
            panics: count("worker_pool_panics_total"),
            holds: count("worker_pool_holds_total"),
            long_polls: count("worker_pool_long_polls_total"),
            unavailable: count("worker_pool_unavailable_total"),
            circuit_open: level("worker_pool_circuit_open"),
            failing_circuit_open: level("worker_pool_failing_circuit_open"),
            failing_circuit_opened: count("worker_pool_failing_circuit_opened_total"),
            busy_shown: 0,
        }
    }

    /// Moves the pool's busy gauge by what changed in this lane.
    pub(crate) fn show_busy(&mut self, busy: usize) {
        if busy > self.busy_shown {
            self.slots_busy.increment(as_f64(busy - self.busy_shown));
        } else if busy < self.busy_shown {
            self.slots_busy.decrement(as_f64(self.busy_shown - busy));
        }
        self.busy_shown = busy;
    }

    pub(crate) fn show_oldest(&self, age: Duration) {
        self.oldest_call.set(age.as_secs_f64());
    }
}

/// Counts as the metrics crate takes them; exact far beyond any queue here.
pub(crate) fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
