//! The classpath of Kafka's jars, resolved by Maven once and remembered in the target folder.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{repository_root, target_dir};

/// The classpath of `deploy/kafka-maven/pom.xml`.
///
/// # Errors
/// When Java or Maven is absent, or Maven cannot fetch the jars.
pub(super) fn classpath() -> Result<String> {
    present("java")?;
    present("mvn")?;
    let pom = repository_root().join("deploy/kafka-maven/pom.xml");
    let remembered = target_dir().join("kafka-maven.classpath");
    if let Some(known) = still_valid(&remembered, &pom) {
        return Ok(known);
    }
    // Side by side test executables each write a file of their own and move it into place.
    let fresh = target_dir().join(format!("kafka-maven.classpath.{}", std::process::id()));
    let output = Command::new("mvn")
        .args(["-B", "-q", "-f"])
        .arg(&pom)
        .arg("dependency:build-classpath")
        .arg(format!("-Dmdep.outputFile={}", fresh.display()))
        .output()
        .context("cannot run mvn")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!(
            "Maven cannot fetch Kafka's jars: {}",
            said.lines().find(|line| line.contains("ERROR")).unwrap_or("no word why")
        );
    }
    std::fs::rename(&fresh, &remembered).context("cannot keep the classpath")?;
    std::fs::read_to_string(&remembered).context("cannot read the classpath back")
}

fn still_valid(remembered: &Path, pom: &Path) -> Option<String> {
    let newer = remembered.metadata().ok()?.modified().ok()? >= pom.metadata().ok()?.modified().ok()?;
    let classpath = std::fs::read_to_string(remembered).ok()?;
    let complete = !classpath.is_empty() && classpath.trim().split(':').all(|jar| Path::new(jar).exists());
    (newer && complete).then_some(classpath)
}

fn present(program: &str) -> Result<()> {
    let answer = Command::new(program).arg("-version").output();
    match answer {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => bail!("{program} -version fails: {}", output.status),
        Err(error) => bail!("{program} is not installed ({error})"),
    }
}
