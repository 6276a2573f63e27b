//! `bench limits`: what is not a rate. Memory with a million keys, the pause of kept partitions when a second member joins, the start and
//! the idle cost of a thousand partitions; each for our pool and for the raw client loop.

mod keys;
mod partitions;
mod revoke;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;
use testkit::kafka::Kafka;

use crate::{
    host::Host,
    pool::{Arm, aligned, kafka_version, unique},
    statistics::Summary,
};

pub(crate) use partitions::{SpreadOptions, spread};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct LimitsOptions {
    /// One line of JSON as the last of stdout, instead of a table.
    #[arg(long)]
    json: bool,
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Limit>,
    /// Rounds of each figure.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// One of the things to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Limit {
    /// Peak memory on a million records of a million keys, and of 10,000.
    Keys,
    /// The longest silence of a member when a second one joins.
    Revoke,
    /// 100 topics of 10 partitions: time to the whole assignment, and idle CPU.
    Partitions,
}

/// One figure of one arm, over the rounds.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    limit: Limit,
    arm: Arm,
    what: &'static str,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    rounds: usize,
}

/// What a round measured, by name and unit.
type Measured = Vec<(&'static str, &'static str, f64)>;

/// Where it happens.
#[derive(Debug)]
struct Place {
    kafka: Kafka,
    folder: PathBuf,
}

#[derive(Serialize)]
struct Document {
    env: Host,
    limits: Vec<Figure>,
}

pub(crate) fn run(options: &LimitsOptions) -> Result<()> {
    let limits = if options.only.is_empty() { Limit::value_variants() } else { &options.only };
    eprintln!("starting Kafka");
    let kafka = Kafka::given().or_else(|_| Kafka::start_for_load())?;
    let host = Host::now(kafka_version(&kafka))?;
    let folder = testkit::target_dir().join(unique("bench"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let place = Place { kafka, folder };
    let mut figures = Vec::new();
    for limit in limits {
        figures.extend(place.measure(*limit, options.rounds)?);
    }
    fs::remove_dir_all(&place.folder).with_context(|| format!("cannot remove {}", place.folder.display()))?;
    if options.json {
        let document = Document { env: host, limits: figures };
        println!("{}", serde_json::to_string(&document).context("cannot print the figures")?);
    } else {
        println!("{}", table(&figures));
    }
    Ok(())
}

impl Place {
    fn measure(&self, limit: Limit, rounds: usize) -> Result<Vec<Figure>> {
        let mut all: Vec<(Arm, Measured)> = Vec::new();
        for round in 1..=rounds {
            for arm in [Arm::Ours, Arm::Raw] {
                let measured = match limit {
                    Limit::Keys => keys::measure(self, arm, round == 1 && arm == Arm::Ours)?,
                    Limit::Revoke => revoke::measure(self, arm)?,
                    Limit::Partitions => partitions::measure(self, arm)?,
                };
                eprintln!("{limit:?} round {round} {}: {measured:?}", arm.name());
                all.push((arm, measured));
            }
        }
        Ok(figures(limit, &all))
    }
}

fn figures(limit: Limit, all: &[(Arm, Measured)]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for arm in [Arm::Ours, Arm::Raw] {
        let of: Vec<&Measured> = all.iter().filter(|(one, _)| *one == arm).map(|(_, measured)| measured).collect();
        for (place, (what, unit, _)) in of.first().into_iter().flat_map(|first| first.iter().enumerate()) {
            let values = of.iter().filter_map(|measured| measured.get(place)).map(|(_, _, value)| *value);
            if let Some(Summary { median, min, max }) = Summary::of(values) {
                figures.push(Figure { limit, arm, what, unit, median, min, max, rounds: of.len() });
            }
        }
    }
    figures
}

fn table(figures: &[Figure]) -> String {
    let heading = ["limit", "arm", "figure", "unit", "median", "range", "rounds"].map(str::to_owned);
    let rows = figures.iter().map(|figure| {
        [
            figure.limit.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default(),
            figure.arm.name().to_owned(),
            figure.what.to_owned(),
            figure.unit.to_owned(),
            format!("{:.3}", figure.median),
            format!("{:.3}–{:.3}", figure.min, figure.max),
            figure.rounds.to_string(),
        ]
    });
    aligned(&[heading].into_iter().chain(rows).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_summed_up_over_its_own_rounds() {
        let round = |value| vec![("pause", "ms", value), ("before", "ms", 1.0)];
        let all = [(Arm::Ours, round(3.0)), (Arm::Raw, round(9.0)), (Arm::Ours, round(5.0))];
        let figures = figures(Limit::Revoke, &all);
        let pauses: Vec<_> =
            figures.iter().filter(|one| one.what == "pause").map(|one| (one.arm, one.median, one.rounds)).collect();
        assert_eq!(pauses, [(Arm::Ours, 4.0, 2), (Arm::Raw, 9.0, 1)]);
        assert!(table(&figures).contains("| revoke | raw  | pause"), "{}", table(&figures));
    }
}
