//! `cargo xtask test`: build once, start the servers once, run every test executable, add up.

pub(crate) mod build;
mod execute;
mod failures;
mod matrix;
mod servers;
mod shown;
mod tally;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use build::Built;
use tally::Tally;

/// Options of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Prints which test shows each line of the failure matrix and each row of the semantics table, and runs nothing.
    #[arg(long)]
    list: bool,
    /// Also builds the images, brings the compose cluster up and runs the demo against it.
    #[arg(long)]
    compose: bool,
    /// Only the tests of this package; may be repeated.
    #[arg(long = "package", short = 'p', value_name = "NAME")]
    packages: Vec<String>,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

impl Options {
    fn is_everything(&self) -> bool {
        self.packages.is_empty() && self.filter.is_none()
    }
}

/// The integration test of the compose file: it needs a Docker engine and many minutes.
const COMPOSE_TARGET: &str = "compose";

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut built = Built::all(&options.packages)?;
    if !options.packages.is_empty() && built.tests.is_empty() {
        bail!("no test belongs to the packages {:?}", options.packages);
    }
    if options.list {
        print!("{}", matrix::report(&built.tests)?);
        return Ok(ExitCode::SUCCESS);
    }
    built.tests.retain(|test| options.compose || test.target != COMPOSE_TARGET);
    if options.is_everything() {
        matrix::check(&built.tests)?;
    }

    let servers = servers::Servers::start(&built.binary("test-servers")?)?;
    for missing in &servers.missing {
        eprintln!("xtask: {missing}");
    }
    let mut environment = servers.environment.clone();
    environment.push(("CTMS_TEST_BIN_DIR".to_owned(), built.binary_dir.display().to_string()));
    if options.compose {
        environment.push(("CTMS_TEST_COMPOSE".to_owned(), "1".to_owned()));
    }
    let mut total = Tally::default();
    let mut failures = Vec::new();
    let mut add = |ended: execute::Ended| {
        total += ended.tally;
        failures.extend(ended.failures);
    };
    for test in &built.tests {
        add(execute::executable(test, &environment, options.filter.as_deref())?);
    }
    if options.is_everything() {
        add(execute::documentation().context("cannot run the documentation's tests")?);
    }
    // What runs after the last line might still print.
    drop(servers);

    let failed = total.failed > 0 || (in_ci && total.skipped > 0);
    if in_ci && total.skipped > 0 {
        eprintln!("xtask: {} skipped where CI=true, which is a failure", total.skipped);
    }
    if total.passed + total.failed + total.skipped == 0 {
        bail!("no test matches {:?}", options.filter.as_deref().unwrap_or_default());
    }
    if !failures.is_empty() {
        println!("\n{}", failures.join("\n"));
    }
    println!("\n{total}");
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
