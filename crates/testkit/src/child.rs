//! A process that never outlives the test that started it, however that test ends.

use std::{
    fs::File,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::wait::wait_until_blocking;

/// A running process with its output in a file.
///
/// A watchdog, a shell in a process group of its own, holds the reading end of a pipe: when this process dies, also of
/// kill -9, the pipe ends and the watchdog kills the child.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    watchdog: Watchdog,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts `command` with stdin closed, and stdout and stderr appended to `log`.
    ///
    /// # Errors
    /// When the program cannot be started or the log not be written.
    pub fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone().context("cannot share the log file")?;
        let process = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Its own group: Ctrl-C in the terminal reaches the test alone, which then ends its children in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let watchdog = Watchdog::new(&["kill", "-KILL", &process.id().to_string()])?;
        Ok(Self { process, watchdog, status: None })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the system refuses to say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.process.try_wait().context("cannot ask for the exit status")?;
            if self.status.is_some() {
                self.watchdog.release();
            }
        }
        Ok(self.status)
    }

    /// Sends a signal by name (`TERM`, `KILL`, `STOP`, `CONT`, `INT`).
    ///
    /// # Errors
    /// When the process is gone or the signal unknown.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        if let Some(status) = self.exited()? {
            bail!("process {} cannot get {name}: it ended with {status}", self.id());
        }
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.id().to_string()])
            .status()
            .context("cannot run sh to send a signal")?;
        if !status.success() {
            bail!("kill -s {name} {} failed: {status}", self.id());
        }
        Ok(())
    }

    /// Waits for the end, at most until the deadline.
    ///
    /// # Errors
    /// At the deadline.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let mut failure = None;
        let ended = wait_until_blocking(deadline, || match self.exited() {
            Ok(status) => status.map(Some),
            Err(error) => {
                failure = Some(error);
                Some(None)
            }
        });
        match (ended.flatten(), failure) {
            (Some(status), _) => Ok(status),
            (None, Some(error)) => Err(error),
            (None, None) => bail!("process {} still runs after {deadline:?}", self.id()),
        }
    }

    /// SIGKILL, and wait until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        if self.exited()?.is_none() {
            self.process.kill().context("cannot kill the process")?;
            self.status = Some(self.process.wait().context("cannot wait for the killed process")?);
            self.watchdog.release();
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(pid = self.id(), %error, "a process of a test may still run");
        }
    }
}

/// Runs one command when this process dies before [`Watchdog::release`].
#[derive(Debug)]
pub(crate) struct Watchdog(std::process::Child);

impl Watchdog {
    pub(crate) fn new(last_will: &[&str]) -> Result<Self> {
        let watchdog = Command::new("sh")
            .args(["-c", "read line && exit 0; exec \"$@\"", "watchdog"])
            .args(last_will)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start sh as a watchdog")?;
        Ok(Self(watchdog))
    }

    pub(crate) fn release(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            // A watchdog that is gone already needs no word.
            let told = pipe.write_all(b"done\n").is_ok();
            drop(pipe);
            let ended = self.0.wait();
            tracing::trace!(told, ?ended, "watchdog released");
        }
    }
}
