//! Kafka or a database goes away and comes back: accepted calls stay accepted, delivery waits.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use testkit::{
    cluster::{Cluster, Service, Stack, StudyShape, request_id},
    scenario::scenario,
    wait_until,
};

const OWN_KAFKA: [Stack; 2] = [Stack::SQLITE_OWN_KAFKA, Stack::POSTGRES_OWN_KAFKA];
/// A call does not wait for Kafka.
const ANSWER_WITHOUT_KAFKA: Duration = Duration::from_secs(5);

pub(crate) fn scenarios() -> Vec<Vec<Trial>> {
    vec![
        scenario("a_start_while_kafka_is_down_is_ok_and_delivered_later", &OWN_KAFKA).shows(start_while_kafka_is_down),
        scenario("a_broker_restart_loses_and_doubles_nothing", &[Stack::SQLITE_OWN_KAFKA]).shows(broker_restart),
    ]
}

async fn start_while_kafka_is_down(cluster: &mut Cluster) -> Result<()> {
    let study = cluster.prepare_study(StudyShape::default()).await?;
    cluster.kafka()?.kill()?;
    let asked = Instant::now();
    let started = cluster.start_project(&study.id, &request_id()).await.context("Kafka is down")?;
    ensure!(asked.elapsed() < ANSWER_WITHOUT_KAFKA, "the answer took {:?}", asked.elapsed());
    ensure!(cluster.first(Service::Project).is_ready().await, "project-srv is ready without Kafka");
    for service in Service::CONSUMERS {
        wait_until("a consumer without Kafka is not ready", Duration::from_secs(30), async || {
            (!cluster.first(service).is_ready().await).then_some(())
        })
        .await;
    }
    cluster.kafka()?.restart()?;
    cluster.expect_started_once(&study, &started).await
}

async fn broker_restart(cluster: &mut Cluster) -> Result<()> {
    let shape = StudyShape { sites: 1, subjects: 1 };
    let mut studies = Vec::new();
    for _ in 0..6 {
        studies.push(cluster.prepare_study(shape).await?);
    }
    let mut started = Vec::new();
    for (number, study) in studies.iter().enumerate() {
        if number == 2 {
            cluster.kafka()?.stop()?;
        }
        if number == 4 {
            cluster.kafka()?.restart()?;
        }
        started.push(cluster.start_project(&study.id, &request_id()).await?);
    }
    for (study, started) in studies.iter().zip(&started) {
        cluster.expect_started_once(study, started).await?;
    }
    Ok(())
}
