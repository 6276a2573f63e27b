//! Records that our services did not write: plain JSON, broken bytes, and the same start told twice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use testkit::{
    cluster::{Cluster, LifeState, Reaction, Service, Stack, StudyShape, request_id},
    kafka::{produce, read_all},
    scenario::scenario,
    wait_until,
};

const EVERY_STACK: [Stack; 3] = [Stack::SQLITE_EMBEDDED, Stack::SQLITE_KAFKA, Stack::POSTGRES_KAFKA];
const BOTH_DATABASES: [Stack; 2] = [Stack::SQLITE_EMBEDDED, Stack::POSTGRES_KAFKA];
const LETTER_DEADLINE: Duration = Duration::from_secs(60);
/// Commits, statistics and reports come every second or few.
const SEEN_DEADLINE: Duration = Duration::from_secs(15);
/// 2026-01-02T03:04:05Z.
const START_TIME: i64 = 1_767_323_045;

pub(crate) fn scenarios() -> Vec<Vec<Trial>> {
    vec![
        scenario("a_foreign_plain_json_start_is_applied_once", &EVERY_STACK).shows(foreign_start),
        scenario("a_foreign_start_before_ours_has_one_effect", &BOTH_DATABASES).shows(foreign_first),
        scenario("a_foreign_start_after_ours_has_no_second_effect", &BOTH_DATABASES).shows(foreign_second),
        scenario("bad_json_goes_to_the_dead_letters_and_is_replayed_corrected", &EVERY_STACK).shows(bad_json),
        scenario("what_happens_is_seen_in_metrics_and_readiness", &[Stack::SQLITE_EMBEDDED]).shows(seen),
        scenario("events_sent_again_months_later_have_no_second_effect", &[Stack::SQLITE_KAFKA]).shows(sent_again),
    ]
}

async fn foreign_start(cluster: &mut Cluster) -> Result<()> {
    let project_id = format!("foreign-{}", request_id());
    send_foreign(cluster, &project_id).await?;
    send_foreign(cluster, &project_id).await?;
    for service in Service::CONSUMERS {
        cluster.wait_state(service, &project_id, LifeState::Active).await;
    }
    let marker = after_everything(cluster).await?;
    for service in Service::CONSUMERS {
        let reaction = known(cluster, service, &project_id).await?;
        ensure!(starts(&reaction) == 1, "{service} applied {:?} (marker {marker})", reaction.applied);
    }
    Ok(())
}

async fn foreign_first(cluster: &mut Cluster) -> Result<()> {
    let study = cluster.prepare_study(StudyShape::default()).await?;
    send_foreign(cluster, &study.id).await?;
    let mut before = Vec::new();
    for service in Service::CONSUMERS {
        before.push((service, cluster.wait_state(service, &study.id, LifeState::Active).await.effects));
    }
    cluster.start_project(&study.id, &request_id()).await?;
    after_everything(cluster).await?;
    for (service, effects) in before {
        let reaction = known(cluster, service, &study.id).await?;
        ensure!(reaction.effects.len() >= effects.len(), "{service} lost effects");
        // Finance learns of the sites only from our own event: those payables may arise then, once each.
        let most = if service == Service::Finance { study.shape.sites } else { effects.len() };
        ensure!(reaction.effects.len() <= most, "{service}: {} effects after both", reaction.effects.len());
        ensure!(reaction.state == LifeState::Active, "{service} is {:?}", reaction.state);
    }
    Ok(())
}

async fn foreign_second(cluster: &mut Cluster) -> Result<()> {
    let study = cluster.prepare_study(StudyShape::default()).await?;
    let started = cluster.start_project(&study.id, &request_id()).await?;
    cluster.expect_started_once(&study, &started).await?;
    send_foreign(cluster, &study.id).await?;
    after_everything(cluster).await?;
    cluster.expect_started_once(&study, &started).await
}

