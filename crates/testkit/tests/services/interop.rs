//! The real go-queue kq: its Queue reads our start with the struct it would use, its Pusher starts a project.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use testkit::{
    Child, Missing,
    cluster::{Cluster, LifeState, Service, Stack, StudyShape, request_id},
    repository_root,
    scenario::scenario,
    target_dir, wait_until,
};

const REAL_KAFKA: [Stack; 1] = [Stack::SQLITE_KAFKA];
const READ_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn scenarios() -> Vec<Vec<Trial>> {
    vec![
        scenario("go_queue_kq_reads_our_start", &REAL_KAFKA).shows(kq_reads),
        scenario("go_queue_kq_starts_a_project_in_all_services", &REAL_KAFKA).shows(kq_pushes),
    ]
}

async fn kq_reads(cluster: &mut Cluster) -> Result<()> {
    let program = build().await?;
    let study = cluster.prepare_study(StudyShape::default()).await?;
    let started = cluster.start_project(&study.id, &request_id()).await?;
    let started_at = started.started_at.context("a started project says when")?;
    let log = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(program);
    command.args(["read", cluster.brokers(), cluster.topics().events(), "kq-interop"]);
    let mut reader = Child::spawn(command, log.path())?;
    let line = wait_until("kq's Queue hands our start over", READ_DEADLINE, async || {
        let printed = std::fs::read_to_string(log.path()).ok()?;
        let events = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.into_iter().find(|event| event["projectId"] == study.id)
    })
    .await;
    ensure!(line["startTime"] == started_at.seconds, "kq reads {line}, the project started at {}", started_at.seconds);
    reader.kill()
}

async fn kq_pushes(cluster: &mut Cluster) -> Result<()> {
    let program = build().await?;
    let project_id = format!("pushed-{}", request_id());
    let output = tokio::process::Command::new(program)
        .args(["push", cluster.brokers(), cluster.topics().events(), &project_id, "1767323045"])
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot run the Go program")?;
    ensure!(output.status.success(), "kq's Pusher: {}", String::from_utf8_lossy(&output.stderr));
    for service in Service::CONSUMERS {
        let reaction = cluster.wait_state(service, &project_id, LifeState::Active).await;
        let starts = reaction.applied.iter().filter(|one| one.event_type == "ProjectStarted").count();
        ensure!(starts == 1, "{service} applied {:?}", reaction.applied);
    }
    Ok(())
}

/// Builds the Go program; its modules come from the module proxy the first time.
async fn build() -> Result<PathBuf> {
    let program = target_dir().join("kq-interop");
    let built = tokio::process::Command::new("go")
        .args(["build", "-buildvcs=false", "-mod=readonly", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(repository_root().join("crates/testkit/kq"))
        .stdin(Stdio::null())
        .output()
        .await;
    match built {
        Err(error) => Err(Missing(format!("go is not installed ({error})")).into()),
        Ok(output) if output.status.success() => Ok(program),
        Ok(output) => bail!("go build: {}", String::from_utf8_lossy(&output.stderr)),
    }
}
