//! The Kafka source's metrics, by name. Every one carries the label `pool`, the consumer group. The engine's own are in `worker-pool`.

use metrics::{Counter, Gauge, counter, gauge};
use tokio::time::Instant;

pub(crate) struct Meters {
    /// `kafka_worker_pool_records_total`: records taken from Kafka.
    pub(crate) records: Counter,
    /// `kafka_worker_pool_not_ours_total`: records dropped because their partition was taken away, or fetched twice.
    pub(crate) not_ours: Counter,
    /// `kafka_worker_pool_stale_completions_total`: completions of an assignment that was over.
    pub(crate) stale: Counter,
    /// `kafka_worker_pool_stops_total`: times a partition had to stand still alone.
    pub(crate) stops: Counter,
    /// `kafka_worker_pool_position_resets_total`: partitions started anew because the broker did not have their position.
    pub(crate) resets: Counter,
    /// `kafka_worker_pool_already_done_total`: records that an earlier assignment had done above the position it committed.
    pub(crate) already_done: Counter,
    in_flight: Gauge,
    in_flight_bytes: Gauge,
    oldest: Gauge,
    assigned: Gauge,
    held: Gauge,
}

impl Meters {
    pub(crate) fn new(group: &str) -> Self {
        let count = |name: &'static str| counter!(name, "pool" => group.to_owned());
        let level = |name: &'static str| gauge!(name, "pool" => group.to_owned());
        Self {
            records: count("kafka_worker_pool_records_total"),
            not_ours: count("kafka_worker_pool_not_ours_total"),
            stale: count("kafka_worker_pool_stale_completions_total"),
            stops: count("kafka_worker_pool_stops_total"),
            resets: count("kafka_worker_pool_position_resets_total"),
            already_done: count("kafka_worker_pool_already_done_total"),
            in_flight: level("kafka_worker_pool_in_flight"),
            in_flight_bytes: level("kafka_worker_pool_in_flight_bytes"),
            oldest: level("kafka_worker_pool_oldest_in_flight_seconds"),
            assigned: level("kafka_worker_pool_assigned_partitions"),
            held: level("kafka_worker_pool_held_records"),
        }
    }

    pub(crate) fn show(&self, taken: usize, bytes: usize, oldest: Option<Instant>, assigned: usize, held: usize) {
        self.in_flight.set(as_f64(taken));
        self.in_flight_bytes.set(as_f64(bytes));
        self.oldest.set(oldest.map_or(0.0, |at| at.elapsed().as_secs_f64()));
        self.assigned.set(as_f64(assigned));
        self.held.set(as_f64(held));
    }
}

/// Counts as the metrics crate takes them; sizes beyond 4 GiB read as 4 GiB.
fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
