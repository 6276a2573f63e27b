//! PostgreSQL as a process on this machine, from its installed binaries, in a temporary folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{Child, child::Watchdog, free_port};

/// What a server says of data that sessions of a killed one still use.
const STILL_IN_USE: &str = "pre-existing shared memory block";
const STOP_DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Server {
    port: u16,
    binaries: Binaries,
    process: Option<Child>,
    /// Bytes of the log when the process was started.
    log_before: usize,
    dir: TempDir,
    /// Removes the folder when this process dies without dropping it.
    sweeper: Watchdog,
}

impl Server {
    pub(super) fn start() -> Result<Self> {
        let binaries = Binaries::find()?;
        let dir = tempfile::Builder::new()
            .prefix("ctms-postgres-")
            .tempdir()
            .context("cannot make a folder for PostgreSQL")?;
        let sweeper = Watchdog::new(&["sh", "-c", "sleep 1; rm -rf \"$0\"", &dir.path().to_string_lossy()])?;
        binaries.give_away(dir.path())?;
        let mut server = Self { port: free_port(), binaries, process: None, log_before: 0, dir, sweeper };
        server.initialise()?;
        server.run()?;
        Ok(server)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn run(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("PostgreSQL on port {} runs already", self.port);
        }
        let mut command = self.binaries.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(self.dir.path());
        // fsync stays on: what a kill leaves behind is part of what the tests show.
        command.args(["-c", "max_connections=300"]);
        self.log_before = std::fs::metadata(self.log()).map_or(0, |log| usize::try_from(log.len()).unwrap_or(0));
        self.process = Some(Child::spawn(command, &self.log())?);
        Ok(())
    }

    /// Why the process has ended by itself, unless it was too early: after a kill the old sessions take a moment to
    /// notice, and until then the data is theirs. It is started once more then.
    pub(super) fn died(&mut self) -> Option<String> {
        let ended = self.process.as_mut()?.exited().ok()??;
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(log.get(self.log_before..).unwrap_or_default());
        if log.contains(STILL_IN_USE) {
            self.process = None;
            return self.run().err().map(|error| format!("{error:#}"));
        }
        Some(format!("PostgreSQL ended with {ended}: {}", log.lines().last().unwrap_or_default()))
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            // SIGINT: end the sessions, write a checkpoint, exit.
            process.signal("INT")?;
            process.wait(STOP_DEADLINE)?;
        }
        Ok(())
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    fn initialise(&self) -> Result<()> {
        let output = self
            .binaries
            .command("initdb")
            .arg("-D")
            .arg(self.data())
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"])
            .output()
            .context("cannot run initdb")?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("server.out")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // In order, so that its shared memory goes with it; what fails is killed with the process handle.
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "a PostgreSQL of the tests did not stop in order");
        }
        self.sweeper.release();
    }
}

/// Where the programs are, and as whom they run: PostgreSQL refuses to run as root.
#[derive(Debug)]
struct Binaries {
    dir: PathBuf,
    run_as: Option<&'static str>,
}

impl Binaries {
    fn find() -> Result<Self> {
        let dir = newest_packaged()
            .or_else(in_path)
            .context("initdb and postgres are in no /usr/lib/postgresql/*/bin and not in PATH")?;
        let run_as = if is_root()? { Some(unprivileged_user()?) } else { None };
        Ok(Self { dir, run_as })
    }

    fn command(&self, program: &str) -> Command {
        let path = self.dir.join(program);
        let mut command = match self.run_as {
            None => Command::new(path),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", user, "--regid", user, "--clear-groups", "--"]).arg(path);
                command
            }
        };
        command.current_dir("/").env("LC_ALL", "C");
        command
    }

    fn give_away(&self, dir: &Path) -> Result<()> {
        let Some(user) = self.run_as else {
            return Ok(());
        };
        let status = Command::new("chown").arg(format!("{user}:")).arg(dir).status().context("cannot run chown")?;
        if !status.success() {
            bail!("chown {user}: {} failed", dir.display());
        }
        Ok(())
    }
}

fn newest_packaged() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| is_complete(bin))
        .max()
        .map(|(_, bin)| bin)
}

fn in_path() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).find(|dir| is_complete(dir))
}

fn is_complete(bin: &Path) -> bool {
    bin.join("initdb").exists() && bin.join("postgres").exists()
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("cannot run id")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

fn unprivileged_user() -> Result<&'static str> {
    ["postgres", "nobody"]
        .into_iter()
        .find(|user| Command::new("id").args(["-g", user]).output().is_ok_and(|output| output.status.success()))
        .context("running as root, and neither the user postgres nor nobody exists to run PostgreSQL")
}
