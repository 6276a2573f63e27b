//! The figures for people and for programs.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{Arm, Figure};
use crate::host::Host;

/// The rate of project-srv as a part of another's.
#[derive(Debug, PartialEq, Serialize)]
struct Ratio {
    clients: usize,
    of: Arm,
    ratio: f64,
}

#[derive(Serialize)]
struct Line<'a> {
    env: &'a Host,
    arms: &'a [Figure],
    ratios: Vec<Ratio>,
}

pub(super) fn print_json(host: &Host, figures: &[Figure]) -> Result<()> {
    let line = Line { env: host, arms: figures, ratios: ratios(figures) };
    println!("{}", serde_json::to_string(&line).context("cannot print the figures")?);
    Ok(())
}

pub(super) fn print(host: &Host, figures: &[Figure]) -> Result<()> {
    println!(
        "{} × {}, {}; load before {:.1}; fsync of 4 KiB p50 {:.2} ms, p99 {:.2} ms; {}",
        host.cores, host.cpu, host.os, host.load1_before, host.fsync_p50_ms, host.fsync_p99_ms, host.commit
    );
    println!("\n| clients | arm | starts/s (range) | p50 ms | p99 ms | ours ÷ this |\n|--:|---|--:|--:|--:|--:|");
    let ratios = ratios(figures);
    for figure in figures {
        let ratio = ratios.iter().find(|ratio| (ratio.clients, ratio.of) == (figure.clients, figure.arm));
        println!(
            "| {} | {} | {:.0} ({:.0}–{:.0}) | {:.2} | {:.2} | {} |",
            figure.clients,
            figure.arm.name(),
            figure.starts_per_s,
            figure.starts_per_s_min,
            figure.starts_per_s_max,
            figure.p50_ms,
            figure.p99_ms,
            ratio.map_or_else(String::new, |ratio| format!("{:.2}", ratio.ratio)),
        );
    }
    Ok(())
}

fn ratios(figures: &[Figure]) -> Vec<Ratio> {
    let ours = |clients| figures.iter().find(|figure| figure.arm == Arm::Ours && figure.clients == clients);
    let others = figures.iter().filter(|figure| figure.arm != Arm::Ours);
    let ratio = |other: &Figure| {
        let ratio = ours(other.clients)?.starts_per_s / other.starts_per_s;
        Some(Ratio { clients: other.clients, of: other.arm, ratio: (ratio * 1_000.0).round() / 1_000.0 })
    };
    others.filter_map(ratio).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_set_against_each_other_arm_with_as_many_clients() {
        let figure = |arm, clients, rate| Figure {
            arm,
            clients,
            starts_per_s: rate,
            starts_per_s_min: rate,
            starts_per_s_max: rate,
            p50_ms: 1.0,
            p99_ms: 2.0,
        };
        let figures = [
            figure(Arm::Ours, 1, 90.0),
            figure(Arm::Pgbench, 1, 100.0),
            figure(Arm::Ours, 16, 500.0),
            figure(Arm::Bare, 16, 400.0),
        ];
        let wanted =
            [Ratio { clients: 1, of: Arm::Pgbench, ratio: 0.9 }, Ratio { clients: 16, of: Arm::Bare, ratio: 1.25 }];
        assert_eq!(ratios(&figures), wanted);
    }
}
