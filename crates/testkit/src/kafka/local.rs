//! Kafka as a Java process on this machine, from Maven's jars: one KRaft node on free ports, in a temporary folder.

use std::{fmt::Write as _, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::{jars, settings};
use crate::{Child, child::Watchdog, free_port};

/// Kafka's own orderly stop takes a second or two.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// What the Java machine is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    /// A small heap and the first compiler tier: for a broker that lives for a minute.
    Small,
    /// A heap and a compiler that do not slow down what is measured.
    Load,
}

impl Machine {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Small => &["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
            Self::Load => &["-Xms1g", "-Xmx1g"],
        }
    }
}

#[derive(Debug)]
pub(super) struct Server {
    classpath: String,
    machine: Machine,
    port: u16,
    process: Option<Child>,
    dir: TempDir,
    /// Removes the folder when this process dies without dropping it.
    sweeper: Watchdog,
}

impl Server {
    pub(super) fn start(machine: Machine) -> Result<Self> {
        let classpath = jars::classpath()?;
        let dir = tempfile::Builder::new().prefix("ctms-kafka-").tempdir().context("cannot make a folder for Kafka")?;
        let sweeper = Watchdog::new(&["sh", "-c", "sleep 1; rm -rf \"$0\"", &dir.path().to_string_lossy()])?;
        let (port, controller_port) = (free_port(), free_port());
        let mut server = Self { classpath, machine, port, process: None, dir, sweeper };
        server.write_properties(controller_port)?;
        server.format()?;
        server.run()?;
        Ok(server)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    pub(super) fn run(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("Kafka on port {} runs already", self.port);
        }
        let mut command = self.java();
        command.args(self.machine.flags()).arg("kafka.Kafka").arg(self.properties_file());
        self.process = Some(Child::spawn(command, &self.log_file())?);
        Ok(())
    }

    /// The last lines of the log, when the process has ended by itself.
    pub(super) fn died(&mut self) -> Option<String> {
        let ended = self.process.as_mut()?.exited().ok()??;
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        Some(format!("Kafka ended with {ended}: {}", last.into_iter().rev().collect::<Vec<_>>().join(" | ")))
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal("TERM")?;
            process.wait(STOP_DEADLINE)?;
        }
        Ok(())
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    fn java(&self) -> Command {
        let mut command = Command::new("java");
        command.arg("-cp").arg(self.classpath.trim());
        command
    }

    fn write_properties(&self, controller_port: u16) -> Result<()> {
        let mut text = format!("log.dirs={}\n", self.dir.path().join("log").display());
        for (key, value) in settings::properties("127.0.0.1", self.port, controller_port) {
            writeln!(text, "{key}={value}").context("cannot format a property")?;
        }
        fs::write(self.properties_file(), text).context("cannot write Kafka's properties")
    }

    fn format(&self) -> Result<()> {
        // Any 16 bytes in URL-safe base64 name a cluster; Kafka prints its own ids in this form.
        let cluster = base64_url(uuid::Uuid::new_v4().as_bytes());
        let output = self
            .java()
            .args(["-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "-t", &cluster, "-c"])
            .arg(self.properties_file())
            .output()
            .context("cannot run Kafka's StorageTool")?;
        if !output.status.success() {
            bail!("StorageTool format failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn properties_file(&self) -> PathBuf {
        self.dir.path().join("server.properties")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("server.out")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(%error, "a Kafka of the tests may still run");
        }
        self.sweeper.release();
    }
}

fn base64_url(bytes: &[u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = u128::from_be_bytes(*bytes);
    // 22 digits of 6 bits: the last one is padded with four zero bits.
    (0..22)
        .map(|digit| {
            let shift = 122_i32 - 6 * digit;
            let six = if shift >= 0 { bits >> shift } else { bits << -shift } & 63;
            char::from(ALPHABET[usize::try_from(six).expect("six bits fit")])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::base64_url;

    #[test]
    fn a_cluster_id_is_url_safe_base64_without_padding() {
        assert_eq!(base64_url(&[0; 16]), "A".repeat(22));
        assert_eq!(base64_url(&[255; 16]), format!("{}w", "_".repeat(21)));
        assert_eq!(base64_url(b"abcdefghijklmnop"), "YWJjZGVmZ2hpamtsbW5vcA");
    }
}
