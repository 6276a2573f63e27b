//! What callers see while Kafka or the database is away.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use outbox::db::{self, Database};
use support::*;
use tonic::Code;
use tonic_types::StatusExt as _;

on_both_databases!(
    a_start_is_accepted_without_kafka_and_the_service_stays_ready,
    a_database_outage_is_unavailable_with_a_time_to_retry_and_passes,
);

async fn a_start_is_accepted_without_kafka_and_the_service_stays_ready(database: TestDatabase) {
    let service = Service::start(&database).await;
    let mut client = service.client.clone();
    ready(&mut client, "P-1").await;
    assert!(client.start_project(start("P-1", "")).await.unwrap().into_inner().success);
    let readiness = format!("{}/readyz", service.admin);
    let detail = testkit::wait_until("a degraded relay", DEADLINE, async || {
        let answer = reqwest::get(&readiness).await.unwrap();
        let status = answer.status();
        let detail: serde_json::Value = answer.json().await.unwrap();
        (status == 200 && detail["state"] == "degraded").then_some(detail)
    })
    .await;
    assert_eq!(detail["components"]["database"]["state"], "ok", "{detail}");
    let metrics = reqwest::get(format!("{}/metrics", service.admin)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("outbox_oldest_unpublished_seconds"), "{metrics}");
    service.stop().await;
}

async fn a_database_outage_is_unavailable_with_a_time_to_retry_and_passes(database: TestDatabase) {
    let service = Service::start_with(&database, &["--database-statement-timeout", "500ms"]).await;
    let mut client = service.client.clone();
    ready(&mut client, "P-1").await;
    let outage = Outage::begin(&database).await;
    let status = assert_code(client.start_project(start("P-1", "one")).await, Code::Unavailable);
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    outage.end().await;
    let answer = testkit::wait_until("the database is back", DEADLINE, async || {
        client.start_project(start("P-1", "one")).await.ok()
    })
    .await;
    let project = answer.into_inner().project.unwrap();
    let events = events(&database.open().await, "P-1").await;
    assert_eq!(events.len(), 8, "one start, whatever the outage did");
    assert_eq!(events[7].2, project.last_event_id);
    service.stop().await;
}

/// PostgreSQL ends our sessions and takes no new ones; SQLite's write lock is taken by somebody else.
enum Outage {
    Postgres { admin: Database, name: String },
    Sqlite { locker: Database, release: tokio::sync::oneshot::Sender<()>, held: tokio::task::JoinHandle<()> },
}

impl Outage {
    async fn begin(database: &TestDatabase) -> Self {
        let Some((server, name)) = database.url.strip_prefix("postgres").and_then(|_| database.url.rsplit_once('/'))
        else {
            return Self::lock(database.open().await).await;
        };
        let admin = Database::connect(&format!("{server}/postgres"), &db::Options::default()).await.unwrap();
        let refuse = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
        db::exec(admin.writer(), &refuse, []).await.unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        db::query_all(admin.writer(), end, [name.into()]).await.unwrap();
        Self::Postgres { admin, name: name.to_owned() }
    }

    async fn lock(locker: Database) -> Self {
        let (locked, is_locked) = tokio::sync::oneshot::channel();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let db = locker.clone();
        let held = tokio::spawn(async move {
            db.transaction(|_| {
                Box::pin(async move {
                    locked.send(()).unwrap();
                    released.await.unwrap();
                    Ok::<_, db::DbErr>(())
                })
            })
            .await
            .unwrap();
        });
        is_locked.await.unwrap();
        Self::Sqlite { locker, release, held }
    }

    async fn end(self) {
        match self {
            Self::Postgres { admin, name } => {
                let allow = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true");
                db::exec(admin.writer(), &allow, []).await.unwrap();
                admin.close().await;
            }
            Self::Sqlite { locker, release, held } => {
                release.send(()).unwrap();
                held.await.unwrap();
                locker.close().await;
            }
        }
    }
}
