//! The command line of `cargo xtask bench effects`. The program `bench` has the same; this copy is what answers `--help` at once.

use clap::Args;

use super::arguments::Arguments;

/// epro-, finance- and monitor-srv applying preloaded events, gate and effect in one transaction per batch, on PostgreSQL and on SQLite, beside a
/// bare loop that runs the same statements with the same values in the same batch sizes, and no Kafka.
///
/// Starts a Kafka and a PostgreSQL of its own (or takes those that KAFKA_BROKERS and CTMS_TEST_POSTGRES_URL name).
#[derive(Args)]
pub(crate) struct Options {
    /// One line of JSON as the last of stdout, instead of a table.
    #[arg(long)]
    json: bool,
    /// Events, eight for each study; 100,000 by default, which suits a laptop. A million takes about 1.5 GB of memory.
    #[arg(long, value_name = "N")]
    events: Option<u32>,
    /// Only these services: epro, finance, monitor.
    #[arg(long, value_delimiter = ',', value_name = "SERVICE")]
    services: Vec<String>,
    /// Only these databases: postgres, sqlite.
    #[arg(long, value_delimiter = ',', value_name = "DATABASE")]
    databases: Vec<String>,
    /// Rounds of each figure, the arms in turn; 1 by default.
    #[arg(long)]
    rounds: Option<u32>,
}

impl Options {
    /// The same for the program `bench`.
    pub(super) fn arguments(&self) -> Vec<String> {
        Arguments::default()
            .switch("--json", self.json)
            .list("--services", &self.services)
            .list("--databases", &self.databases)
            .value("--events", self.events)
            .value("--rounds", self.rounds)
            .into_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::Options;
    use crate::bench::arguments::handed_on;

    #[test]
    fn everything_given_is_handed_on() {
        let given = "--json --services epro,finance --databases sqlite --events 5000 --rounds 2";
        assert_eq!(handed_on(given, Options::arguments), given);
    }
}
