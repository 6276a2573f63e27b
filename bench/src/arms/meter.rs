//! What an arm measures of itself while it runs, and the one JSON line it prints at its end. Counting must not be what is measured: each
//! thread counts in a cache line of its own, and one onlooker adds them up every millisecond.

use std::{
    cell::Cell,
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::{ArmOptions, payload::Payload, workload::Workload};
use crate::statistics::quantile;

/// How often the onlooker adds up: the precision of the end of a run.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// More threads than this share counters.
const COUNTERS: usize = 64;

/// A cache line (and its neighbour, which the prefetcher takes along) for one thread's count.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// Shared by all that handle records in one arm.
#[derive(Debug)]
pub(crate) struct Meter {
    arm: String,
    workload: Workload,
    concurrency: usize,
    records: u64,
    skip: u64,
    timeout: Duration,
    started_at: Instant,
    has_begun: AtomicBool,
    begun: Mutex<Option<Moment>>,
    counters: [Counter; COUNTERS],
    delays_ns: Mutex<Vec<u64>>,
    log: Option<File>,
}

/// A point in a run: since the start of the process, and its CPU time so far.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Duration,
    cpu: Duration,
}

/// The line an arm prints, of which the peers print the same fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) arm: String,
    pub(crate) workload: Workload,
    pub(crate) concurrency: usize,
    /// Records handled to their end.
    pub(crate) handled: u64,
    /// Whether all that were asked for were handled before the timeout.
    pub(crate) complete: bool,
    /// From the first record's start to the last one's end.
    pub(crate) seconds: f64,
    pub(crate) msgs_per_s: f64,
    /// The second half alone: without what the first fetches and a JIT cost.
    pub(crate) steady_msgs_per_s: f64,
    /// User and system time of the process in the same window.
    pub(crate) cpu_s: f64,
    pub(crate) peak_rss_mb: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// Records whose delay was measured.
    pub(crate) delays: u64,
}

