//! The embedded broker keeps 5 MiB of a partition: what it let go before every consumer had read it is published again. It looks only
//! where something was let go, and acts only once all that is left was read: so it never adds to a backlog.

use std::{sync::Arc, time::Duration};

use ::outbox::{
    db::{self, Database},
    ops,
};
use anyhow::Context as _;
use contracts::topics::{GROUPS, PROJECT_EVENTS};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    metadata::{MetadataPartition, MetadataTopic},
};
use tokio_util::sync::CancellationToken;

use crate::broker::{self, ANSWER_TIMEOUT};

/// Between two looks at the broker.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Less than the broker keeps of one partition, so that what is sent again stays until it is read.
const AT_ONCE_BYTES: u64 = 4 * 1024 * 1024;

/// The bounds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    partition: i32,
    low: i64,
    high: i64,
}

/// Refills the topic of events until `stop`.
pub(super) async fn run(bootstrap: String, urls: [String; 4], stop: CancellationToken) {
    let bootstrap: Arc<str> = bootstrap.into();
    // As they were when nothing was missing.
    let mut complete: Vec<Bounds> = Vec::new();
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        match look(&bootstrap, &urls, &complete).await {
            Ok(Look::Complete(bounds)) => complete = bounds,
            Ok(Look::Again(events)) => tracing::warn!(
                events,
                "the embedded broker let events go before they were read; they are published again"
            ),
            Ok(Look::Wait) => {}
            Err(error) => {
                let error = service_kit::sentence(&error);
                tracing::debug!(error, "the embedded broker could not be looked at");
            }
        }
    }
}

/// What a look came to.
enum Look {
    /// Nothing is missing.
    Complete(Vec<Bounds>),
    /// So many events are published again.
    Again(u64),
    /// Consumers have yet to read what is there.
    Wait,
}

async fn look(bootstrap: &Arc<str>, urls: &[String; 4], complete: &[Bounds]) -> anyhow::Result<Look> {
    let before = db::now();
    let bootstrap = bootstrap.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let bounds = bounds(&bootstrap)?;
        let is_read = bounds.iter().all(|bounds| bounds.low == 0) || all_read(&bootstrap, &bounds)?;
        Ok::<_, anyhow::Error>((bounds, is_read))
    });
    let (bounds, is_read) = asked.await.context("asking the embedded broker panicked")??;
    if bounds == complete || bounds.iter().all(|bounds| bounds.low == 0) {
        return Ok(Look::Complete(bounds));
    }
    if !is_read {
        return Ok(Look::Wait);
    }
    let mut options = db::Options::default();
    options.max_connections = 2;
    let mut databases = Vec::with_capacity(urls.len());
    for url in urls {
        databases.push(Database::connect(url, &options).await?);
    }
    let sent = ops::send_forgotten_again(&databases[0], &databases[1..], before, AT_ONCE_BYTES).await;
    for database in databases {
        database.close().await;
    }
    Ok(match sent? {
        0 => Look::Complete(bounds),
        events => Look::Again(events),
    })
}

fn bounds(bootstrap: &str) -> anyhow::Result<Vec<Bounds>> {
    let consumer: BaseConsumer = broker::plain_client(bootstrap).create()?;
    let metadata = consumer.fetch_metadata(Some(PROJECT_EVENTS), ANSWER_TIMEOUT)?;
    let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions).map(MetadataPartition::id);
    partitions
        .map(|partition| {
            let (low, high) = consumer.fetch_watermarks(PROJECT_EVENTS, partition, ANSWER_TIMEOUT)?;
            Ok(Bounds { partition, low, high })
        })
        .collect()
}

/// Whether every group has committed up to these ends: an offset is committed only when its effect is in the database.
fn all_read(bootstrap: &str, bounds: &[Bounds]) -> anyhow::Result<bool> {
    for group in GROUPS {
        let mut config: ClientConfig = broker::plain_client(bootstrap);
        let consumer: BaseConsumer = config.set("group.id", group).set("enable.auto.commit", "false").create()?;
        let mut partitions = TopicPartitionList::new();
        for bounds in bounds.iter().filter(|bounds| bounds.high > 0) {
            partitions.add_partition(PROJECT_EVENTS, bounds.partition);
        }
        let committed = consumer.committed_offsets(partitions, ANSWER_TIMEOUT)?;
        let is_read = |bounds: &Bounds| {
            let element = committed.find_partition(PROJECT_EVENTS, bounds.partition);
            matches!(element.map(|element| element.offset()), Some(Offset::Offset(offset)) if offset >= bounds.high)
        };
        if !bounds.iter().filter(|bounds| bounds.high > 0).all(is_read) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ::outbox::NewEvent;
    use contracts::envelope::CloudEvent;

    use super::super::{Cluster, ClusterArgs, Ports};
    use super::*;

    const EVENTS: i64 = 30;
    const EVENT_BYTES: usize = 800_000;
    const DEADLINE: Duration = Duration::from_secs(120);

    fn large(seq: i64) -> NewEvent {
        let envelope = CloudEvent {
            id: format!("large-{seq}"),
            source: "ctms/project-srv".to_owned(),
            event_type: "SomethingLarge".to_owned(),
            time: Some(db::now()),
            subject: "P-1".to_owned(),
            sequence: Some(seq),
            stream_epoch: 0,
            partition_key: "P-1".to_owned(),
            traceparent: None,
        };
        NewEvent::of(PROJECT_EVENTS, &envelope, vec![b'x'; EVENT_BYTES])
    }

    async fn applied(database: &Database) -> i64 {
        let sql = "SELECT coalesce(max(applied_seq), 0) AS applied FROM stream_pos WHERE stream_id = 'P-1'";
        let row = db::query_one(database.reader(), sql, []).await;
        row.ok().flatten().and_then(|row| row.try_get("", "applied").ok()).unwrap_or(0)
    }

    /// One project's backlog of 24 MB, published before any consumer has joined its group: the broker keeps the last 5 MiB of it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_backlog_larger_than_the_broker_keeps_is_applied_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let url =
            |service: &str| format!("sqlite://{}", folder.path().join(service).join(format!("{service}.db")).display());
        let project = Database::connect(&url("project"), &db::Options::default()).await.unwrap();
        ::outbox::migrate(&project, project_srv::migrations()).await.unwrap();
        for seq in 1..=EVENTS {
            let appended =
                project.transaction(move |tx| Box::pin(async move { ::outbox::append(tx, &large(seq)).await }));
            appended.await.unwrap();
        }
        project.close().await;

        let args = ClusterArgs { data: Some(folder.path().to_owned()), kafka: None, database: None };
        let cluster = Cluster::start(&args, &Ports::ephemeral()).await.unwrap();
        let since = Instant::now();
        for service in ["epro", "finance", "monitor"] {
            let consumer = Database::connect(&url(service), &db::Options::default()).await.unwrap();
            while applied(&consumer).await < EVENTS {
                assert!(since.elapsed() < DEADLINE, "{service} has applied {} of {EVENTS}", applied(&consumer).await);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            consumer.close().await;
        }
        let bootstrap = cluster.bootstrap().to_owned();
        let bounds = tokio::task::spawn_blocking(move || bounds(&bootstrap)).await.unwrap().unwrap();
        let held = bounds.iter().find(|bounds| bounds.high > 0).unwrap();
        assert!(held.low > 0 && held.high > EVENTS, "the broker let some go, and got them again: {held:?}");
        cluster.stop().await.unwrap();
    }
}
