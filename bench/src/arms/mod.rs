//! The arms in Rust, each a subcommand that runs alone (so that a profiler sees nothing else), and the load they drain.

mod bare;
mod client;
mod load;
mod meter;
mod naive;
mod ours;
mod payload;
mod raw;
mod workload;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Result;
use clap::Args;

pub(crate) use load::{LoadOptions, load};
pub(crate) use meter::{Reading, cpu_time, peak_rss_mb, wall_ns};
pub(crate) use naive::Lanes;
pub(crate) use payload::{Payloads, xorshift};
pub(crate) use workload::Workload;

use meter::Meter;
use payload::Payload;

/// What every arm is told, in any language.
#[derive(Debug, Clone, Args)]
pub(crate) struct ArmOptions {
    /// Kafka, as host:port.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) brokers: String,
    /// The topic to drain.
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    /// The consumer group. One that has been there before starts where it ended.
    #[arg(long, default_value = "bench")]
    pub(crate) group: String,
    /// End after so many records.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) records: u64,
    /// What the handler does.
    #[arg(long, value_enum, default_value_t = Workload::Noop)]
    pub(crate) workload: Workload,
    /// Handlers at once.
    #[arg(long, default_value_t = 64)]
    pub(crate) concurrency: usize,
    /// Steps of the CPU chain of the workload cpu20us.
    #[arg(long, default_value_t = 12_800)]
    pub(crate) spin: u32,
    /// Paced workloads: the delay of records with a lower id does not count.
    #[arg(long, default_value_t = 0)]
    pub(crate) skip: u64,
    /// End after so many seconds, done or not.
    #[arg(long, default_value_t = 120)]
    pub(crate) timeout_s: u64,
    /// Session timeout of the classic protocol, in milliseconds.
    #[arg(long, default_value_t = 45_000)]
    pub(crate) session_ms: u32,
    /// The loop and the naive pool join by KIP-848; kafka-worker-pool does where the broker offers it.
    #[arg(long)]
    pub(crate) kip848: bool,
    /// Append each attempt on a record to this file.
    #[arg(long)]
    pub(crate) log: Option<PathBuf>,
    /// The record on which the handler always fails.
    #[arg(long)]
    pub(crate) fail_id: Option<u64>,
    /// Whether that failure is a panic; else it is an error.
    #[arg(long)]
    pub(crate) fail_by_panic: bool,
}

impl Default for ArmOptions {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            topic: "bench".to_owned(),
            group: "bench".to_owned(),
            records: 1_000_000,
            workload: Workload::Noop,
            concurrency: 64,
            spin: 12_800,
            skip: 0,
            timeout_s: 120,
            session_ms: 45_000,
            kip848: false,
            log: None,
            fail_id: None,
            fail_by_panic: false,
        }
    }
}

/// One BaseConsumer in a loop.
pub(crate) fn raw(options: &ArmOptions) -> Result<Reading> {
    raw::run(options)
}

/// The pool one writes by hand.
pub(crate) fn naive(options: &ArmOptions, lanes: Lanes) -> Result<Reading> {
    naive::run(options, lanes)
}

/// kafka-worker-pool, with a handler that yields or with one that blocks.
pub(crate) fn ours(options: &ArmOptions, is_blocking: bool) -> Result<Reading> {
    ours::run(options, is_blocking)
}

/// As many tasks on the same timer, and no Kafka.
pub(crate) fn bare(options: &ArmOptions) -> Result<Reading> {
    bare::run(options)
}

/// What the handlers of the Rust arms share: the work on one record.
#[derive(Debug)]
struct Handling {
    meter: Meter,
    options: ArmOptions,
}

/// A failure that the workload asks for.
#[derive(Debug)]
struct PlannedFailure;

impl std::fmt::Display for PlannedFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("planned failure")
    }
}

impl std::error::Error for PlannedFailure {}

impl Handling {
    fn new(arm: &str, options: &ArmOptions) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { meter: Meter::new(arm, options)?, options: options.clone() }))
    }

    /// The CPU work of the workload, if it has any: what a handler does without waiting.
    #[inline]
    fn spin(&self, payload: &Payload) {
        if self.options.workload == Workload::Cpu20us {
            std::hint::black_box(xorshift(payload.id, self.options.spin));
        }
    }

    /// The whole work on one record. `failed` is how often it has failed before.
    async fn apply(&self, payload: &Payload, failed: u32) -> Result<(), PlannedFailure> {
        let began_ns = self.options.log.is_some().then(wall_ns);
        self.spin(payload);
        if let Some(sleep) = self.options.workload.sleep(payload).filter(|sleep| *sleep > Duration::ZERO) {
            tokio::time::sleep(sleep).await;
        }
        let is_bad = self.options.fail_id == Some(payload.id);
        if let Some(began_ns) = began_ns {
            self.meter.log(payload, began_ns, if is_bad { 0 } else { wall_ns() });
        }
        if is_bad {
            assert!(!self.options.fail_by_panic, "planned panic");
            return Err(PlannedFailure);
        }
        if self.options.workload.fails_twice(payload) && failed < 2 {
            return Err(PlannedFailure);
        }
        Ok(())
    }
}