impl Meter {
    pub(crate) fn new(arm: &str, options: &ArmOptions) -> Result<Self> {
        let open = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("cannot write the log {}", path.display()))
        };
        Ok(Self {
            arm: arm.to_owned(),
            workload: options.workload,
            concurrency: options.concurrency,
            records: options.records,
            skip: options.skip,
            timeout: Duration::from_secs(options.timeout_s),
            started_at: Instant::now(),
            has_begun: AtomicBool::new(false),
            begun: Mutex::new(None),
            counters: std::array::from_fn(|_| Counter::default()),
            delays_ns: Mutex::new(Vec::new()),
            log: options.log.as_deref().map(open).transpose()?,
        })
    }

    /// A handler begins on a record.
    #[inline]
    pub(crate) fn begin(&self) {
        if !self.has_begun.load(Ordering::Relaxed) && !self.has_begun.swap(true, Ordering::Relaxed) {
            *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.now());
        }
    }

    /// A handler has done a record.
    #[inline]
    pub(crate) fn done(&self, payload: &Payload) {
        if self.workload.is_paced() && payload.id >= self.skip && self.workload.delay_counts(payload) {
            let delay_ns = wall_ns().saturating_sub(payload.produced_ns);
            self.delays_ns.lock().unwrap_or_else(PoisonError::into_inner).push(delay_ns);
        }
        self.counters[own_counter()].0.fetch_add(1, Ordering::Relaxed);
    }

    /// Appends one attempt to the log: five little-endian numbers, `done_ns` 0 for one that failed. One write, so that a kill leaves
    /// whole lines behind.
    pub(crate) fn log(&self, payload: &Payload, began_ns: u64, done_ns: u64) {
        if let Some(mut log) = self.log.as_ref() {
            let mut line = [0; 40];
            for (place, number) in
                line.chunks_mut(8).zip([payload.id, payload.key, payload.sequence, began_ns, done_ns])
            {
                place.copy_from_slice(&number.to_le_bytes());
            }
            log.write_all(&line).expect("the log of a correctness arm can be written");
        }
    }

    pub(crate) fn handled(&self) -> u64 {
        self.counters.iter().map(|counter| counter.0.load(Ordering::Relaxed)).sum()
    }

    fn now(&self) -> Moment {
        Moment { at: self.started_at.elapsed(), cpu: cpu_time() }
    }

    /// Blocks until the records asked for are handled or the timeout has passed. `failed` is asked along: an arm that has ended by itself
    /// is not waited for.
    pub(crate) fn watch(&self, mut failed: impl FnMut() -> Option<String>) -> Result<Reading> {
        let mut half = None;
        let (end, complete) = loop {
            std::thread::sleep(LOOK_INTERVAL);
            let handled = self.handled();
            if half.is_none() && handled >= self.records / 2 {
                half = Some((self.started_at.elapsed(), handled));
            }
            if handled >= self.records {
                break (self.now(), true);
            }
            if self.started_at.elapsed() > self.timeout {
                break (self.now(), false);
            }
            if let Some(why) = failed() {
                anyhow::bail!("the arm ended after {handled} records: {why}");
            }
        };
        Ok(self.reading(end, half, complete))
    }

    fn reading(&self, end: Moment, half: Option<(Duration, u64)>, complete: bool) -> Reading {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(end);
        let handled = self.handled();
        let seconds = (end.at - begun.at).as_secs_f64().max(1e-9);
        let rate = |records: u64, over: f64| if over > 0.0 { records as f64 / over } else { 0.0 };
        let steady = half.map_or(0.0, |(at, count)| rate(handled - count, end.at.saturating_sub(at).as_secs_f64()));
        let mut delays_ns = self.delays_ns.lock().unwrap_or_else(PoisonError::into_inner);
        delays_ns.sort_unstable();
        let delay = |thousandths| quantile(&delays_ns, thousandths) as f64 / 1e6;
        Reading {
            arm: self.arm.clone(),
            workload: self.workload,
            concurrency: self.concurrency,
            handled,
            complete,
            seconds,
            msgs_per_s: rate(handled, seconds),
            steady_msgs_per_s: steady,
            cpu_s: end.cpu.saturating_sub(begun.cpu).as_secs_f64(),
            peak_rss_mb: peak_rss_mb(),
            p50_ms: delay(500),
            p99_ms: delay(990),
            max_ms: delay(1_000),
            delays: delays_ns.len() as u64,
        }
    }
}

/// Which counter is this thread's.
#[inline]
fn own_counter() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static OWN: Cell<usize> = const { Cell::new(usize::MAX) });
    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed) % COUNTERS);
        }
        own.get()
    })
}

/// Nanoseconds since 1970.
pub(crate) fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// User and system time of this process.
pub(crate) fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(spent.tv_sec), u32::try_from(spent.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

/// The most memory this process has had resident, in MB of 2^20 bytes.
pub(crate) fn peak_rss_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_measured_from_its_first_record_to_its_last() {
        let options = ArmOptions { records: 4, workload: Workload::Paced, skip: 1, ..ArmOptions::default() };
        let meter = Meter::new("ours", &options).expect("no log is asked for");
        let produced_ns = wall_ns() - 5_000_000;
        for id in 0..4 {
            meter.begin();
            meter.done(&Payload { id, produced_ns, sequence: 0, key: 0 });
        }
        let reading = meter.watch(|| None).expect("all were handled");
        assert!(reading.complete && reading.handled == 4, "{reading:?}");
        assert_eq!(reading.delays, 3, "the first is skipped");
        assert!(reading.p50_ms >= 5.0, "{reading:?}");
        assert!(reading.peak_rss_mb > 1.0, "{reading:?}");
    }

    #[test]
    fn an_arm_that_failed_is_not_waited_for() {
        let meter = Meter::new("ours", &ArmOptions::default()).expect("no log is asked for");
        let failure = meter.watch(|| Some("no broker".to_owned())).expect_err("it failed");
        assert!(failure.to_string().contains("no broker"), "{failure}");
    }
}