async fn bad_json(cluster: &mut Cluster) -> Result<()> {
    let project_id = format!("mended-{}", request_id());
    produce(cluster.brokers(), cluster.topics().events(), Some(&project_id), b"{\"projectId\": \"", &[]).await?;
    // The partition moves on: what comes later is applied.
    after_everything(cluster).await?;
    let letters = wait_until("each group has its dead letter", LETTER_DEADLINE, async || {
        let listed = cluster.ctms(&["dlq", "list"]).await.ok()?;
        let letters = listed["letters"].as_array()?.clone();
        (letters.len() == Service::CONSUMERS.len()).then_some(letters)
    })
    .await;
    let corrected = tempfile::NamedTempFile::new()?;
    std::fs::write(corrected.path(), foreign_payload(&project_id).to_string())?;
    let file = corrected.path().to_str().context("a temporary path is text")?;
    for letter in &letters {
        let cause = letter["cause"].as_str().unwrap_or_default();
        ensure!(!cause.is_empty(), "a letter without its reason: {letter}");
        let id = letter["letter_id"].as_str().with_context(|| format!("no id in {letter}"))?;
        cluster
            .ctms(&["dlq", "replay", id, "--payload", file, "--by", "a test", "--why", "the producer cut it off"])
            .await?;
    }
    for service in Service::CONSUMERS {
        let reaction = cluster.wait_state(service, &project_id, LifeState::Active).await;
        ensure!(starts(&reaction) == 1, "{service} applied {:?}", reaction.applied);
    }
    wait_until("no dead letter is open any more", LETTER_DEADLINE, async || {
        let listed = cluster.ctms(&["dlq", "list"]).await.ok()?;
        listed["letters"].as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
    Ok(())
}

/// A start and a broken record: applied events, dead letters, lag and published events are counted, and an open letter
/// is named where readiness is explained.
async fn seen(cluster: &mut Cluster) -> Result<()> {
    let study = cluster.prepare_study(StudyShape::default()).await?;
    let started = cluster.start_project(&study.id, &request_id()).await?;
    cluster.expect_started_once(&study, &started).await?;
    produce(cluster.brokers(), cluster.topics().events(), Some("broken"), b"{", &[]).await?;
    for service in Service::CONSUMERS {
        let name = service.name();
        wait_until(&format!("{service} counts its dead letter"), LETTER_DEADLINE, async || {
            let letters = cluster.metric(service, "gate_dead_letters_total", name).await.ok()?;
            (letters == 1.0).then_some(())
        })
        .await;
        let applied = cluster.metric(service, "gate_records_total", "outcome=\"applied\"").await?;
        ensure!(applied >= 1.0, "{service} counts {applied} applied events");
        for metric in ["worker_pool_dead_letters_total", "kafka_worker_pool_commits_total", "kafka_worker_pool_lag"] {
            wait_until(&format!("{service} has {metric}"), SEEN_DEADLINE, async || {
                cluster.metrics(service).await.ok()?.contains(metric).then_some(())
            })
            .await;
        }
        let url = cluster.first(service).admin_url("/readyz");
        wait_until(&format!("{service} tells of its open letter"), SEEN_DEADLINE, async || {
            let detail = reqwest::get(&url).await.ok()?.error_for_status().ok()?.text().await.ok()?;
            detail.contains("letter").then_some(())
        })
        .await;
    }
    let text = cluster.metrics(Service::Project).await?;
    ensure!(text.contains("outbox_published_total"), "project-srv does not count what it published");
    Ok(())
}

/// Every record of the topic once more, as a repaired producer or a mirrored cluster would send them.
async fn sent_again(cluster: &mut Cluster) -> Result<()> {
    let study = cluster.prepare_study(StudyShape::default()).await?;
    let started = cluster.start_project(&study.id, &request_id()).await?;
    cluster.expect_started_once(&study, &started).await?;
    let (brokers, topic) = (cluster.brokers().to_owned(), cluster.topics().events().to_owned());
    let records = tokio::task::spawn_blocking({
        let (brokers, topic) = (brokers.clone(), topic.clone());
        move || read_all(&brokers, &topic)
    })
    .await??;
    ensure!(!records.is_empty(), "the events lie in {topic}");
    for record in records {
        let headers: Vec<_> = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let key = record.key.map(|key| String::from_utf8_lossy(&key).into_owned());
        produce(&brokers, &topic, key.as_deref(), &record.value, &headers).await?;
    }
    after_everything(cluster).await?;
    cluster.expect_started_once(&study, &started).await
}

fn foreign_payload(project_id: &str) -> Value {
    json!({ "projectId": project_id, "startTime": START_TIME })
}

/// As kq's Pusher does: the key is a timestamp, there are no headers.
async fn send_foreign(cluster: &Cluster, project_id: &str) -> Result<()> {
    let payload = foreign_payload(project_id).to_string();
    produce(cluster.brokers(), cluster.topics().events(), Some("1767323045123456789"), payload.as_bytes(), &[]).await
}

/// Sends a start to every partition behind what was sent before, and waits until all of them are applied everywhere:
/// then what lay before them was handled too.
async fn after_everything(cluster: &Cluster) -> Result<String> {
    // Ours go through the relay: one more study through the whole path flushes them first.
    let study = cluster.prepare_project(StudyShape { sites: 1, subjects: 0 }).await?;
    let started = cluster.start_project(&study.id, &request_id()).await?;
    for service in Service::CONSUMERS {
        cluster.wait_state(service, &started.project_id, LifeState::Active).await;
    }
    let mut markers = Vec::new();
    for number in 0..40 {
        let marker = format!("marker-{number}-{}", request_id());
        let payload = foreign_payload(&marker).to_string();
        produce(cluster.brokers(), cluster.topics().events(), Some(&marker), payload.as_bytes(), &[]).await?;
        markers.push(marker);
    }
    for service in Service::CONSUMERS {
        for marker in &markers {
            cluster.wait_state(service, marker, LifeState::Active).await;
        }
    }
    Ok(study.id)
}

async fn known(cluster: &Cluster, service: Service, study_id: &str) -> Result<Reaction> {
    cluster.reaction(service, study_id).await?.with_context(|| format!("{service} does not know {study_id}"))
}

fn starts(reaction: &Reaction) -> usize {
    reaction.applied.iter().filter(|one| one.event_type == "ProjectStarted").count()
}
