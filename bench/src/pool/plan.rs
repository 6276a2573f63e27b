//! Which arm runs on which workload, with how many records, how often, and how long that may take.

use clap::ValueEnum as _;

use super::{arm::Arm, options::PoolOptions};
use crate::arms::Workload;

/// Records of the topic that is drained.
pub(crate) const PRELOADED: u64 = 1_000_000;
/// The pace of the paced workloads, in records per second.
pub(crate) const PACE: u32 = 2_000;
/// How long it is kept, and how much of its beginning does not count, in seconds.
pub(crate) const PACED_S: u64 = 10;
pub(crate) const PACED_SKIP_S: u64 = 2;

const ROUNDS: usize = 5;
const CONCURRENCY: [usize; 4] = [5, 64, 256, 1_000];

/// One figure: this arm on this workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) workload: Workload,
    pub(crate) concurrency: usize,
    pub(crate) arm: Arm,
}

/// A run of a cell in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) round: usize,
    pub(crate) cell: Cell,
}

impl Cell {
    /// How many records are handled.
    pub(crate) fn records(&self) -> u64 {
        let concurrency = self.concurrency as u64;
        match self.workload {
            Workload::Noop => PRELOADED,
            Workload::Cpu20us => 200_000,
            Workload::Sleep1ms => (2_000 * concurrency).min(400_000),
            Workload::Sleep10ms => (400 * concurrency).min(300_000),
            Workload::Fail2 => 300_000,
            Workload::SlowKeys | Workload::Paced => u64::from(PACE) * PACED_S,
            Workload::Steps => 50_000,
        }
    }

    /// What a run takes by experience, start and end of the process included. Only for the estimate of what is left.
    pub(crate) fn expected_seconds(&self) -> f64 {
        let startup = match self.arm {
            Arm::ParallelConsumerKey | Arm::ParallelConsumerUnordered => 3.0,
            Arm::Kq => 4.0,
            _ => 1.5,
        };
        startup
            + match (self.workload, self.arm) {
                (Workload::SlowKeys | Workload::Paced, _) => 14.0,
                (Workload::Noop, Arm::ParallelConsumerKey) => 12.0,
                (Workload::Noop, Arm::ParallelConsumerUnordered) => 6.0,
                (Workload::Noop, _) => 1.5,
                _ => 4.0,
            }
    }
}

/// All turns: rounds outermost, the arms of one workload and concurrency side by side, each round beginning with another of them.
pub(crate) fn turns(options: &PoolOptions) -> Vec<Turn> {
    let mut groups: Vec<Vec<Cell>> = Vec::new();
    for cell in cells(options) {
        let belongs = |group: &&mut Vec<Cell>| {
            group.first().is_some_and(|first| (first.workload, first.concurrency) == (cell.workload, cell.concurrency))
        };
        match groups.iter_mut().find(belongs) {
            Some(group) => group.push(cell),
            None => groups.push(vec![cell]),
        }
    }
    let mut turns = Vec::new();
    for round in 0..groups.iter().flatten().map(|cell| rounds(options, cell)).max().unwrap_or_default() {
        for group in &groups {
            let first = round % group.len();
            let rotated = group[first..].iter().chain(&group[..first]).filter(|cell| round < rounds(options, cell));
            turns.extend(rotated.map(|cell| Turn { round: round + 1, cell: *cell }));
        }
    }
    turns
}

fn rounds(options: &PoolOptions, cell: &Cell) -> usize {
    options.rounds.unwrap_or(match (options.quick, cell.workload) {
        (true, Workload::Noop) => 3,
        (true, _) => 1,
        (false, _) => ROUNDS,
    })
}

fn cells(options: &PoolOptions) -> Vec<Cell> {
    let mut cells = Vec::new();
    for workload in Workload::value_variants().iter().copied().filter(|one| *one != Workload::Steps) {
        for concurrency in concurrencies(options, workload) {
            let arms = Arm::value_variants().iter().copied().filter(|arm| is_measured(options, workload, *arm));
            cells.extend(arms.map(|arm| Cell { workload, concurrency, arm }));
        }
    }
    let is_chosen = |cell: &Cell| {
        (options.workloads.is_empty() || options.workloads.contains(&cell.workload))
            && (options.arms.is_empty() || options.arms.contains(&cell.arm))
    };
    cells.retain(is_chosen);
    cells
}

