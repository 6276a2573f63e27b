//! `bench correct`: what each arm loses, doubles and disorders when something goes wrong.

mod attempts;
mod trial;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum as _};
use serde::Serialize;
use testkit::kafka::Kafka;

use crate::{
    arms::{LoadOptions, load},
    host::Host,
    peers::{Peers, Wanted},
    pool::{Arm, aligned, kafka_version, unique},
};
use trial::{Court, Fault, Outcome, RECORDS};

pub(crate) use attempts::{Attempt, Log};

/// The arms that are pools.
const ARMS: [Arm; 6] =
    [Arm::Ours, Arm::Naive, Arm::NaiveKeyed, Arm::Kq, Arm::ParallelConsumerKey, Arm::ParallelConsumerUnordered];

/// Which arms, which faults.
#[derive(Debug, Clone, Args)]
pub(crate) struct CorrectOptions {
    /// One line of JSON as the last of stdout, instead of a table.
    #[arg(long)]
    json: bool,
    /// Only these arms.
    #[arg(long, value_enum, value_delimiter = ',')]
    arms: Vec<Arm>,
    /// Only these faults.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Trials of each arm and fault.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Write correct.md into this folder.
    #[arg(long, value_name = "FOLDER")]
    page: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document<'a> {
    env: &'a Host,
    records: u64,
    concurrency: usize,
    trials: &'a [Outcome],
    skipped: Vec<String>,
}

