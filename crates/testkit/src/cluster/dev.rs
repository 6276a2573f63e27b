//! `ctms dev` as one process: it can be killed and started again on the same ports and the same folder.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{Instance, Service, binary};
use crate::{Child, free_port, free_ports};

const STOP_DEADLINE: Duration = Duration::from_secs(40);

/// The process.
#[derive(Debug)]
pub struct Dev {
    program: PathBuf,
    dir: PathBuf,
    kafka_port: u16,
    grpc_port: u16,
    admin_port: u16,
    child: Option<Child>,
}

impl Dev {
    pub(super) fn new(dir: &Path) -> Result<Self> {
        Ok(Self {
            program: binary("ctms")?,
            dir: dir.to_owned(),
            kafka_port: free_port(),
            grpc_port: free_ports(4),
            admin_port: free_ports(4),
            child: None,
        })
    }

    /// Starts it; the services are not ready yet.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("ctms dev runs already");
        }
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CTMS_") {
                command.env_remove(name);
            }
        }
        command.arg("dev").arg("--data").arg(self.dir.join("data"));
        for (flag, port) in
            [("--kafka-port", self.kafka_port), ("--grpc-port", self.grpc_port), ("--admin-port", self.admin_port)]
        {
            command.args([flag, &port.to_string()]);
        }
        self.child = Some(Child::spawn(command, &self.log())?);
        Ok(())
    }

    /// kill -9 of all four services and the broker at once.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill9(&mut self) -> Result<()> {
        self.child.take().context("ctms dev does not run")?.kill()
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub fn sigterm(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("ctms dev does not run")?;
        child.signal("TERM")?;
        child.wait(STOP_DEADLINE).context("ctms dev after SIGTERM")
    }

    pub(super) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    /// The four services inside it.
    pub(super) fn instances(&self) -> Vec<(Service, Instance)> {
        let services = (0_u16..).zip(Service::ALL);
        let within = |(number, service)| {
            (service, Instance::within(service, self.grpc_port + number, self.admin_port + number, self.log()))
        };
        services.map(within).collect()
    }

    fn log(&self) -> PathBuf {
        self.dir.join("dev.log")
    }
}
