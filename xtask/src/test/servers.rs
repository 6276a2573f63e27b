//! The Kafka and the PostgreSQL of a test run: started once by testkit's `test-servers`, ended with this process.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Running servers. They end when this is dropped, and also when this process is killed: their owner's stdin ends.
pub(crate) struct Servers {
    owner: Child,
    /// What the tests need in their environment.
    pub(crate) environment: Vec<(String, String)>,
    /// What could not be had, and why.
    pub(crate) missing: Vec<String>,
}

impl Servers {
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let mut owner = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let stdout = owner.stdout.take().context("test-servers has no stdout")?;
        let mut servers = Self { owner, environment: Vec::new(), missing: Vec::new() };
        for line in BufReader::new(stdout).lines() {
            let line = line.context("cannot read what test-servers says")?;
            if line == "READY" {
                return Ok(servers);
            } else if let Some(why) = line.strip_prefix("MISSING ") {
                servers.missing.push(why.to_owned());
            } else if let Some((name, value)) = line.split_once('=') {
                servers.environment.push((name.to_owned(), value.to_owned()));
            }
        }
        bail!("test-servers ended before its servers were ready")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.owner.stdin.take());
        if let Err(error) = self.owner.wait() {
            eprintln!("xtask: the test servers may still run: {error}");
        }
    }
}
