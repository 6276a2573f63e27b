//! The peers' programs: built with their ordinary tools into the target folder, and built again when their source is newer.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// The programs of the peers, or why there are none on this machine.
#[derive(Debug)]
pub(crate) struct Peers {
    kq: Result<PathBuf, String>,
    franz: Result<PathBuf, String>,
    parallel_consumer: Result<String, String>,
}

/// Which peers are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) kq: bool,
    pub(crate) franz: bool,
    pub(crate) parallel_consumer: bool,
}

impl Peers {
    /// Builds those that are wanted. What cannot be built is told when it is asked for.
    pub(crate) fn build(wanted: Wanted) -> Self {
        Self {
            kq: built(wanted.kq, || go("kq")),
            franz: built(wanted.franz, || go("franz")),
            parallel_consumer: built(wanted.parallel_consumer, java),
        }
    }

    pub(crate) fn kq(&self) -> Result<Command> {
        self.kq.as_ref().map(Command::new).map_err(|why| anyhow::anyhow!("{why}"))
    }

    pub(crate) fn franz(&self) -> Result<Command> {
        self.franz.as_ref().map(Command::new).map_err(|why| anyhow::anyhow!("{why}"))
    }

    /// With this order: `KEY` or `UNORDERED`.
    pub(crate) fn parallel_consumer(&self, order: &str) -> Result<Command> {
        let classpath = self.parallel_consumer.as_ref().map_err(|why| anyhow::anyhow!("{why}"))?;
        let mut command = Command::new("java");
        command.args(["-Xms2g", "-Xmx2g", "-cp", classpath, "PcArm", "--order", order]);
        Ok(command)
    }
}

fn built<T>(is_wanted: bool, build: impl FnOnce() -> Result<T>) -> Result<T, String> {
    if is_wanted { build().map_err(|error| format!("{error:#}")) } else { Err("not asked for".to_owned()) }
}

/// Builds the Go program of this folder.
fn go(name: &str) -> Result<PathBuf> {
    let program = target()?.join(format!("{name}-arm"));
    // Go looks itself whether anything changed.
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(source(name));
    succeed(build, "go", "install Go 1.26 or newer")?;
    Ok(program)
}

/// Fetches the jars of Parallel Consumer, compiles the arm, and gives its classpath.
fn java() -> Result<String> {
    let (source, target) = (source("pc"), target()?.join("pc"));
    let (jars, classes) = (target.join("lib"), target.join("classes"));
    if is_older(&jars, &source.join("pom.xml")) {
        let mut fetch = Command::new("mvn");
        fetch
            .args(["-B", "-q", "-f"])
            .arg(source.join("pom.xml"))
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", jars.display()));
        succeed(fetch, "mvn", "install Maven")?;
    }
    let program = source.join("PcArm.java");
    if is_older(&classes.join("PcArm.class"), &program) {
        fs::create_dir_all(&classes).with_context(|| format!("cannot make {}", classes.display()))?;
        let mut compile = Command::new("javac");
        compile.arg("-cp").arg(jars.join("*")).arg("-d").arg(&classes).arg(&program);
        succeed(compile, "javac", "install a JDK 17")?;
    }
    Ok(format!("{}:{}/*", classes.display(), jars.display()))
}

fn succeed(mut command: Command, tool: &str, remedy: &str) -> Result<()> {
    let output = command.output().with_context(|| format!("{tool} is not on this machine: {remedy}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let last = String::from_utf8_lossy(&said).lines().rev().find(|line| !line.is_empty()).map(str::to_owned);
        bail!("{tool} failed: {}", last.unwrap_or_else(|| output.status.to_string()));
    }
    Ok(())
}

fn source(name: &str) -> PathBuf {
    testkit::repository_root().join("bench/peers").join(name)
}

fn target() -> Result<PathBuf> {
    let folder = testkit::target_dir().join("bench-peers");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    folder.canonicalize().context("cannot name the target folder")
}

fn is_older(built: &Path, source: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|about| about.modified()).ok();
    changed(built).is_none_or(|built| changed(source).is_none_or(|source| source > built))
}
