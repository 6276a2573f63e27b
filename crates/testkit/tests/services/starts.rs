//! StartProject as its callers use it: once, many at a time, and by clients that give up.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::project::v1 as project;
use libtest_mimic::Trial;
use testkit::{
    cluster::{Cluster, LifeState, Service, Stack, Study, StudyShape, request_id},
    scenario::scenario,
};
use tonic::Code;

const CALLERS: usize = 50;
const EVERY_STACK: [Stack; 4] = [Stack::DEV, Stack::SQLITE_EMBEDDED, Stack::SQLITE_KAFKA, Stack::POSTGRES_KAFKA];
const BOTH_DATABASES: [Stack; 2] = [Stack::SQLITE_EMBEDDED, Stack::POSTGRES_KAFKA];

pub(crate) fn scenarios() -> Vec<Vec<Trial>> {
    vec![
        scenario("a_start_reaches_all_three_services", &EVERY_STACK).shows(start_reaches_all),
        scenario("a_life_cycle_is_followed_without_doubling", &EVERY_STACK).shows(life_cycle),
        scenario("concurrent_starts_with_one_request_id_get_one_answer", &BOTH_DATABASES).shows(one_request_id),
        scenario("concurrent_starts_with_many_request_ids_have_one_winner", &BOTH_DATABASES).shows(many_request_ids),
        scenario("clients_that_cancel_leave_nothing_half_done", &BOTH_DATABASES).shows(cancelled_clients),
    ]
}

async fn start_reaches_all(cluster: &mut Cluster) -> Result<()> {
    let study = cluster.prepare_study(StudyShape::default()).await?;
    let started = cluster.start_project(&study.id, &request_id()).await?;
    cluster.expect_started_once(&study, &started).await
}

async fn life_cycle(cluster: &mut Cluster) -> Result<()> {
    let study = cluster.prepare_study(StudyShape::default()).await?;
    let started = cluster.start_project(&study.id, &request_id()).await?;
    cluster.expect_started_once(&study, &started).await?;
    let mut client = cluster.project()?;
    let (project_id, reason) = (study.id.clone(), "a test".to_owned());
    let suspend = project::SuspendProjectRequest {
        project_id: project_id.clone(),
        reason: reason.clone(),
        request_id: request_id(),
        ..Default::default()
    };
    client.suspend_project(suspend).await?;
    expect_state(cluster, &study, LifeState::Suspended).await;
    let resume = project::ResumeProjectRequest {
        project_id: project_id.clone(),
        reason: reason.clone(),
        request_id: request_id(),
        ..Default::default()
    };
    client.resume_project(resume).await?;
    // Active again, and still the effects of the one start.
    cluster.expect_started_once(&study, &started).await?;
    let complete =
        project::CompleteProjectRequest { project_id, reason, request_id: request_id(), ..Default::default() };
    client.complete_project(complete).await?;
    expect_state(cluster, &study, LifeState::Closed).await;
    Ok(())
}

async fn expect_state(cluster: &Cluster, study: &Study, state: LifeState) {
    for service in Service::CONSUMERS {
        cluster.wait_state(service, &study.id, state).await;
    }
}

async fn one_request_id(cluster: &mut Cluster) -> Result<()> {
    let study = cluster.prepare_study(StudyShape::default()).await?;
    let one_id = request_id();
    let answers = start_concurrently(cluster, &study, |_| one_id.clone()).await?;
    let mut projects = Vec::new();
    for answer in answers {
        projects.push(answer.context("each call with the one request id is answered OK")?);
    }
    let first = projects.first().context("there were callers")?.clone();
    ensure!(projects.iter().all(|project| *project == first), "the answers differ");
    expect_one_event(cluster, &study, &first).await
}

async fn many_request_ids(cluster: &mut Cluster) -> Result<()> {
    let study = cluster.prepare_study(StudyShape::default()).await?;
    let answers = start_concurrently(cluster, &study, |_| request_id()).await?;
    let (started, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    ensure!(started.len() == 1, "{} calls were answered OK", started.len());
    for refusal in refused {
        let status = refusal.expect_err("partitioned");
        ensure!(status.code() == Code::FailedPrecondition, "refused with {status}");
    }
    let winner = started.into_iter().next().context("one")??;
    expect_one_event(cluster, &study, &winner).await
}

async fn start_concurrently(
    cluster: &Cluster,
    study: &Study,
    id: impl Fn(usize) -> String,
) -> Result<Vec<Result<project::Project, tonic::Status>>> {
    let mut calls = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let mut client = cluster.project()?;
        let request =
            project::StartProjectRequest { project_id: study.id.clone(), request_id: id(caller), etag: String::new() };
        calls.spawn(async move {
            let answer = client.start_project(request).await?.into_inner();
            answer.project.ok_or_else(|| tonic::Status::internal("no project in the answer"))
        });
    }
    Ok(calls.join_all().await)
}

/// The start wrote one event, and no more followed.
async fn expect_one_event(cluster: &Cluster, study: &Study, started: &project::Project) -> Result<()> {
    let expected = study.last_sequence + 1;
    ensure!(
        started.last_event_sequence == expected,
        "the start is event {}, not {expected}",
        started.last_event_sequence
    );
    cluster.expect_started_once(study, started).await?;
    let request = project::GetProjectRequest { project_id: study.id.clone() };
    let now = cluster.project()?.get_project(request).await?.into_inner().project.context("no project")?;
    ensure!(now.last_event_sequence == expected, "{} events were written, not {expected}", now.last_event_sequence);
    Ok(())
}

/// Calls cut off at ever later moments: before, while and after the server handles them. Asked again with the same
/// request id, each gives its one answer.
async fn cancelled_clients(cluster: &mut Cluster) -> Result<()> {
    const STUDIES: u64 = 16;
    let shape = StudyShape { sites: 1, subjects: 1 };
    let mut studies = Vec::new();
    for _ in 0..STUDIES {
        studies.push((cluster.prepare_study(shape).await?, request_id()));
    }
    // Connected once: else every cut would fall into the handshake.
    let mut client = cluster.project()?;
    client.list_projects(project::ListProjectsRequest::default()).await?;
    for (number, (study, id)) in (0..STUDIES).zip(&studies) {
        let request =
            project::StartProjectRequest { project_id: study.id.clone(), request_id: id.clone(), etag: String::new() };
        let patience = Duration::from_micros(number * 400);
        let cut_off = tokio::time::timeout(patience, client.start_project(request)).await;
        if let Ok(answer) = cut_off {
            answer.context("a call that was not cut off succeeds")?;
        }
    }
    for (study, id) in &studies {
        let started = cluster.start_project(&study.id, id).await.context("the same request again")?;
        expect_one_event(cluster, study, &started).await?;
    }
    Ok(())
}
