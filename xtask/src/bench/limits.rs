//! The command line of `cargo xtask bench limits`. The program `bench` has the same; this copy is what answers `--help` at once.

use clap::Args;

use super::arguments::Arguments;

/// What is not a rate, for our pool and the raw client loop: memory with a million keys, the pause of a rebalance, a thousand partitions.
///
/// keys: peak memory on a million records of 10,000 keys and of a million. revoke: 2,000 records/s through one member, a second joins, both by
/// KIP-848; the longest silence of the first. partitions: 100 topics of 10 partitions, time to the whole assignment and idle CPU.
#[derive(Args)]
pub(crate) struct Options {
    /// One line of JSON as the last of stdout, instead of a table.
    #[arg(long)]
    json: bool,
    /// Only these: keys, revoke, partitions.
    #[arg(long, value_delimiter = ',', value_name = "LIMIT")]
    only: Vec<String>,
    /// Rounds of each figure.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

impl Options {
    /// The same for the program `bench`.
    pub(super) fn arguments(&self) -> Vec<String> {
        Arguments::default()
            .value("--rounds", Some(self.rounds))
            .switch("--json", self.json)
            .list("--only", &self.only)
            .into_vec()
    }
}
