//! The figures for people and for programs.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::Figure;
use crate::host::Host;

#[derive(Serialize)]
struct Line<'a> {
    env: &'a Host,
    arms: &'a [Figure],
}

pub(super) fn print_json(host: &Host, figures: &[Figure]) -> Result<()> {
    println!("{}", serde_json::to_string(&Line { env: host, arms: figures }).context("cannot print the figures")?);
    Ok(())
}

pub(super) fn print(host: &Host, figures: &[Figure]) -> Result<()> {
    println!(
        "{} × {}, {}; load before {:.1}; fsync of 4 KiB p50 {:.2} ms, p99 {:.2} ms; {}",
        host.cores, host.cpu, host.os, host.load1_before, host.fsync_p50_ms, host.fsync_p99_ms, host.commit
    );
    println!(
        "\n| service | database | events/s | bare loop, events/s | ratio | events per transaction | studies per transaction | statements per transaction |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|");
    for figure in figures {
        println!(
            "| {} | {} | {:.0} | {:.0} | {:.2} | {:.1} | {:.1} | {:.1} |",
            figure.service.name(),
            figure.database.name(),
            figure.ours_per_s,
            figure.bare_per_s,
            figure.ratio,
            figure.batch,
            figure.streams,
            figure.statements
        );
    }
    Ok(())
}
