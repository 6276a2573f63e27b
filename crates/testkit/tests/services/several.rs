//! Several instances of each service share its database and its consumer group, also when one stands still or dies.

use std::time::Duration;

use anyhow::{Context as _, Result};
use contracts::project::v1::{self as project, project_service_client::ProjectServiceClient};
use libtest_mimic::Trial;
use testkit::{
    cluster::{Cluster, LifeState, Service, Stack, Study, StudyShape, request_id},
    scenario::scenario,
};

const BOTH_DATABASES: [Stack; 2] = [Stack::SQLITE_KAFKA, Stack::POSTGRES_KAFKA];
const STUDIES: usize = 10;

pub(crate) fn scenarios() -> Vec<Vec<Trial>> {
    vec![
        scenario("several_instances_share_group_and_database", &BOTH_DATABASES).shows(share),
        scenario("a_relay_stopped_past_its_lease_writes_nothing_twice_when_it_goes_on", &[Stack::POSTGRES_KAFKA])
            .shows(stopped_relay),
        scenario("a_consumer_stopped_past_its_session_applies_nothing_twice_when_it_goes_on", &[Stack::POSTGRES_KAFKA])
            .shows(stopped_consumer),
    ]
}

async fn share(cluster: &mut Cluster) -> Result<()> {
    for service in Service::ALL {
        cluster.scale(service, 2).await?;
    }
    let studies = prepare(cluster).await?;
    let mut started = Vec::new();
    for (number, study) in studies.iter().enumerate() {
        if number == STUDIES / 2 {
            // The second of each dies at once; the first ones take over its partitions and its lease.
            for service in Service::ALL {
                cluster.instances(service)[1].kill9()?;
            }
        }
        // Before the kill both answer in turn.
        let instance = if number < STUDIES / 2 { number % 2 } else { 0 };
        started.push(start_at(cluster, instance, study).await?);
    }
    expect_all(cluster, &studies, &started).await
}

async fn stopped_relay(cluster: &mut Cluster) -> Result<()> {
    cluster.scale(Service::Project, 2).await?;
    let studies = prepare(cluster).await?;
    let mut started = Vec::new();
    for (number, study) in studies.iter().enumerate() {
        if number == 2 {
            cluster.first(Service::Project).signal("STOP")?;
        }
        let instance = usize::from(number >= 2);
        started.push(start_at(cluster, instance, study).await?);
    }
    // The second instance has taken the lease over once these arrive; then the first goes on where it stood.
    let last = studies.last().context("there are studies")?;
    for service in Service::CONSUMERS {
        cluster.wait_state(service, &last.id, LifeState::Active).await;
    }
    cluster.first(Service::Project).signal("CONT")?;
    expect_all(cluster, &studies, &started).await
}

async fn stopped_consumer(cluster: &mut Cluster) -> Result<()> {
    cluster.scale(Service::Finance, 2).await?;
    let studies = prepare(cluster).await?;
    let mut started = Vec::new();
    for (number, study) in studies.iter().enumerate() {
        if number == 2 {
            cluster.instances(Service::Finance)[1].signal("STOP")?;
        }
        started.push(start_at(cluster, 0, study).await?);
    }
    // All arrive without the stopped one: its session is over and its partitions have moved.
    for study in &studies {
        cluster.wait_state(Service::Finance, &study.id, LifeState::Active).await;
    }
    cluster.instances(Service::Finance)[1].signal("CONT")?;
    expect_all(cluster, &studies, &started).await?;
    cluster.instances(Service::Finance)[1].ready().await
}

async fn prepare(cluster: &Cluster) -> Result<Vec<Study>> {
    let mut studies = Vec::new();
    for _ in 0..STUDIES {
        studies.push(cluster.prepare_study(StudyShape { sites: 1, subjects: 1 }).await?);
    }
    Ok(studies)
}

async fn start_at(cluster: &Cluster, instance: usize, study: &Study) -> Result<project::Project> {
    let mut client = ProjectServiceClient::new(cluster.channel_to(Service::Project, instance)?);
    let request =
        project::StartProjectRequest { project_id: study.id.clone(), request_id: request_id(), etag: String::new() };
    let call = tokio::time::timeout(Duration::from_secs(20), client.start_project(request));
    let answer = call.await.context("no answer in 20 s")?.with_context(|| format!("start at instance {instance}"))?;
    answer.into_inner().project.context("no project in the answer")
}

async fn expect_all(cluster: &Cluster, studies: &[Study], started: &[project::Project]) -> Result<()> {
    for (study, started) in studies.iter().zip(started) {
        cluster.expect_started_once(study, started).await?;
    }
    Ok(())
}
