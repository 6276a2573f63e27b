//! The command line of `cargo xtask bench start`. The program `bench` has the same; this copy is what answers `--help` at once.

use clap::Args;

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
        let mut arguments = Vec::new();
        if self.json {
            arguments.push("--json".to_owned());
        }
        if !self.clients.is_empty() {
            let clients = self.clients.iter().map(usize::to_string).collect::<Vec<_>>();
            arguments.extend(["--clients".to_owned(), clients.join(",")]);
        }
        let rounds = self.rounds.map(|rounds| rounds.to_string());
        let seconds = self.seconds.map(|seconds| seconds.to_string());
        let projects = self.projects.map(|projects| projects.to_string());
        for (flag, value) in [("--rounds", rounds), ("--seconds", seconds), ("--projects", projects)] {
            arguments.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
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
        let given = "--json --clients 1,16 --rounds 2 --seconds 3 --projects 1000";
        let cli = Cli::parse_from(["xtask"].into_iter().chain(given.split(' ')));
        assert_eq!(cli.options.arguments().join(" "), given);
    }
}
