//! One trial: an arm on 50,000 records, a fault in the middle, a restart, and the wait until everything has arrived or nothing comes any more.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;
use testkit::{Child, kafka::Kafka, wait_until_blocking};

use super::attempts::{Log, Verdict};
use crate::{
    arms::{LoadOptions, Workload, load},
    peers::Peers,
    pool::{Arm, Launch, unique},
};

/// Records of a trial.
pub(crate) const RECORDS: u64 = 50_000;
/// Handlers at once.
pub(crate) const CONCURRENCY: usize = 16;
/// The fault comes after so many records, or on the record with this id.
const FAULT_AT: u64 = 20_000;
/// Session timeout of arms that can set it, in milliseconds.
const SESSION_MS: u32 = 6_000;
/// When nothing was handled for so long, nothing comes any more: longer than the session of a killed member that cannot set it (kq: 30 s).
const SILENCE: Duration = Duration::from_secs(45);
/// How long after everything has arrived a record may come again.
const REST: Duration = Duration::from_secs(3);
/// A failing record gets so long to be given up, once all others are done.
const GIVE_UP: Duration = Duration::from_secs(20);
/// What a run and what an orderly stop may take.
const RUN_DEADLINE: Duration = Duration::from_secs(180);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// A process that dies of one record is started so often.
const STARTS: usize = 3;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// kill -9 in the middle, then a restart.
    Kill,
    /// SIGTERM in the middle, then a restart.
    Terminate,
    /// A second instance joins in the middle.
    Join,
    /// The handler panics on one record, always; at last it is mended and restarted.
    Panic,
    /// The handler fails on one record, always; at last it is mended and restarted.
    Error,
}

/// What a trial showed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    pub(crate) arm: Arm,
    pub(crate) fault: Fault,
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) out_of_order: usize,
    pub(crate) dead_letters: usize,
    pub(crate) failed_attempts: usize,
    /// Processes that ended by themselves.
    pub(crate) crashes: usize,
    /// Seconds from SIGTERM to the end; `None` where none was sent in the middle.
    pub(crate) stop_s: Option<f64>,
    /// Seconds from the restart to the first record that was handled after it.
    pub(crate) gap_s: Option<f64>,
    pub(crate) took_s: f64,
}

/// Where trials happen.
#[derive(Debug)]
pub(crate) struct Court {
    pub(crate) kafka: Kafka,
    pub(crate) peers: Peers,
    pub(crate) topic: String,
    pub(crate) folder: PathBuf,
}

/// One trial under way.
struct Trial<'a> {
    court: &'a Court,
    arm: Arm,
    group: String,
    log: Log,
    path: PathBuf,
    crashes: usize,
    stop_s: Option<f64>,
    gap_s: Option<f64>,
}

impl Court {
    pub(crate) fn try_arm(&self, arm: Arm, fault: Fault) -> Result<Outcome> {
        let start = Instant::now();
        let group = unique(arm.name());
        let path = self.folder.join(format!("{group}.log"));
        // The pool alone gives up into a topic; it is not the pool's to create.
        let letters = contracts::topics::dead_letter_topic(&self.topic, &group);
        load(&LoadOptions {
            brokers: self.kafka.brokers().to_owned(),
            topic: letters.clone(),
            partitions: 1,
            records: 0,
            rate: None,
            distinct_keys: false,
        })?;
        let mut trial =
            Trial { court: self, arm, group, log: Log::new(path.clone()), path, crashes: 0, stop_s: None, gap_s: None };
        match fault {
            Fault::Kill => trial.interrupted("KILL")?,
            Fault::Terminate => trial.interrupted("TERM")?,
            Fault::Join => trial.joined()?,
            Fault::Panic => trial.failing(true)?,
            Fault::Error => trial.failing(false)?,
        }
        let dead_letters = self.dead_letters(&letters)?;
        let verdict = Verdict::of(trial.log.attempts(), RECORDS, &dead_letters);
        Ok(Outcome {
            arm,
            fault,
            lost: verdict.lost,
            doubled: verdict.doubled,
            out_of_order: verdict.out_of_order,
            dead_letters: dead_letters.len(),
            failed_attempts: verdict.failed_attempts,
            crashes: trial.crashes,
            stop_s: trial.stop_s,
            gap_s: trial.gap_s,
            took_s: start.elapsed().as_secs_f64(),
        })
    }

    fn dead_letters(&self, topic: &str) -> Result<BTreeSet<u64>> {
        let letters = testkit::kafka::read_all(self.kafka.brokers(), topic)?;
        let id = |value: &[u8]| value.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        Ok(letters.iter().filter_map(|letter| id(&letter.value)).collect())
    }
}

