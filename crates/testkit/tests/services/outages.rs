//! Kafka or a database goes away and comes back: accepted calls stay accepted, delivery waits.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use sea_orm::ConnectionTrait as _;
use testkit::{
    cluster::{Cluster, LifeState, Service, Stack, StudyShape, request_id},
    scenario::scenario,
    wait_until,
};
use tonic::Code;
use tonic_types::StatusExt as _;

const OWN_KAFKA: [Stack; 2] = [Stack::SQLITE_OWN_KAFKA, Stack::POSTGRES_OWN_KAFKA];
/// A call does not wait for Kafka.
const ANSWER_WITHOUT_KAFKA: Duration = Duration::from_secs(5);

pub(crate) fn scenarios() -> Vec<Vec<Trial>> {
    vec![
        scenario("a_start_while_kafka_is_down_is_ok_and_delivered_later", &OWN_KAFKA).shows(start_while_kafka_is_down),
        scenario(
            "a_database_that_goes_away_and_comes_back_loses_doubles_and_dead_letters_nothing",
            &[Stack::OWN_POSTGRES_KAFKA],
        )
        .shows(database_outage),
        scenario("a_busy_sqlite_makes_events_wait_and_dead_letters_nothing", &[Stack::SQLITE_EMBEDDED])
            .shows(busy_sqlite),
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

async fn database_outage(cluster: &mut Cluster) -> Result<()> {
    let studies =
        [cluster.prepare_study(StudyShape::default()).await?, cluster.prepare_study(StudyShape::default()).await?];
    let ids = [request_id(), request_id()];
    let first = cluster.start_project(&studies[0].id, &ids[0]).await?;
    cluster.postgres()?.kill()?;
    let refused = cluster.start_project(&studies[1].id, &ids[1]).await.expect_err("there is no database");
    ensure!(refused.code() == Code::Unavailable, "without a database: {refused}");
    ensure!(refused.get_details_retry_info().is_some(), "UNAVAILABLE says when to try again: {refused:?}");
    cluster.postgres()?.restart()?;
    let second = wait_until("the same request is taken", Duration::from_secs(60), async || {
        cluster.start_project(&studies[1].id, &ids[1]).await.ok()
    })
    .await;
    cluster.expect_started_once(&studies[0], &first).await?;
    cluster.expect_started_once(&studies[1], &second).await?;
    expect_no_dead_letter(cluster).await
}

/// Another program holds the write lock of a consumer's file for longer than an attempt waits.
async fn busy_sqlite(cluster: &mut Cluster) -> Result<()> {
    let study = cluster.prepare_study(StudyShape::default()).await?;
    let mut options = sea_orm::ConnectOptions::new(cluster.database_url(Service::Finance));
    options.max_connections(1).sqlx_logging(false);
    let other = sea_orm::Database::connect(options).await.context("cannot open the file")?;
    other.execute_unprepared("BEGIN IMMEDIATE").await?;
    let started = cluster.start_project(&study.id, &request_id()).await?;
    cluster.wait_state(Service::Epro, &study.id, LifeState::Active).await;
    // Longer than the busy timeout of 5 s, so that attempts fail and wait.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let before = cluster.reaction(Service::Finance, &study.id).await?;
    ensure!(before.is_none_or(|reaction| reaction.state == LifeState::Pending), "finance wrote past the lock");
    other.execute_unprepared("ROLLBACK").await?;
    other.close().await?;
    cluster.expect_started_once(&study, &started).await?;
    expect_no_dead_letter(cluster).await
}

/// Errors of the environment are no attempts.
async fn expect_no_dead_letter(cluster: &Cluster) -> Result<()> {
    let listed = cluster.ctms(&["dlq", "list", "--all"]).await?;
    ensure!(listed["letters"].as_array().is_some_and(Vec::is_empty), "dead letters of an outage: {listed}");
    Ok(())
}
