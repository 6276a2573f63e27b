//! A thousand partitions over a hundred topics: how long until one member has them all, and what it costs when nothing happens.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Args;
use kafka_worker_pool::{HandlerError, KafkaWorkerPool, Record, each};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};
use serde::{Deserialize, Serialize};
use testkit::Child;
use tokio::runtime;

use super::{Measured, Place};
use crate::{
    arms::{LoadOptions, cpu_time, load, peak_rss_mb},
    pool::{Arm, own, unique},
};

const TOPICS: usize = 100;
const PARTITIONS: i32 = 10;
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);
/// How often the assignment is looked at, until it is whole.
const LOOK: Duration = Duration::from_millis(5);
/// How long the raw client polls at once, and how often the pool is looked at while nothing happens: a look copies a thousand names.
const IDLE_LOOK: Duration = Duration::from_millis(100);

/// One member of many topics.
#[derive(Debug, Clone, Args)]
pub(crate) struct SpreadOptions {
    /// Kafka, as host:port.
    #[arg(long)]
    brokers: String,
    /// The consumer group.
    #[arg(long)]
    group: String,
    /// Topics are this name and a number from 0.
    #[arg(long)]
    prefix: String,
    /// A `BaseConsumer` instead of our pool.
    #[arg(long)]
    raw: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Spread {
    start_s: f64,
    idle_cores: f64,
    peak_rss_mb: f64,
}

/// From the start of the process' client to its whole assignment, then its CPU while nothing happens.
pub(super) fn measure(place: &Place, arm: Arm) -> Result<Measured> {
    let brokers = place.kafka.brokers();
    let prefix = unique("bench-spread");
    for number in 0..TOPICS {
        load(&LoadOptions {
            brokers: brokers.to_owned(),
            topic: format!("{prefix}-{number}"),
            partitions: PARTITIONS,
            records: 0,
            rate: None,
            distinct_keys: false,
        })?;
    }
    let mut command = own("spread");
    command.args(["--brokers", brokers, "--group", &unique(arm.name()), "--prefix", &prefix]);
    if arm == Arm::Raw {
        command.arg("--raw");
    }
    let log = place.folder.join(format!("{prefix}.out"));
    let status = Child::spawn(command, &log)?.wait(START_DEADLINE + IDLE + START_DEADLINE)?;
    let text = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("no figures ({status}): {text}"))?;
    let spread: Spread = serde_json::from_str(line).with_context(|| format!("no figures: {line}"))?;
    Ok(vec![
        ("start to the whole assignment", "s", spread.start_s),
        ("idle CPU", "cores", spread.idle_cores),
        ("peak memory", "MB", spread.peak_rss_mb),
    ])
}

/// The process of one member.
pub(crate) fn spread(options: &SpreadOptions) -> Result<()> {
    let topics: Vec<String> = (0..TOPICS).map(|number| format!("{}-{number}", options.prefix)).collect();
    let spread = if options.raw { raw(options, &topics)? } else { ours(options, &topics)? };
    println!("{}", serde_json::to_string(&spread).context("cannot print the figures")?);
    // Not the farewell of a thousand partitions.
    std::process::exit(0)
}

fn ours(options: &SpreadOptions, topics: &[String]) -> Result<Spread> {
    let start = Instant::now();
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().context("cannot start tokio")?;
    let inside = runtime.enter();
    let pool = KafkaWorkerPool::builder(&options.brokers, &options.group)
        .topics(topics)
        .handler(each(|_: Record| async { Ok::<(), HandlerError>(()) }))
        .start()
        .context("cannot start the pool")?;
    drop(inside);
    measured(start, |wait| {
        std::thread::sleep(wait);
        Ok(pool.status().assigned.len())
    })
}

fn raw(options: &SpreadOptions, topics: &[String]) -> Result<Spread> {
    let start = Instant::now();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &options.brokers)
        .set("group.id", &options.group)
        .set("group.protocol", "consumer")
        .set("auto.offset.reset", "earliest")
        .create()
        .context("cannot make a consumer")?;
    consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>()).context("cannot subscribe")?;
    measured(start, |_| {
        let polled = consumer.poll(IDLE_LOOK);
        anyhow::ensure!(!matches!(polled, Some(Ok(_))), "the topics are not empty");
        Ok(consumer.assignment().context("cannot ask for the assignment")?.count())
    })
}

/// `assigned` lets the client work for a moment, this long if it has threads of its own, and says how many partitions it has.
fn measured(start: Instant, mut assigned: impl FnMut(Duration) -> Result<usize>) -> Result<Spread> {
    let all = TOPICS * usize::try_from(PARTITIONS).unwrap_or_default();
    while assigned(LOOK)? < all {
        anyhow::ensure!(start.elapsed() < START_DEADLINE, "no whole assignment after {START_DEADLINE:?}");
    }
    let start_s = start.elapsed().as_secs_f64();
    let (idle, cpu) = (Instant::now(), cpu_time());
    while idle.elapsed() < IDLE {
        assigned(IDLE_LOOK)?;
    }
    let idle_cores = (cpu_time() - cpu).as_secs_f64() / idle.elapsed().as_secs_f64();
    Ok(Spread { start_s, idle_cores, peak_rss_mb: peak_rss_mb() })
}
