//! The command line of `cargo xtask bench correct`. The program `bench` has the same; this copy is what answers `--help` at once.

use clap::Args;

use super::arguments::Arguments;

/// What the worker pool and its peers lose, double and disorder when a process is killed, stopped, joined or its handler fails.
///
/// With nothing given: all arms and faults, once, which takes about half an hour.
///
/// Each trial gives 50,000 records to an arm (16 handlers at once, 0 to 4 ms each, 1.5 s for one record in 500), lets something go
/// wrong in the middle, restarts it and waits until every record has arrived or none comes any more. Every attempt is written to a log by
/// the handler itself. Fails when kafka-worker-pool loses or disorders a record, doubles one without a kill, or doubles as many as
/// Parallel Consumer KEY with one.
#[derive(Args)]
pub(crate) struct Options {
    /// One line of JSON as the last of stdout, instead of a table.
    #[arg(long)]
    json: bool,
    /// Only these arms: ours, naive, naive-keyed, kq, parallel-consumer-key, parallel-consumer-unordered.
    #[arg(long, value_delimiter = ',', value_name = "ARM")]
    arms: Vec<String>,
    /// Only these faults: kill, terminate, join, panic, error.
    #[arg(long, value_delimiter = ',', value_name = "FAULT")]
    faults: Vec<String>,
    /// Trials of each arm and fault.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Write correct.md into this folder, relative to where you are.
    #[arg(long, value_name = "FOLDER")]
    page: Option<String>,
}

impl Options {
    /// The same for the program `bench`.
    pub(super) fn arguments(&self) -> Vec<String> {
        Arguments::default()
            .value("--rounds", Some(self.rounds))
            .switch("--json", self.json)
            .value("--page", self.page.as_ref())
            .list("--arms", &self.arms)
            .list("--faults", &self.faults)
            .into_vec()
    }
}
