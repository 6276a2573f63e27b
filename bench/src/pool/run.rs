//! One run of one arm: a fresh group, a process of its own, its one line of JSON, and what else the machine did meanwhile.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use testkit::{Child, kafka::Kafka};

use super::{
    arm::{Arm, Launch, own},
    plan::{Cell, PACE, PACED_S, PACED_SKIP_S, PRELOADED},
};
use crate::{
    arms::{Reading, Workload},
    host::CpuSeconds,
    peers::Peers,
};

/// The topic that is drained again and again.
const TOPIC: &str = "bench-1m";
/// What an arm gets to join its group before the pace begins.
const JOIN: Duration = Duration::from_secs(3);
/// What a drain may take.
const DRAIN_TIMEOUT_S: u64 = 90;
/// What a paced arm may take after the last record was produced; a loop that cannot keep up is cut sooner.
const PACED_REST_S: u64 = 12;
const LOOP_REST_S: u64 = 2;
/// What a process may take beyond its own timeout.
const GRACE: Duration = Duration::from_secs(30);

/// What one run gave.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) reading: Reading,
    /// Cores that were busy meanwhile with neither the arm nor the broker.
    pub(crate) other_cores: f64,
}

/// Where runs happen.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) kafka: Kafka,
    pub(crate) peers: Peers,
    /// Steps of the CPU chain that take 20 µs here.
    pub(crate) spin: u32,
    /// Logs of the arms.
    pub(crate) folder: PathBuf,
}

impl Stage {
    /// Fills the topic that is drained.
    ///
    /// # Errors
    /// When Kafka does not take it.
    pub(crate) fn preload(&self) -> Result<()> {
        self.load(TOPIC, PRELOADED, None)
    }

    pub(crate) fn run(&self, cell: Cell) -> Result<Run> {
        let name = unique(cell.arm.name());
        let topic = if cell.workload.is_paced() { name.clone() } else { TOPIC.to_owned() };
        if cell.workload.is_paced() {
            self.load(&topic, 0, None)?;
        }
        let launch = Launch {
            topic: topic.clone(),
            records: cell.records(),
            workload: cell.workload,
            concurrency: if cell.arm.is_a_loop() { 1 } else { cell.concurrency },
            spin: self.spin,
            skip: if cell.workload.is_paced() { u64::from(PACE) * PACED_SKIP_S } else { 0 },
            timeout_s: timeout_s(cell),
            ..Launch::new(self.kafka.brokers(), &name)
        };
        let command = cell.arm.command(&launch, &self.peers)?;
        let (before, start) = (CpuSeconds::now(self.kafka.pid()), Instant::now());
        let reading = self.read(command, cell, &topic)?;
        let others = CpuSeconds::now(self.kafka.pid()).others_since(before);
        Ok(Run { reading, other_cores: others / start.elapsed().as_secs_f64() })
    }

    fn read(&self, command: Command, cell: Cell, topic: &str) -> Result<Reading> {
        let log = self.folder.join(format!("{}.out", unique(cell.arm.name())));
        let mut arm = Child::spawn(command, &log)?;
        if cell.workload.is_paced() {
            thread::sleep(JOIN);
            self.load(topic, cell.records(), Some(PACE))?;
        }
        arm.wait(Duration::from_secs(timeout_s(cell)) + GRACE)?;
        let mut reading = reading(&log)?;
        // Beside which arms a loop ran is what its figure is compared by.
        reading.concurrency = cell.concurrency;
        fs::remove_file(&log).with_context(|| format!("cannot remove {}", log.display()))?;
        Ok(reading)
    }

    /// In a process of its own, so that its CPU time is not the arm's.
    fn load(&self, topic: &str, records: u64, rate: Option<u32>) -> Result<()> {
        let mut command = own("load");
        command.args(["--brokers", self.kafka.brokers(), "--topic", topic, "--records", &records.to_string()]);
        if let Some(rate) = rate {
            command.args(["--rate", &rate.to_string()]);
        }
        let log = self.folder.join("load.out");
        let status = Child::spawn(command, &log)?.wait(Duration::from_secs(120))?;
        if !status.success() {
            bail!("the load failed: {}", last_line(&log));
        }
        Ok(())
    }
}

fn timeout_s(cell: Cell) -> u64 {
    if !cell.workload.is_paced() {
        return DRAIN_TIMEOUT_S;
    }
    let is_cut = cell.workload == Workload::SlowKeys && cell.arm == Arm::Raw;
    JOIN.as_secs() + PACED_S + if is_cut { LOOP_REST_S } else { PACED_REST_S }
}

/// The line of an arm in what it printed.
pub(crate) fn reading(log: &Path) -> Result<Reading> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let line = text.lines().rev().find(|line| line.starts_with("{\"arm\""));
    let line = line.with_context(|| format!("the arm said no figures; its last word: {}", last_line(log)))?;
    serde_json::from_str(line).with_context(|| format!("the arm's figures are not as agreed: {line}"))
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("none").to_owned()
}

/// A name that nobody has had before.
pub(crate) fn unique(word: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{word}-{}-{}", std::process::id(), since.as_nanos())
}