impl Trial<'_> {
    fn interrupted(&mut self, signal: &str) -> Result<()> {
        let mut first = self.start(None)?;
        self.until_the_middle(&mut first)?;
        let asked = Instant::now();
        first.signal(signal)?;
        first.wait(STOP_DEADLINE).with_context(|| format!("{} does not end on {signal}", self.arm.name()))?;
        self.stop_s = (signal == "TERM").then(|| asked.elapsed().as_secs_f64());
        drop(first);
        self.log.catch_up()?;
        let (before, restarted) = (self.log.attempts().len(), Instant::now());
        let mut second = self.start(None)?;
        self.until(SILENCE, &mut [&mut second], |log| log.attempts().len() > before)?;
        self.gap_s = Some(restarted.elapsed().as_secs_f64());
        self.finish(&mut [&mut second])
    }

    fn joined(&mut self) -> Result<()> {
        let mut first = self.start(None)?;
        self.until_the_middle(&mut first)?;
        let mut second = self.start(None)?;
        self.finish(&mut [&mut first, &mut second])
    }

    fn failing(&mut self, by_panic: bool) -> Result<()> {
        for _ in 0..STARTS {
            let mut process = self.start(Some(by_panic))?;
            let all_others = |log: &Log| log.done().len() as u64 >= RECORDS - 1;
            self.until(SILENCE, &mut [&mut process], all_others)?;
            if process.exited()?.is_none() {
                let letters = contracts::topics::dead_letter_topic(&self.court.topic, &self.group);
                // Arms that never give up run on; the wait is theirs to show it.
                wait_until_blocking(GIVE_UP, || {
                    self.court.dead_letters(&letters).is_ok_and(|letters| !letters.is_empty()).then_some(())
                });
                self.stop(&mut process)?;
                break;
            }
            self.crashes += 1;
        }
        let mut mended = self.start(None)?;
        self.finish(&mut [&mut mended])
    }

    fn start(&self, failing_by_panic: Option<bool>) -> Result<Child> {
        let launch = Launch {
            topic: self.court.topic.clone(),
            // It runs until it is told to stop.
            records: 1_000_000_000,
            workload: Workload::Steps,
            concurrency: CONCURRENCY,
            timeout_s: 3_600,
            session_ms: SESSION_MS,
            log: Some(self.path.clone()),
            fail_id: failing_by_panic.map(|_| FAULT_AT),
            fail_by_panic: failing_by_panic == Some(true),
            ..Launch::new(self.court.kafka.brokers(), &self.group)
        };
        let command = self.arm.command(&launch, &self.court.peers)?;
        Child::spawn(command, &self.path.with_extension("out"))
    }

    fn until_the_middle(&mut self, process: &mut Child) -> Result<()> {
        self.until(SILENCE, &mut [process], |log| log.done().len() as u64 >= FAULT_AT)?;
        let handled = self.log.done().len();
        anyhow::ensure!(handled as u64 >= FAULT_AT, "only {handled} records were handled before the fault was due");
        Ok(())
    }

    /// Until everything has arrived and nothing comes again, or nothing comes any more; then an orderly stop.
    fn finish(&mut self, processes: &mut [&mut Child]) -> Result<()> {
        self.until(SILENCE, processes, |log| log.done().len() as u64 >= RECORDS)?;
        self.until(REST, processes, |_| false)?;
        for process in processes {
            self.stop(process)?;
        }
        self.log.catch_up()?;
        Ok(())
    }

    /// Until the log says so, nothing was appended for `silence`, all processes have ended, or the deadline has passed.
    fn until(
        &mut self,
        silence: Duration,
        processes: &mut [&mut Child],
        is_reached: impl Fn(&Log) -> bool,
    ) -> Result<()> {
        let mut heard = Instant::now();
        let mut failure = None;
        wait_until_blocking(RUN_DEADLINE, || {
            let mut look = || -> Result<bool> {
                if self.log.catch_up()? {
                    heard = Instant::now();
                }
                let mut any_runs = false;
                for process in &mut *processes {
                    any_runs |= process.exited()?.is_none();
                }
                Ok(is_reached(&self.log) || heard.elapsed() > silence || !any_runs)
            };
            match look() {
                Ok(is_over) => is_over.then_some(()),
                Err(error) => {
                    failure = Some(error);
                    Some(())
                }
            }
        });
        self.log.catch_up()?;
        failure.map_or(Ok(()), Err)
    }

    fn stop(&self, process: &mut Child) -> Result<()> {
        if process.exited()?.is_none() {
            process.signal("TERM")?;
            if process.wait(STOP_DEADLINE).is_err() {
                process.kill()?;
            }
        }
        Ok(())
    }
}
