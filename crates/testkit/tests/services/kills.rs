//! kill -9 and SIGTERM of each service while events flow: nothing accepted is lost, nothing is doubled.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use contracts::project::v1::{self as project, project_service_client::ProjectServiceClient};
use libtest_mimic::Trial;
use testkit::{
    cluster::{Cluster, Service, Stack, Study, StudyShape, request_id},
    scenario::scenario,
};
use tonic::transport::Channel;

const STUDIES: usize = 15;
const BOTH_DATABASES: [Stack; 2] = [Stack::SQLITE_KAFKA, Stack::POSTGRES_KAFKA];
/// A start is repeated while its service is down.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) fn scenarios() -> Vec<Vec<Trial>> {
    let kill = |name, service| {
        scenario(name, &BOTH_DATABASES)
            .shows(async move |cluster: &mut Cluster| kill_mid_stream(cluster, service).await)
    };
    vec![
        kill("kill_9_of_project_srv_mid_stream_loses_and_doubles_nothing", Service::Project),
        kill("kill_9_of_epro_srv_mid_stream_loses_and_doubles_nothing", Service::Epro),
        kill("kill_9_of_finance_srv_mid_stream_loses_and_doubles_nothing", Service::Finance),
        kill("kill_9_of_monitor_srv_mid_stream_loses_and_doubles_nothing", Service::Monitor),
        scenario("sigterm_mid_stream_exits_0_and_redelivers_nothing", &BOTH_DATABASES).shows(sigterm_mid_stream),
        scenario("kill_9_of_ctms_dev_mid_stream_loses_and_doubles_nothing", &[Stack::DEV]).shows(kill_dev_mid_stream),
        scenario("sigterm_of_ctms_dev_exits_0_and_its_state_survives", &[Stack::DEV]).shows(sigterm_dev),
    ]
}

async fn kill_mid_stream(cluster: &mut Cluster, victim: Service) -> Result<()> {
    let studies = prepare(cluster).await?;
    let mut starts = start_all(cluster, &studies)?;
    // Mid-stream: the first starts are answered, their events are on their way.
    let mut answered = Vec::new();
    for _ in 0..STUDIES / 3 {
        answered.push(starts.join_next().await.context("a start is under way")???);
    }
    cluster.kill9(victim)?;
    cluster.restart(victim).await?;
    while let Some(start) = starts.join_next().await {
        answered.push(start??);
    }
    expect_all(cluster, &studies, &answered).await?;
    if victim != Service::Project {
        expect_applied_since_restart(cluster, victim).await?;
    }
    Ok(())
}

/// Each service is stopped while a part of the starts is under way; the last part runs through all the restarted ones.
async fn sigterm_mid_stream(cluster: &mut Cluster) -> Result<()> {
    let studies = prepare(cluster).await?;
    let mut parts = studies.chunks(STUDIES / (Service::ALL.len() + 1));
    let mut answered = Vec::new();
    for service in Service::ALL {
        let mut starts = start_all(cluster, parts.next().context("a part for each service")?)?;
        answered.push(starts.join_next().await.context("a start is under way")???);
        let status = cluster.sigterm(service)?;
        ensure!(status.success(), "{service} ended with {status} after SIGTERM");
        cluster.restart(service).await?;
        while let Some(start) = starts.join_next().await {
            answered.push(start??);
        }
    }
    for part in parts {
        let mut starts = start_all(cluster, part)?;
        while let Some(start) = starts.join_next().await {
            answered.push(start??);
        }
    }
    expect_all(cluster, &studies, &answered).await?;
    for service in Service::CONSUMERS {
        expect_applied_since_restart(cluster, service).await?;
        let duplicates = cluster.metric(service, "gate_records_total", "outcome=\"duplicate\"").await?;
        ensure!(duplicates == 0.0, "{service} got {duplicates} events again after a clean stop");
    }
    Ok(())
}

/// Else the service was stopped when its work was over, and the test shows nothing.
async fn expect_applied_since_restart(cluster: &mut Cluster, service: Service) -> Result<()> {
    let applied = cluster.metric(service, "gate_records_total", "outcome=\"applied\"").await?;
    ensure!(applied > 0.0, "{service} has applied nothing since its restart: it was not stopped in the middle");
    Ok(())
}

/// Three times, each at another moment of the stream: broker, relay and consumers die together.
async fn kill_dev_mid_stream(cluster: &mut Cluster) -> Result<()> {
    let studies = prepare(cluster).await?;
    let mut starts = start_all(cluster, &studies)?;
    let mut answered = Vec::new();
    for kill_after in [1, 2, 3] {
        for _ in 0..kill_after {
            answered.push(starts.join_next().await.context("a start is under way")???);
        }
        cluster.dev()?.kill9()?;
        cluster.dev()?.spawn()?;
        cluster.all_ready().await?;
    }
    while let Some(start) = starts.join_next().await {
        answered.push(start??);
    }
    expect_all(cluster, &studies, &answered).await
}

async fn sigterm_dev(cluster: &mut Cluster) -> Result<()> {
    let study = cluster.prepare_study(StudyShape::default()).await?;
    let started = cluster.start_project(&study.id, &request_id()).await?;
    let status = cluster.dev()?.sigterm()?;
    ensure!(status.success(), "ctms dev ended with {status} after SIGTERM");
    cluster.dev()?.spawn()?;
    cluster.all_ready().await?;
    cluster.expect_started_once(&study, &started).await
}

async fn prepare(cluster: &Cluster) -> Result<Vec<Study>> {
    let mut studies = Vec::new();
    for _ in 0..STUDIES {
        studies.push(cluster.prepare_study(StudyShape { sites: 1, subjects: 2 }).await?);
    }
    Ok(studies)
}

/// Starts every study, each call repeated with its request id until it is answered.
fn start_all(cluster: &Cluster, studies: &[Study]) -> Result<tokio::task::JoinSet<Result<project::Project>>> {
    let mut starts = tokio::task::JoinSet::new();
    for (number, study) in (0_u64..).zip(studies) {
        let mut client = cluster.project()?;
        let request = project::StartProjectRequest {
            project_id: study.id.clone(),
            request_id: request_id(),
            etag: String::new(),
        };
        starts.spawn(async move {
            // A stream of starts, not one burst: the kill falls between them.
            tokio::time::sleep(Duration::from_millis(number * 15)).await;
            start_until_answered(&mut client, &request).await
        });
    }
    Ok(starts)
}

async fn start_until_answered(
    client: &mut ProjectServiceClient<Channel>,
    request: &project::StartProjectRequest,
) -> Result<project::Project> {
    let first_call = Instant::now();
    loop {
        match client.start_project(request.clone()).await {
            Ok(answer) => return answer.into_inner().project.context("no project in the answer"),
            Err(status) => ensure!(first_call.elapsed() < ANSWER_DEADLINE, "StartProject is still refused: {status}"),
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

async fn expect_all(cluster: &Cluster, studies: &[Study], answered: &[project::Project]) -> Result<()> {
    ensure!(answered.len() == studies.len(), "{} of {} starts were answered", answered.len(), studies.len());
    for study in studies {
        let started = answered.iter().find(|one| one.project_id == study.id).context("each study was started")?;
        cluster.expect_started_once(study, started).await?;
    }
    Ok(())
}
