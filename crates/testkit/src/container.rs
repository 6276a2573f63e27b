//! A container of a running Docker engine that is removed with the test that started it.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::child::Watchdog;

#[derive(Debug)]
pub(crate) struct Container {
    name: String,
    remover: Watchdog,
}

impl Container {
    /// `docker run -d` with the options; a name that starts with `prefix`.
    pub(crate) fn run(image: &str, prefix: &str, options: &[String], arguments: &[&str]) -> Result<Self> {
        docker(&["info", "--format", "{{.ServerVersion}}"]).context("no Docker engine answers")?;
        let name = format!("{prefix}-{}", uuid::Uuid::new_v4().simple());
        let remover = Watchdog::new(&["docker", "rm", "--force", "--volumes", &name])?;
        // From here on a failure removes what may have been created.
        let container = Self { name, remover };
        let mut command = vec!["run", "--detach", "--name", &container.name];
        command.extend(options.iter().map(String::as_str));
        command.push(image);
        command.extend(arguments);
        docker(&command)?;
        Ok(container)
    }

    pub(crate) fn stop(&self) -> Result<()> {
        docker(&["stop", &self.name])
    }

    pub(crate) fn kill(&self) -> Result<()> {
        docker(&["kill", &self.name])
    }

    pub(crate) fn start(&self) -> Result<()> {
        docker(&["start", &self.name])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = docker(&["rm", "--force", "--volumes", &self.name]) {
            tracing::warn!(name = self.name, %error, "a container of the tests may still run");
        }
        self.remover.release();
    }
}

fn docker(arguments: &[&str]) -> Result<()> {
    let output = Command::new("docker").args(arguments).output().context("docker is not installed")?;
    if !output.status.success() {
        bail!("docker {}: {}", arguments.first().unwrap_or(&""), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
