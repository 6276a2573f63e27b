//! The command line of `bench pool`; `cargo xtask bench pool` has the same and passes it on.

use std::path::PathBuf;

use clap::Args;

use super::arm::Arm;
use crate::arms::Workload;

/// What to measure. With nothing given: everything, five rounds, which takes more than an hour on two cores.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PoolOptions {
    /// Ours, raw, kq and Parallel Consumer KEY on noop (three rounds) and slow keys (one), ours and raw on paced (one), at
    /// concurrency 64.
    #[arg(long)]
    pub(crate) quick: bool,
    /// One line of JSON as the last of stdout, instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Rounds of each cell.
    #[arg(long)]
    pub(crate) rounds: Option<usize>,
    /// Only these workloads.
    #[arg(long = "only", value_enum, value_delimiter = ',')]
    pub(crate) workloads: Vec<Workload>,
    /// Only these arms.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) arms: Vec<Arm>,
    /// Only these numbers of handlers at once.
    #[arg(long, value_delimiter = ',')]
    pub(crate) concurrency: Vec<usize>,
    /// Write pool.md and its plots into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) page: Option<PathBuf>,
}

impl PoolOptions {
    /// The command that measures this again.
    pub(super) fn command(&self) -> String {
        let mut command = "cargo xtask bench pool".to_owned();
        if self.quick {
            command.push_str(" --quick");
        }
        let workloads = self.workloads.iter().map(|one| one.name().to_owned()).collect();
        let arms = self.arms.iter().map(|one| one.name().to_owned()).collect();
        let concurrency = self.concurrency.iter().map(usize::to_string).collect();
        let rounds = self.rounds.iter().map(usize::to_string).collect();
        let lists: [(&str, Vec<String>); 4] =
            [("--only", workloads), ("--arms", arms), ("--concurrency", concurrency), ("--rounds", rounds)];
        for (flag, values) in lists.iter().filter(|(_, values)| !values.is_empty()) {
            command.push_str(&format!(" {flag} {}", values.join(",")));
        }
        if let Some(folder) = &self.page {
            command.push_str(&format!(" --page {}", folder.display()));
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_says_what_was_chosen() {
        let options = PoolOptions {
            quick: true,
            workloads: vec![Workload::Noop, Workload::Paced],
            rounds: Some(2),
            page: Some("docs/bench".into()),
            ..PoolOptions::default()
        };
        let command = "cargo xtask bench pool --quick --only noop,paced --rounds 2 --page docs/bench";
        assert_eq!(options.command(), command);
    }
}
