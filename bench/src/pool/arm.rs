//! The arms by name, and how each is started.

use std::{path::PathBuf, process::Command};

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use crate::{arms::Workload, peers::Peers};

/// An arm by the name it has on the command line and in results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Arm {
    /// kafka-worker-pool, order by key, contiguous commits.
    Ours,
    /// The same with a handler that blocks, on the pool's own threads.
    OursBlocking,
    /// A `BaseConsumer::poll` loop.
    Raw,
    /// `StreamConsumer`, one channel, tasks, a store per message; no order.
    Naive,
    /// The same with a channel for each task, chosen by the key.
    NaiveKeyed,
    /// go-queue kq.
    Kq,
    /// Confluent's Parallel Consumer, ordered by key.
    ParallelConsumerKey,
    /// Confluent's Parallel Consumer without order.
    ParallelConsumerUnordered,
    /// A franz-go poll loop: what the wire allows.
    FranzGo,
    /// As many tokio tasks on the workload's timer, and no Kafka.
    Bare,
}

/// One run of an arm, in words that every arm's command line knows.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) records: u64,
    pub(crate) workload: Workload,
    pub(crate) concurrency: usize,
    pub(crate) spin: u32,
    pub(crate) skip: u64,
    pub(crate) timeout_s: u64,
    pub(crate) session_ms: u32,
    pub(crate) log: Option<PathBuf>,
    pub(crate) fail_id: Option<u64>,
    pub(crate) fail_by_panic: bool,
}

impl Arm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OursBlocking => "ours-blocking",
            Self::Raw => "raw",
            Self::Naive => "naive",
            Self::NaiveKeyed => "naive-keyed",
            Self::Kq => "kq",
            Self::ParallelConsumerKey => "parallel-consumer-key",
            Self::ParallelConsumerUnordered => "parallel-consumer-unordered",
            Self::FranzGo => "franz-go",
            Self::Bare => "bare",
        }
    }

    /// Whether the arm takes one record after the other, whatever the concurrency.
    pub(crate) fn is_a_loop(self) -> bool {
        matches!(self, Self::Raw | Self::FranzGo)
    }

    /// The command that runs it.
    ///
    /// # Errors
    /// When what it needs is not on this machine: the arm is skipped.
    pub(crate) fn command(self, launch: &Launch, peers: &Peers) -> Result<Command> {
        let mut command = match self {
            Self::Ours => own("ours"),
            Self::OursBlocking => {
                let mut command = own("ours");
                command.arg("--blocking");
                command
            }
            Self::Raw => own("raw"),
            Self::Naive => own("naive"),
            Self::NaiveKeyed => {
                let mut command = own("naive");
                command.args(["--lanes", "keyed"]);
                command
            }
            Self::Bare => own("bare"),
            Self::Kq => peers.kq()?,
            Self::FranzGo => peers.franz()?,
            Self::ParallelConsumerKey => peers.parallel_consumer("KEY")?,
            Self::ParallelConsumerUnordered => peers.parallel_consumer("UNORDERED")?,
        };
        launch.add_to(&mut command);
        Ok(command)
    }
}

/// This program, as another process. By this name it is the same program even when another was built meanwhile.
pub(crate) fn own(subcommand: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(subcommand);
    command
}

impl Launch {
    /// Nothing to do, 64 at once, on a topic still to be named.
    pub(crate) fn new(brokers: &str, group: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            topic: String::new(),
            group: group.to_owned(),
            records: 0,
            workload: Workload::Noop,
            concurrency: 64,
            spin: 1,
            skip: 0,
            timeout_s: 60,
            session_ms: 45_000,
            log: None,
            fail_id: None,
            fail_by_panic: false,
        }
    }

    fn add_to(&self, command: &mut Command) {
        command
            .args(["--brokers", &self.brokers, "--topic", &self.topic, "--group", &self.group])
            .args(["--records", &self.records.to_string(), "--workload", self.workload.name()])
            .args(["--concurrency", &self.concurrency.to_string(), "--spin", &self.spin.to_string()])
            .args(["--skip", &self.skip.to_string(), "--timeout-s", &self.timeout_s.to_string()])
            .args(["--session-ms", &self.session_ms.to_string()]);
        if let Some(log) = &self.log {
            command.arg("--log").arg(log);
        }
        if let Some(id) = self.fail_id {
            command.args(["--fail-id", &id.to_string()]);
        }
        if self.fail_by_panic {
            command.arg("--fail-by-panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line_and_the_json() {
        for arm in Arm::value_variants() {
            let value = arm.to_possible_value().expect("no arm is hidden");
            assert_eq!(value.get_name(), arm.name());
            assert_eq!(serde_json::to_value(arm).expect("a name"), arm.name());
        }
    }
}