fn concurrencies(options: &PoolOptions, workload: Workload) -> Vec<usize> {
    if !options.concurrency.is_empty() {
        return options.concurrency.clone();
    }
    match (options.quick, workload) {
        (true, _) | (_, Workload::Paced | Workload::Fail2) => vec![64],
        (false, Workload::SlowKeys) => vec![64, 256],
        (false, _) => CONCURRENCY.to_vec(),
    }
}

fn is_measured(options: &PoolOptions, workload: Workload, arm: Arm) -> bool {
    let is_quick = match workload {
        Workload::Noop | Workload::SlowKeys => {
            matches!(arm, Arm::Ours | Arm::Raw | Arm::Kq | Arm::ParallelConsumerKey)
        }
        Workload::Paced => matches!(arm, Arm::Ours | Arm::Raw),
        _ => false,
    };
    if options.quick && !is_quick {
        return false;
    }
    match arm {
        Arm::Bare => matches!(workload, Workload::Sleep1ms | Workload::Sleep10ms),
        Arm::FranzGo => workload == Workload::Noop,
        // Where blocking matters: a key that blocks must not hold up the others.
        Arm::OursBlocking => workload == Workload::SlowKeys,
        // A loop that sleeps half a second for a slow key shows what the pool is for; one that sleeps for every record shows nothing.
        Arm::Raw => matches!(workload, Workload::Noop | Workload::Paced | Workload::SlowKeys | Workload::Cpu20us),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(quick: bool) -> PoolOptions {
        PoolOptions { quick, ..PoolOptions::default() }
    }

    #[test]
    fn quick_is_what_its_help_says() {
        let turns = turns(&options(true));
        let count = |workload, arm| {
            let is = |turn: &&Turn| (turn.cell.workload, turn.cell.arm) == (workload, arm);
            turns.iter().filter(is).count()
        };
        for arm in [Arm::Ours, Arm::Raw, Arm::Kq, Arm::ParallelConsumerKey] {
            assert_eq!((count(Workload::Noop, arm), count(Workload::SlowKeys, arm)), (3, 1), "{arm:?}");
        }
        assert_eq!(count(Workload::Paced, Arm::Ours), 1);
        assert!(turns.iter().all(|turn| turn.cell.concurrency == 64));
        let expected: f64 = turns.iter().map(|turn| turn.cell.expected_seconds()).sum();
        assert!(expected < 240.0, "five minutes with the start of Kafka and the load: {expected} s");
    }

    #[test]
    fn arms_are_interleaved_and_no_arm_is_always_first() {
        let turns = turns(&options(false));
        let noop: Vec<&Turn> =
            turns.iter().filter(|turn| (turn.cell.workload, turn.cell.concurrency) == (Workload::Noop, 64)).collect();
        assert!(noop.windows(2).all(|two| two[0].cell.arm != two[1].cell.arm), "never twice in a row");
        let firsts: Vec<Arm> = (1..=ROUNDS)
            .filter_map(|round| noop.iter().find(|turn| turn.round == round).map(|turn| turn.cell.arm))
            .collect();
        assert_eq!(firsts.len(), ROUNDS);
        assert!(firsts.windows(2).all(|two| two[0] != two[1]), "{firsts:?}");
    }

    #[test]
    fn choices_narrow_the_plan() {
        let mut chosen = options(false);
        chosen.workloads = vec![Workload::Noop];
        chosen.arms = vec![Arm::Ours, Arm::Raw];
        chosen.concurrency = vec![64];
        chosen.rounds = Some(2);
        let arms: Vec<Arm> = turns(&chosen).iter().map(|turn| turn.cell.arm).collect();
        assert_eq!(arms, [Arm::Ours, Arm::Raw, Arm::Raw, Arm::Ours]);
    }
}
