//! Memory with as many keys as records: what a pool keeps per key must go when the key's records are done.

use std::time::Duration;

use anyhow::Result;
use testkit::Child;

use super::{Measured, Place};
use crate::{
    arms::{LoadOptions, Workload, load},
    peers::{Peers, Wanted},
    pool::{Arm, Launch, reading, unique},
};

const RECORDS: u64 = 1_000_000;
const TIMEOUT_S: u64 = 90;
const FEW: &str = "bench-few-keys";
const MANY: &str = "bench-many-keys";

/// Peaks over the whole drain of both topics.
pub(super) fn measure(place: &Place, arm: Arm, is_first: bool) -> Result<Measured> {
    if is_first {
        for (topic, distinct_keys) in [(FEW, false), (MANY, true)] {
            load(&LoadOptions {
                brokers: place.kafka.brokers().to_owned(),
                topic: topic.to_owned(),
                partitions: 8,
                records: RECORDS,
                rate: None,
                distinct_keys,
            })?;
        }
    }
    let few = peak_mb(place, arm, FEW)?;
    let many = peak_mb(place, arm, MANY)?;
    Ok(vec![("peak, 10,000 keys", "MB", few), ("peak, 1,000,000 keys", "MB", many)])
}

fn peak_mb(place: &Place, arm: Arm, topic: &str) -> Result<f64> {
    let group = unique(arm.name());
    let log = place.folder.join(format!("{group}.out"));
    let launch = Launch {
        topic: topic.to_owned(),
        records: RECORDS,
        workload: Workload::Noop,
        timeout_s: TIMEOUT_S,
        ..Launch::new(place.kafka.brokers(), &group)
    };
    let mut child = Child::spawn(arm.command(&launch, &Peers::build(Wanted::default()))?, &log)?;
    child.wait(Duration::from_secs(TIMEOUT_S + 30))?;
    Ok(reading(&log)?.peak_rss_mb)
}
