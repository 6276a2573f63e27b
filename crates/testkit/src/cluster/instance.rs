//! One running process of a service, its two ports and its log.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::Service;
use crate::{Child, free_port};

const READY_DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The services promise to be gone within their own grace of 25 s.
const STOP_DEADLINE: Duration = Duration::from_secs(40);

/// A process of a service. Its ports stay the same over restarts.
#[derive(Debug)]
pub struct Instance {
    service: Service,
    grpc_port: u16,
    admin_port: u16,
    program: PathBuf,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Instance {
    pub(super) fn new(
        service: Service,
        program: PathBuf,
        environment: Vec<(String, String)>,
        dir: &Path,
        number: usize,
    ) -> Self {
        Self {
            service,
            grpc_port: free_port(),
            admin_port: free_port(),
            program,
            environment,
            log: dir.join(format!("{service}-{number}.log")),
            child: None,
        }
    }

    /// A service that answers on these ports inside another process, whose log is given.
    pub(super) fn within(service: Service, grpc_port: u16, admin_port: u16, log: PathBuf) -> Self {
        Self { service, grpc_port, admin_port, program: PathBuf::new(), environment: Vec::new(), log, child: None }
    }

    /// Starts the process; it is not ready yet.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.service);
        }
        let mut command = Command::new(&self.program);
        // Settings of the caller's shell must not reach the services.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CTMS_") {
                command.env_remove(name);
            }
        }
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("CTMS_GRPC_LISTEN", format!("127.0.0.1:{}", self.grpc_port))
            .env("CTMS_ADMIN_LISTEN", format!("127.0.0.1:{}", self.admin_port))
            .current_dir(self.log.parent().context("the log lies in a folder")?);
        self.child = Some(Child::spawn(command, &self.log)?);
        Ok(())
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// When it ends before, or is not ready in time; with the last lines of its log.
    pub async fn ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while !self.is_ready().await {
            if let Some(child) = self.child.as_mut()
                && let Some(status) = child.exited()?
            {
                bail!("{} ended with {status} before it was ready:\n{}", self.service, self.log_tail(15));
            }
            if start.elapsed() > READY_DEADLINE {
                bail!("{} is not ready after {READY_DEADLINE:?}:\n{}", self.service, self.log_tail(15));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Whether `/readyz` answers 200 now.
    pub async fn is_ready(&self) -> bool {
        reqwest::get(self.admin_url("/readyz")).await.is_ok_and(|answer| answer.status().is_success())
    }

    /// `http://…` of a path on the admin port.
    #[must_use]
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.admin_port)
    }

    /// `http://…` of the gRPC port.
    #[must_use]
    pub fn grpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc_port)
    }

    /// Sends a signal by name, for example `STOP`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        self.child.as_mut().with_context(|| format!("{} does not run", self.service))?.signal(name)
    }

    /// kill -9.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill9(&mut self) -> Result<()> {
        self.child.take().with_context(|| format!("{} does not run", self.service))?.kill()
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub fn sigterm(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.service))?;
        child.signal("TERM")?;
        child.wait(STOP_DEADLINE).with_context(|| format!("{} after SIGTERM:\n{}", self.service, self.log_tail(15)))
    }

    /// The file of its output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    pub(super) fn log_tail(&self, lines: usize) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let skipped = log.lines().count().saturating_sub(lines);
        log.lines().skip(skipped).collect::<Vec<_>>().join("\n")
    }
}
