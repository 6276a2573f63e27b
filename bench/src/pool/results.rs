//! The runs of each cell added up, and the JSON that says so.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{arm::Arm, plan::Cell, run::Run};
use crate::{
    arms::{Reading, Workload},
    host::Host,
    statistics::Summary,
};

/// Above so many cores, what ran beside a run disturbed it.
const DISTURBING_CORES: f64 = 0.2;

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    runs: BTreeMap<Cell, Vec<Run>>,
    failures: Vec<Failure>,
}

/// An arm that could not run.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) arm: Arm,
    pub(crate) why: String,
}

/// One figure of the JSON: medians over the rounds, with their ranges.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) arm: Arm,
    pub(crate) workload: Workload,
    pub(crate) concurrency: usize,
    pub(crate) msgs_per_s: f64,
    pub(crate) cpu_us_per_msg: f64,
    pub(crate) peak_rss_mb: f64,
    /// Only where records come at a pace.
    pub(crate) p99_ms: Option<f64>,
    pub(crate) msgs_per_s_range: [f64; 2],
    pub(crate) cpu_us_per_msg_range: [f64; 2],
    pub(crate) p99_ms_range: Option<[f64; 2]>,
    pub(crate) p50_ms: Option<f64>,
    /// The second half of the records alone.
    pub(crate) steady_msgs_per_s: f64,
    /// Busy cores of the client while records were handled.
    pub(crate) client_cores: f64,
    pub(crate) records: u64,
    /// Handled in the run that handled fewest: less than `records` means it was cut at its timeout.
    pub(crate) handled: u64,
    pub(crate) rounds: usize,
    /// Runs beside which more than 0.2 cores were busy with something else.
    pub(crate) disturbed: usize,
}

#[derive(Serialize)]
struct Document<'a> {
    env: &'a Host,
    arms: Vec<Figure>,
    skipped: &'a [Failure],
}

impl Results {
    pub(crate) fn add(&mut self, cell: Cell, run: Run) {
        self.runs.entry(cell).or_default().push(run);
    }

    pub(crate) fn fail(&mut self, arm: Arm, why: String) {
        self.failures.push(Failure { arm, why });
    }

    pub(crate) fn failures(&self) -> &[Failure] {
        &self.failures
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        self.runs.iter().filter_map(|(cell, runs)| figure(cell, runs)).collect()
    }

    /// One line.
    pub(crate) fn json(&self, host: &Host) -> serde_json::Result<String> {
        serde_json::to_string(&Document { env: host, arms: self.figures(), skipped: &self.failures })
    }
}

fn figure(cell: &Cell, runs: &[Run]) -> Option<Figure> {
    let over = |value: fn(&Run) -> f64| Summary::of(runs.iter().map(value));
    let rate = over(|run| run.reading.msgs_per_s)?;
    let cpu = over(cpu_us)?;
    // A run in which no record counted has no delay.
    let delayed: Vec<&Run> = runs.iter().filter(|run| run.reading.delays > 0).collect();
    let delay = |value: fn(&Reading) -> f64| Summary::of(delayed.iter().map(|run| value(&run.reading)));
    let p99 = delay(|reading| reading.p99_ms);
    Some(Figure {
        arm: cell.arm,
        workload: cell.workload,
        concurrency: cell.concurrency,
        msgs_per_s: rounded(rate.median, 1),
        cpu_us_per_msg: rounded(cpu.median, 3),
        peak_rss_mb: rounded(over(|run| run.reading.peak_rss_mb)?.median, 1),
        p99_ms: p99.map(|all| rounded(all.median, 2)),
        msgs_per_s_range: [rounded(rate.min, 1), rounded(rate.max, 1)],
        cpu_us_per_msg_range: [rounded(cpu.min, 3), rounded(cpu.max, 3)],
        p99_ms_range: p99.map(|all| [rounded(all.min, 2), rounded(all.max, 2)]),
        p50_ms: delay(|reading| reading.p50_ms).map(|all| rounded(all.median, 2)),
        steady_msgs_per_s: rounded(over(|run| run.reading.steady_msgs_per_s)?.median, 1),
        client_cores: rounded(over(|run| run.reading.cpu_s / run.reading.seconds)?.median, 3),
        records: cell.records(),
        handled: runs.iter().map(|run| run.reading.handled).min()?,
        rounds: runs.len(),
        disturbed: runs.iter().filter(|run| run.other_cores > DISTURBING_CORES).count(),
    })
}

/// Client CPU per record, in microseconds.
pub(crate) fn cpu_us(run: &Run) -> f64 {
    run.reading.cpu_s * 1e6 / run.reading.handled.max(1) as f64
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::pool) fn run(cell: &Cell, msgs_per_s: f64, cpu_s: f64) -> Run {
        let handled = cell.records();
        Run {
            reading: Reading {
                arm: cell.arm.name().to_owned(),
                workload: cell.workload,
                concurrency: cell.concurrency,
                handled,
                complete: true,
                seconds: handled as f64 / msgs_per_s,
                msgs_per_s,
                steady_msgs_per_s: msgs_per_s,
                cpu_s,
                peak_rss_mb: 50.0,
                p50_ms: 1.0,
                p99_ms: 2.0,
                max_ms: 3.0,
                delays: if cell.workload.is_paced() { handled } else { 0 },
            },
            other_cores: 0.0,
        }
    }

    pub(in crate::pool) fn cell(workload: Workload, arm: Arm) -> Cell {
        Cell { workload, concurrency: 64, arm }
    }

    #[test]
    fn a_figure_is_the_median_of_its_runs_with_their_range() {
        let cell = cell(Workload::Noop, Arm::Ours);
        let mut results = Results::default();
        for (rate, cpu_s) in [(3e6, 0.5), (1e6, 0.7), (2e6, 0.6)] {
            results.add(cell, run(&cell, rate, cpu_s));
        }
        let figure = &results.figures()[0];
        assert_eq!((figure.msgs_per_s, figure.msgs_per_s_range), (2e6, [1e6, 3e6]));
        assert_eq!((figure.cpu_us_per_msg, figure.cpu_us_per_msg_range), (0.6, [0.5, 0.7]));
        assert_eq!((figure.p99_ms, figure.rounds, figure.disturbed), (None, 3, 0));
    }

    #[test]
    fn delays_are_told_only_where_records_come_at_a_pace() {
        let cell = cell(Workload::Paced, Arm::Raw);
        let mut results = Results::default();
        results.add(cell, run(&cell, 2_000.0, 0.1));
        assert_eq!(results.figures()[0].p99_ms, Some(2.0));
    }
}
