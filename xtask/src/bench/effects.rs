//! The command line of `cargo xtask bench effects`. The program `bench` has the same; this copy is what answers `--help` at once.

use clap::Args;

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
        let mut arguments = Vec::new();
        if self.json {
            arguments.push("--json".to_owned());
        }
        for (flag, values) in [("--services", &self.services), ("--databases", &self.databases)] {
            if !values.is_empty() {
                arguments.extend([flag.to_owned(), values.join(",")]);
            }
        }
        for (flag, value) in [("--events", self.events), ("--rounds", self.rounds)] {
            arguments.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value.to_string()]));
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Options;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn everything_given_is_handed_on() {
        let given = "--json --services epro,finance --databases sqlite --events 5000 --rounds 2";
        let cli = Cli::parse_from(["xtask"].into_iter().chain(given.split(' ')));
        assert_eq!(cli.options.arguments().join(" "), given);
    }
}
