//! Quantiles, and the account of a load for people.

use std::time::Duration;

use serde::Serialize;

use crate::output;

use super::{Measured, Reactions};

/// Milliseconds at the median, the 99th percentile and the maximum (nearest rank).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Quantiles {
    /// Of at least one time; all zero of none.
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        // Nearest rank: the smallest time that at least `percent` of all times do not exceed.
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).map_or(0.0, |time| (time.as_secs_f64() * 100_000.0).round() / 100.0)
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:>8.2}   p99 {:>8.2}   max {:>8.2}  ms", self.p50, self.p99, self.max)
    }
}

/// Resident memory of this process in MiB, where the system tells.
pub(super) fn resident_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// Prints what was measured.
pub(super) fn print(measured: &Measured) {
    output::line(&format!("stack               {}", measured.stack));
    if let Some(seconds) = measured.ready_after_s {
        output::line(&format!("ready after         {seconds:.2} s"));
    }
    if let Some(megabytes) = measured.resident_mb {
        output::line(&format!("resident memory     {megabytes} MiB, clients included"));
    }
    if let Some(fsync) = measured.fsync_ms {
        output::line(&format!("fsync of 4 KiB      {fsync}"));
    }
    output::line(&format!("StartProject        {}", measured.start_project_ms));
    print_reactions(&measured.reaction_ms);
    if let Some(paced) = &measured.paced {
        output::line(&format!("at {} starts/s, {} of them watched", paced.asked_per_s, paced.watched));
        output::line(&format!("StartProject        {}", paced.start_project_ms));
        print_reactions(&paced.reaction_ms);
    }
    output::line(&format!(
        "{} projects from {} clients: {:.0} starts/s, every effect there {:.2} s after the last OK",
        measured.projects, measured.clients, measured.starts_per_s, measured.settled_after_s
    ));
    let verdict = if measured.ok { "each effect exactly once" } else { "NOT exactly once" };
    output::line(&format!("{verdict}: {:?}", measured.counted));
}

fn print_reactions(reactions: &Reactions) {
    for (service, reaction) in
        [("epro", reactions.epro), ("finance", reactions.finance), ("monitor", reactions.monitor)]
    {
        output::line(&format!("reaction of {service:<7} {reaction}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let times = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(Quantiles::of(times), Quantiles { p50: 100.0, p99: 198.0, max: 200.0 });
        assert_eq!(Quantiles::of(vec![Duration::from_millis(7)]), Quantiles { p50: 7.0, p99: 7.0, max: 7.0 });
        assert_eq!(Quantiles::of(vec![]), Quantiles { p50: 0.0, p99: 0.0, max: 0.0 });
    }
}
