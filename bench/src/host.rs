//! The machine: what it is, what it was doing, and how much CPU time who took on it.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::statistics::quantile;

/// Linux counts CPU time for user space in hundredths of a second on every architecture we run on.
const TICKS_PER_S: f64 = 100.0;
/// Writes of 4 KiB that are measured.
const FSYNCS: usize = 100;

/// What a figure must be read with.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Host {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gb: f64,
    pub(crate) os: String,
    pub(crate) kernel: String,
    /// Load average of the last minute when the run began.
    pub(crate) load1_before: f64,
    pub(crate) fsync_p50_ms: f64,
    pub(crate) fsync_p99_ms: f64,
    pub(crate) kafka: String,
    pub(crate) librdkafka: String,
    pub(crate) rustc: String,
    pub(crate) go: String,
    pub(crate) java: String,
    /// Of the repository, with `-dirty` where files were changed.
    pub(crate) commit: String,
}

impl Host {
    /// Looks at the machine and asks each tool for its version.
    ///
    /// # Errors
    /// When the temporary folder cannot be written.
    pub(crate) fn now(kafka: String) -> Result<Self> {
        let (fsync_p50_ms, fsync_p99_ms) = fsync_ms(&std::env::temp_dir())?;
        Ok(Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gb: field("/proc/meminfo", "MemTotal")
                .and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok())
                .map_or(0.0, |kilobytes| (kilobytes / 1024.0 / 1024.0).round()),
            os: os(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            load1_before: load1(),
            fsync_p50_ms,
            fsync_p99_ms,
            kafka,
            librdkafka: rdkafka::util::get_rdkafka_version().1,
            rustc: said("rustc", &["--version"]),
            go: said("go", &["version"]),
            java: said("java", &["-version"]),
            commit: said("git", &["describe", "--always", "--dirty", "--abbrev=10"]),
        })
    }
}

impl Host {
    /// As a table for a page.
    pub(crate) fn markdown(&self) -> String {
        let rows = [
            ("CPU", format!("{}, {} cores", self.cpu, self.cores)),
            ("memory", format!("{:.0} GiB", self.memory_gb)),
            ("system", format!("{}, Linux {}", self.os, self.kernel)),
            ("load before, 1 min", format!("{:.2}", self.load1_before)),
            ("fsync of 4 KiB, p50 / p99", format!("{:.2} / {:.2} ms", self.fsync_p50_ms, self.fsync_p99_ms)),
            ("broker", self.kafka.clone()),
            ("librdkafka", self.librdkafka.clone()),
            ("Rust", self.rustc.clone()),
            ("Go", self.go.clone()),
            ("Java", self.java.clone()),
            ("commit", self.commit.clone()),
        ];
        let rows = rows.map(|(name, value)| format!("| {name} | {value} |\n"));
        format!("| environment | |\n|---|---|\n{}", rows.concat())
    }
}

/// CPU seconds so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuSeconds {
    /// Of the whole machine.
    all: f64,
    /// Of the broker, if it is a process here.
    broker: f64,
    /// Of processes that this one started and that have ended.
    children: f64,
}

impl CpuSeconds {
    pub(crate) fn now(broker: Option<u32>) -> Self {
        let own = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let theirs = broker.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok()).unwrap_or_default();
        Self {
            all: busy_ticks(&fs::read_to_string("/proc/stat").unwrap_or_default()) / TICKS_PER_S,
            broker: ticks(&theirs, 13) / TICKS_PER_S,
            children: ticks(&own, 15) / TICKS_PER_S,
        }
    }

    /// What anything but the broker and our children has taken since, in CPU seconds.
    pub(crate) fn others_since(self, before: Self) -> f64 {
        let since = |now: f64, then: f64| now - then;
        (since(self.all, before.all) - since(self.broker, before.broker) - since(self.children, before.children))
            .max(0.0)
    }
}

/// Load average of the last minute.
pub(crate) fn load1() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

/// Two neighbouring fields of a `/proc/PID/stat`, added: user and system time. Counted from 0, after the name in parentheses.
fn ticks(stat: &str, field: usize) -> f64 {
    let Some((_, after_name)) = stat.rsplit_once(')') else { return 0.0 };
    // The name and what is before it are two fields.
    after_name.split_whitespace().skip(field - 2).take(2).filter_map(|value| value.parse::<f64>().ok()).sum()
}

/// User, nice, system, interrupts: what was not idle, waiting or stolen.
fn busy_ticks(stat: &str) -> f64 {
    let first = stat.lines().next().unwrap_or_default();
    let numbers: Vec<f64> = first.split_whitespace().skip(1).filter_map(|value| value.parse().ok()).collect();
    [0, 1, 2, 5, 6].iter().filter_map(|place| numbers.get(*place)).sum()
}

fn fsync_ms(folder: &Path) -> Result<(f64, f64)> {
    let path = folder.join(crate::pool::unique("bench-fsync"));
    let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut took_us = Vec::new();
    for _ in 0..FSYNCS {
        let start = Instant::now();
        file.write_all(&[0; 4096]).and_then(|()| file.sync_data()).context("cannot sync a file")?;
        took_us.push(microseconds(start.elapsed()));
    }
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    took_us.sort_unstable();
    Ok((quantile(&took_us, 500) as f64 / 1_000.0, quantile(&took_us, 990) as f64 / 1_000.0))
}

fn microseconds(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

fn os() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| std::env::consts::OS.to_owned(), |name| name.trim_matches('"').to_owned())
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// The first line that a tool says of itself, on either stream.
fn said(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).current_dir(testkit::repository_root()).output();
    let Ok(output) = output else { return "absent".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("absent").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_times_of_a_process_whose_name_has_spaces_and_parentheses() {
        let stat = "42 (a (b) c) S 1 1 1 0 -1 4194560 9 9 9 9 100 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat, 13), 120.0, "its own");
        assert_eq!(ticks(stat, 15), 7.0, "its children's");
        assert_eq!(ticks("", 13), 0.0);
    }

    #[test]
    fn busy_is_what_is_not_idle_waiting_or_stolen() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 1000 8 16 1000 0 0\ncpu0 1 1 1"), 31.0);
    }

    #[test]
    fn time_that_a_child_took_is_not_somebody_elses() {
        let before = CpuSeconds { all: 100.0, broker: 10.0, children: 5.0 };
        let after = CpuSeconds { all: 110.0, broker: 13.0, children: 11.5 };
        assert!((after.others_since(before) - 0.5).abs() < 1e-9);
    }
}
