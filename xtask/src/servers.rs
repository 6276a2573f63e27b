//! `cargo xtask servers`: the servers of the tests, to try things against by hand.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};

use crate::test::build;

/// Runs until Ctrl-C, which the program with the servers gets as well.
pub(crate) fn run() -> Result<ExitCode> {
    let program = build::binary("testkit", "test-servers")?;
    // Its stdin stays open as long as this process lives: a kill of this one ends the servers too.
    let mut owner = Command::new(&program)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    // `wait` would close it.
    let _open = owner.stdin.take();
    let ended = owner.wait().context("cannot wait for the servers")?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