/// Success unless our pool broke its promise.
pub(crate) fn run(options: &CorrectOptions) -> Result<ExitCode> {
    let arms: Vec<Arm> = ARMS.into_iter().filter(|arm| options.arms.is_empty() || options.arms.contains(arm)).collect();
    anyhow::ensure!(!arms.is_empty(), "none of the chosen arms is a pool: choose among {}", names(&ARMS));
    let faults: Vec<Fault> =
        if options.faults.is_empty() { Fault::value_variants().to_vec() } else { options.faults.clone() };
    let court = court(&arms)?;
    let host = Host::now(kafka_version(&court.kafka))?;
    let (mut outcomes, mut skipped) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        for fault in &faults {
            for arm in &arms {
                match court.try_arm(*arm, *fault) {
                    Ok(outcome) => {
                        eprintln!("round {round}: {}", row(&outcome).join("  "));
                        outcomes.push(outcome);
                    }
                    Err(error) => {
                        let said = format!("{} {}: {error:#}", arm.name(), fault_name(*fault));
                        eprintln!("round {round}: SKIPPED: {said}");
                        skipped.push(said);
                    }
                }
            }
        }
    }
    fs::remove_dir_all(&court.folder).with_context(|| format!("cannot remove {}", court.folder.display()))?;
    let broken = broken_promises(&outcomes);
    for promise in &broken {
        eprintln!("BROKEN: {promise}");
    }
    if let Some(folder) = &options.page {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join("correct.md");
        fs::write(&path, page(&host, &outcomes, &skipped, &broken))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.json {
        let document =
            Document { env: &host, records: RECORDS, concurrency: trial::CONCURRENCY, trials: &outcomes, skipped };
        println!("{}", serde_json::to_string(&document).context("cannot print the outcomes")?);
    } else {
        println!("{}", table(&outcomes));
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn court(arms: &[Arm]) -> Result<Court> {
    let peers = Peers::build(Wanted {
        kq: arms.contains(&Arm::Kq),
        franz: false,
        parallel_consumer: arms.contains(&Arm::ParallelConsumerKey) || arms.contains(&Arm::ParallelConsumerUnordered),
    });
    eprintln!("starting Kafka and loading {RECORDS} records");
    let kafka = Kafka::given().or_else(|_| Kafka::start_for_load())?;
    let topic = unique("bench-steps");
    load(&LoadOptions {
        brokers: kafka.brokers().to_owned(),
        topic: topic.clone(),
        partitions: 8,
        records: RECORDS,
        rate: None,
        distinct_keys: false,
    })?;
    let folder = testkit::target_dir().join(unique("bench"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(Court { kafka, peers, topic, folder })
}

/// What our pool promises, held against what it did.
fn broken_promises(outcomes: &[Outcome]) -> Vec<String> {
    let most = |arm: Arm| {
        outcomes.iter().filter(|one| one.arm == arm && one.fault == Fault::Kill).map(|one| one.doubled).max()
    };
    let mut broken = Vec::new();
    for outcome in outcomes.iter().filter(|one| one.arm == Arm::Ours) {
        let name = fault_name(outcome.fault);
        if outcome.lost > 0 {
            broken.push(format!("{name}: {} lost", outcome.lost));
        }
        if outcome.out_of_order > 0 {
            broken.push(format!("{name}: {} out of order", outcome.out_of_order));
        }
        if outcome.doubled > 0 && outcome.fault != Fault::Kill {
            broken.push(format!("{name}: {} doubled", outcome.doubled));
        }
    }
    if let (Some(ours), Some(theirs)) = (most(Arm::Ours), most(Arm::ParallelConsumerKey))
        && ours >= theirs
    {
        broken.push(format!("kill: {ours} doubled, Parallel Consumer KEY {theirs}"));
    }
    broken
}

/// A table for people.
fn table(outcomes: &[Outcome]) -> String {
    let heading = [
        "fault",
        "arm",
        "lost",
        "doubled",
        "out of order",
        "dead letters",
        "failed attempts",
        "crashes",
        "stop s",
        "gap s",
    ];
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_by_key(|one| (one.fault, one.arm));
    let rows: Vec<_> = [heading.map(str::to_owned)].into_iter().chain(sorted.into_iter().map(row)).collect();
    aligned(&rows)
}

fn row(outcome: &Outcome) -> [String; 10] {
    let seconds = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
    [
        fault_name(outcome.fault),
        outcome.arm.name().to_owned(),
        outcome.lost.to_string(),
        outcome.doubled.to_string(),
        outcome.out_of_order.to_string(),
        outcome.dead_letters.to_string(),
        outcome.failed_attempts.to_string(),
        outcome.crashes.to_string(),
        seconds(outcome.stop_s),
        seconds(outcome.gap_s),
    ]
}

/// The page: what was done, where, and what came of it.
fn page(host: &Host, outcomes: &[Outcome], skipped: &[String], broken: &[String]) -> String {
    let list = |lines: &[String]| lines.iter().map(|line| format!("* {line}\n")).collect::<String>();
    let mut text = format!(
        "# What goes missing when something goes wrong\n\n\
         Written by `cargo xtask bench correct`. {RECORDS} records on 8 partitions, {} handlers at once, each 0 to 4 ms, 1.5 s for one record in 500. In the middle\n\
         something goes wrong; then a restart, until every record has arrived or none has come for 45 s. Every handler writes each attempt to a log, which a\n\
         kill leaves behind.\n\n\
         * kill: kill -9, restart. terminate: SIGTERM, restart. join: a second instance joins. panic, error: the handler fails on one record whenever it comes;\n  \
         at last it is mended and restarted.\n\
         * lost: neither handled nor a dead letter. doubled: handled more often than once. out of order: handled while another record of its key was, or before\n  \
         one that precedes it; going back to the last commit after a kill counts as doubled, not as disorder. The shared naive pool, kq and Parallel Consumer\n  \
         UNORDERED promise no order. stop: from SIGTERM to the end. gap: from the restart to the first record handled after it.\n\
         * Settings are those of [the benchmarks](pool.md), sessions 6 s where an arm can set them; kq's is 30 s, that of kafka-worker-pool the broker's\n  \
         (KIP-848), here 10 s. Parallel Consumer stops by `close()`; the naive pool dies on SIGTERM.\n\n",
        trial::CONCURRENCY
    );
    text.push_str(&host.markdown());
    text.push_str(&format!("\n{}", table(outcomes)));
    if !skipped.is_empty() {
        text.push_str(&format!("\nSkipped:\n\n{}", list(skipped)));
    }
    if !broken.is_empty() {
        text.push_str(&format!("\n**Promises that kafka-worker-pool broke here:**\n\n{}", list(broken)));
    }
    text
}

fn fault_name(fault: Fault) -> String {
    fault.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn names(arms: &[Arm]) -> String {
    arms.iter().map(|arm| arm.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(arm: Arm, fault: Fault, doubled: usize) -> Outcome {
        Outcome {
            arm,
            fault,
            lost: 0,
            doubled,
            out_of_order: 0,
            dead_letters: 0,
            failed_attempts: 0,
            crashes: 0,
            stop_s: None,
            gap_s: None,
            took_s: 1.0,
        }
    }

    #[test]
    fn doubles_are_allowed_after_a_kill_alone_and_fewer_than_the_peers() {
        let kept = [outcome(Arm::Ours, Fault::Kill, 10), outcome(Arm::ParallelConsumerKey, Fault::Kill, 11)];
        assert!(broken_promises(&kept).is_empty());
        let as_many = [outcome(Arm::Ours, Fault::Kill, 11), outcome(Arm::ParallelConsumerKey, Fault::Kill, 11)];
        assert_eq!(broken_promises(&as_many).len(), 1);
        assert_eq!(broken_promises(&[outcome(Arm::Ours, Fault::Join, 1)]), ["join: 1 doubled"]);
        assert!(broken_promises(&[outcome(Arm::Kq, Fault::Join, 1)]).is_empty(), "others promise nothing to us");
    }

    #[test]
    fn the_page_confesses() {
        let host = Host::now("Kafka of the test".to_owned()).expect("a temporary folder");
        let outcomes = [outcome(Arm::Ours, Fault::Join, 1)];
        let page = page(&host, &outcomes, &["kq kill: no Go".to_owned()], &broken_promises(&outcomes));
        for wanted in ["| join  | ours", "* kq kill: no Go", "* join: 1 doubled", "Kafka of the test"] {
            assert!(page.contains(wanted), "{wanted}: {page}");
        }
    }

    #[test]
    fn loss_and_disorder_break_the_promise() {
        let mut bad = outcome(Arm::Ours, Fault::Kill, 0);
        (bad.lost, bad.out_of_order) = (2, 3);
        assert_eq!(broken_promises(&[bad]), ["kill: 2 lost", "kill: 3 out of order"]);
    }
}
