//! The project service: owns projects, answers gRPC, and tells what happened through its outbox.

mod api;
mod config;
pub mod domain;
mod migrations;
mod mutation;
mod store;
mod watches;

pub use config::{Config, ProjectArgs};
pub use migrations::migrations;

use anyhow::Context as _;
use contracts::project::v1::project_service_server::ProjectServiceServer;
use service_kit::{Phase, Readiness, ServiceConfig, Sockets, Supervisor, admin, database, grpc, relay, retention};
use tokio_util::sync::CancellationToken;

use api::ProjectApi;
use mutation::Mutations;
use watches::Watches;

/// Runs the service on `sockets` until `shutdown`: acquires what can fail, then serves.
///
/// # Errors
/// When the database cannot be opened, or when a task failed or did not stop within the grace.
pub async fn run(config: Config, sockets: Sockets, shutdown: CancellationToken) -> anyhow::Result<()> {
    let base = &config.base;
    let db = database::open(&config).await?;
    let mut supervisor = Supervisor::new(Config::INFO.name, &shutdown, base.shutdown.shutdown_grace);
    let readiness = Readiness::new(supervisor.stopping());

    let watches = Watches::new(config.project.watch_limit);
    let epoch = store::latest_epoch(db.reader()).await.context("cannot read the projects' epoch")?;
    let mutations = Mutations::new(db.clone(), base.kafka.kafka_topic.clone(), epoch);
    let service = ProjectServiceServer::new(ProjectApi::new(db.clone(), mutations, watches.clone()))
        .max_decoding_message_size(base.grpc.grpc_max_message_bytes);
    let server = grpc::Server::new(&base.grpc, readiness.clone()).add_service(service);
    supervisor.spawn(Phase::Intake, "grpc", |stop| server.serve(sockets.grpc, stop));

    let (poll_db, poll_every) = (db.clone(), config.project.watch_poll);
    supervisor.spawn(Phase::Work, "watch-poll", move |stop| watches.poll(poll_db, poll_every, stop));
    let (log_db, keep) = (db.clone(), config.project.request_retention);
    supervisor.spawn(Phase::Work, "request-retention", move |stop| retention::requests(log_db, keep, stop));
    if let Some(keep) = config.project.outbox_retention {
        let outbox_db = db.clone();
        let prune = move || {
            let db = outbox_db.clone();
            async move { outbox::ops::prune_ended(&db, "project", outbox::db::now() - keep).await }
        };
        supervisor.spawn(Phase::Work, "outbox-retention", move |stop| {
            retention::run("events of ended projects", prune, stop)
        });
    }
    let (watched_db, component) = (db.clone(), readiness.component("database"));
    supervisor.spawn(Phase::Admin, "database", move |stop| database::watch(watched_db, component, stop));

    // Its handle is not needed: a commit wakes it.
    relay::spawn(&mut supervisor, base, &db, &readiness)?;
    supervisor.spawn(Phase::Admin, "admin", |stop| admin::serve(sockets.admin, readiness, axum::Router::new(), stop));

    let stopped = supervisor.run().await;
    db.close().await;
    Ok(stopped?)
}
