//! Builds the binaries and the test executables, and says where cargo put them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// What `cargo test` would run, and what it would run it with.
pub(crate) struct Built {
    /// The test executables, in the order of package and target.
    pub(crate) tests: Vec<TestExecutable>,
    /// The folder of the service binaries.
    pub(crate) binary_dir: PathBuf,
}

/// One test executable.
pub(crate) struct TestExecutable {
    pub(crate) package: String,
    /// `lib`, the binary's name, or the file under `tests/`.
    pub(crate) target: String,
    pub(crate) path: PathBuf,
    pub(crate) manifest_dir: PathBuf,
}

/// A line of cargo's `--message-format=json`, as far as it is of interest.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    executable: Option<PathBuf>,
    #[serde(default)]
    manifest_path: Option<PathBuf>,
    #[serde(default)]
    target: Option<Target>,
    #[serde(default)]
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Built {
    /// Builds all binaries, and the tests of these packages or of all.
    pub(crate) fn all(packages: &[String]) -> Result<Self> {
        // Binaries first and always: the tests of one package may run those of the others.
        let binaries = cargo(&["build", "--workspace", "--bins"])?;
        let binary_dir = binaries
            .iter()
            .find_map(|message| message.executable.as_deref()?.parent().map(Path::to_path_buf))
            .context("cargo built no binary")?;
        let mut arguments = vec!["test", "--no-run"];
        if packages.is_empty() {
            arguments.push("--workspace");
        }
        for package in packages {
            arguments.extend(["--package", package]);
        }
        let mut tests: Vec<_> = cargo(&arguments)?.into_iter().filter_map(TestExecutable::from_message).collect();
        tests.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
        Ok(Self { tests, binary_dir })
    }

    /// The path of one binary.
    pub(crate) fn binary(&self, name: &str) -> Result<PathBuf> {
        let path = self.binary_dir.join(name);
        if !path.exists() {
            bail!("{} was not built", path.display());
        }
        Ok(path)
    }
}

/// Builds one binary and says where it is.
pub(crate) fn binary(package: &str, name: &str) -> Result<PathBuf> {
    one(name, &["build", "--package", package, "--bin", name])
}

/// The same, optimised.
pub(crate) fn release_binary(package: &str, name: &str) -> Result<PathBuf> {
    one(name, &["build", "--release", "--package", package, "--bin", name])
}

fn one(name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let built = cargo(arguments)?;
    built.into_iter().find_map(|message| message.executable).with_context(|| format!("cargo built no {name}"))
}

impl TestExecutable {
    fn from_message(message: Message) -> Option<Self> {
        if !message.profile?.test {
            return None;
        }
        let target = message.target?;
        let manifest_dir = message.manifest_path?.parent()?.to_path_buf();
        let is_library = target.kind.iter().any(|kind| kind == "lib");
        Some(Self {
            package: manifest_dir.file_name()?.to_str()?.to_owned(),
            target: if is_library { "lib".to_owned() } else { target.name },
            path: message.executable?,
            manifest_dir,
        })
    }
}

/// Runs cargo, its own output on our stderr, and gives the artifacts it reports.
fn cargo(arguments: &[&str]) -> Result<Vec<Message>> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    let text = String::from_utf8(output.stdout).context("cargo speaks no UTF-8")?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    Ok(messages.filter(|message| message.reason == "compiler-artifact").collect())
}
