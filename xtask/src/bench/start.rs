//! The command line of `cargo xtask bench start`. The program `bench` has the same; this copy is what answers `--help` at once.

use clap::Args;

use super::arguments::Arguments;

/// StartProject over gRPC against the release project-srv on PostgreSQL, beside pgbench that runs the same transaction's statements on the same
/// server, and beside a bare tonic + tokio-postgres server that does.
///
/// Starts a PostgreSQL of its own (or takes the one that CTMS_TEST_POSTGRES_URL names); pgbench comes with its packages. No broker is there: a
/// start is accepted without one, and the relay's work is no part of the call.
#[derive(Args)]
pub(crate) struct Options {
    /// One line of JSON as the last of stdout, instead of a table.
    #[arg(long)]
    json: bool,
    /// Numbers of clients, each with one call under way; 1, 16 and 64 by default.
    #[arg(long, value_delimiter = ',', value_name = "NUMBER")]
    clients: Vec<usize>,
    /// Rounds of each figure, the arms in turn; 3 by default.
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each arm runs in a round; 5 by default.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Projects that are ready to start, each once; 200,000 by default.
    #[arg(long, value_name = "N")]
    projects: Option<u32>,
}

impl Options {
    /// The same for the program `bench`.
    pub(super) fn arguments(&self) -> Vec<String> {
        Arguments::default()
            .switch("--json", self.json)
            .list("--clients", &self.clients)
            .value("--rounds", self.rounds)
            .value("--seconds", self.seconds)
            .value("--projects", self.projects)
            .into_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::Options;
    use crate::bench::arguments::handed_on;

    #[test]
    fn everything_given_is_handed_on() {
        let given = "--json --clients 1,16 --rounds 2 --seconds 3 --projects 1000";
        assert_eq!(handed_on(given, Options::arguments), given);
    }
}
