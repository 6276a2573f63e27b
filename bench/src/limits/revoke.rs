//! The pause of kept partitions: two thousand records a second flow through one member, a second joins, and half of the partitions change
//! hands. What counts is the longest silence of the first member, which keeps the other half.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use testkit::{Child, wait_until_blocking};

use super::{Measured, Place};
use crate::{
    arms::{LoadOptions, Workload, load, wall_ns},
    correct::{Attempt, Log},
    peers::{Peers, Wanted},
    pool::{Arm, Launch, own, unique},
};

const PACE: u32 = 2_000;
/// How long records flow.
const FLOW_S: u64 = 20;
/// Records before the second member joins: five seconds.
const BEFORE_JOIN: usize = 10_000;
/// The first records wait for the group; their silence does not count.
const FIRST: usize = 2_000;
const DEADLINE: Duration = Duration::from_secs(60);

/// The longest silence of the first member after the second has joined, and before.
pub(super) fn measure(place: &Place, arm: Arm) -> Result<Measured> {
    let topic = unique("bench-revoke");
    let brokers = place.kafka.brokers();
    load(&LoadOptions {
        brokers: brokers.to_owned(),
        topic: topic.clone(),
        partitions: 8,
        records: 0,
        rate: None,
        distinct_keys: false,
    })?;
    let group = unique(arm.name());
    let paths = ["first", "second"].map(|name| place.folder.join(format!("{group}-{name}.log")));
    let mut first = member(brokers, arm, &topic, &group, &paths[0])?;
    let mut flow = own("load");
    flow.args(["--brokers", brokers, "--topic", &topic, "--rate", &PACE.to_string()])
        .args(["--records", &(u64::from(PACE) * FLOW_S).to_string()]);
    let mut flow = Child::spawn(flow, &place.folder.join("flow.out"))?;
    let mut log = Log::new(paths[0].clone());
    let flows = wait_until_blocking(DEADLINE, || {
        log.catch_up().ok()?;
        (log.attempts().len() > BEFORE_JOIN).then_some(())
    });
    flows.context("the first member does not handle what flows")?;
    let joined_ns = wall_ns();
    let mut second = member(brokers, arm, &topic, &group, &paths[1])?;
    flow.wait(DEADLINE)?;
    let ended_ns = wall_ns();
    log.catch_up()?;
    let mut taken = Log::new(paths[1].clone());
    taken.catch_up()?;
    first.kill()?;
    second.kill()?;
    anyhow::ensure!(!taken.attempts().is_empty(), "the second member got no partition while records flowed");
    let before = silence_ms(&log.attempts()[FIRST..], 0, joined_ns);
    let after = silence_ms(log.attempts(), joined_ns, ended_ns);
    Ok(vec![("longest silence after the join", "ms", after), ("longest silence before", "ms", before)])
}

fn member(brokers: &str, arm: Arm, topic: &str, group: &str, log: &Path) -> Result<Child> {
    let launch = Launch {
        topic: topic.to_owned(),
        records: 1_000_000_000,
        workload: Workload::Paced,
        skip: u64::MAX,
        timeout_s: 300,
        log: Some(log.to_owned()),
        ..Launch::new(brokers, group)
    };
    let mut command = arm.command(&launch, &Peers::build(Wanted::default()))?;
    // The same protocol for both, so that the client's part is the same.
    command.arg("--kip848");
    Child::spawn(command, &log.with_extension("out"))
}

/// The longest time between two handled records in this window.
fn silence_ms(attempts: &[Attempt], from_ns: u64, to_ns: u64) -> f64 {
    let mut times: Vec<u64> =
        attempts.iter().map(|attempt| attempt.done_ns).filter(|done| (from_ns..to_ns).contains(done)).collect();
    times.sort_unstable();
    let longest = times.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default();
    longest as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_the_longest_gap_inside_the_window() {
        let done = |ms: u64| Attempt { id: ms, key: 0, sequence: ms, began_ns: 0, done_ns: ms * 1_000_000 };
        let attempts = [done(1), done(50), done(52), done(59), done(60), done(99)];
        assert_eq!(silence_ms(&attempts, 50_000_000, 99_000_000), 7.0);
        assert_eq!(silence_ms(&attempts, 0, u64::MAX), 49.0);
        assert_eq!(silence_ms(&[], 0, u64::MAX), 0.0);
    }
}
