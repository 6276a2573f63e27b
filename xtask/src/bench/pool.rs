//! The command line of `cargo xtask bench pool`. The program `bench` has the same; this copy is what answers `--help` at once.

use clap::Args;

use super::arguments::Arguments;

/// The worker pool beside a raw client loop, the code one would write by hand, go-queue kq and Parallel Consumer.
///
/// With nothing given: every arm and workload in five rounds, which takes more than an hour on two cores.
///
/// Starts a Kafka 4.3.1 of its own from Maven's jars (or takes the one that KAFKA_BROKERS names), fills a topic with a million
/// records of 200 bytes, 10,000 keys, 8 partitions, and runs the arms in turn, each time in a fresh group and a process of its own. Needs
/// Java 17 and Maven for Kafka, a JDK for Parallel Consumer, Go for kq and franz-go; an arm whose tools are missing is skipped aloud.
#[derive(Args)]
pub(crate) struct Options {
    /// Ours, raw, kq and Parallel Consumer KEY on noop (three rounds) and slow keys (one), ours and raw on paced (one), at
    /// concurrency 64: less than five minutes without builds.
    #[arg(long)]
    quick: bool,
    /// One line of JSON as the last of stdout, instead of tables.
    #[arg(long)]
    json: bool,
    /// Only the cost of the engine per record, with records ready in memory: no broker, no peers.
    #[arg(long, conflicts_with_all = ["quick", "only", "arms", "concurrency", "page"])]
    pub(super) ready: bool,
    /// Rounds of each figure.
    #[arg(long)]
    rounds: Option<usize>,
    /// Only these workloads: noop, cpu20us, sleep1ms, sleep10ms, slowkeys, paced, fail2.
    #[arg(long, value_delimiter = ',', value_name = "WORKLOAD")]
    only: Vec<String>,
    /// Only these arms: ours, ours-blocking, raw, naive, naive-keyed, kq, parallel-consumer-key, parallel-consumer-unordered, franz-go, bare.
    #[arg(long, value_delimiter = ',', value_name = "ARM")]
    arms: Vec<String>,
    /// Only these numbers of handlers at once.
    #[arg(long, value_delimiter = ',', value_name = "NUMBER")]
    concurrency: Vec<usize>,
    /// Write pool.md and its plots into this folder, relative to where you are.
    #[arg(long, value_name = "FOLDER")]
    page: Option<String>,
}

impl Options {
    /// The same for the program `bench`.
    pub(super) fn arguments(&self) -> Vec<String> {
        Arguments::default()
            .switch("--quick", self.quick)
            .switch("--json", self.json)
            .list("--only", &self.only)
            .list("--arms", &self.arms)
            .list("--concurrency", &self.concurrency)
            .value("--rounds", self.rounds)
            .value("--page", self.page.as_ref())
            .into_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::Options;
    use crate::bench::arguments::handed_on;

    #[test]
    fn everything_given_is_handed_on() {
        let given = "--quick --json --only noop,paced --arms ours --concurrency 5,64 --rounds 2 --page x";
        assert_eq!(handed_on(given, Options::arguments), given);
    }
}
