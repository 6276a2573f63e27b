//! The finance service: accrues what a study owes its sites, and keeps the ledger of it.

mod api;
mod config;
pub mod domain;
mod migrations;
mod reactions;
mod setting;
mod store;

pub use config::{Config, FinanceArgs};
pub use migrations::migrations;
pub use reactions::Reactions;

use contracts::finance::v1::finance_service_server::FinanceServiceServer;
use service_kit::{
    Consumer, Phase, Readiness, ServiceConfig, Sockets, Supervisor, admin, database, grpc, relay, retention,
};
use tokio_util::sync::CancellationToken;

use api::FinanceApi;

/// Runs the service on `sockets` until `shutdown`: acquires what can fail, then serves.
///
/// # Errors
/// When the database cannot be opened, when the Kafka client refuses its properties, or when a task failed or did not stop within the grace.
pub async fn run(config: Config, sockets: Sockets, shutdown: CancellationToken) -> anyhow::Result<()> {
    let base = &config.base;
    let db = database::open(&config).await?;
    let mut supervisor = Supervisor::new(Config::INFO.name, &shutdown, base.shutdown.shutdown_grace);
    let readiness = Readiness::new(supervisor.stopping());

    let consumer = Consumer { group: Config::INFO.name, base, pool: &config.pool, db: &db, readiness: &readiness };
    consumer.spawn(&mut supervisor, Reactions)?;
    // Dead letters go out through it. Its handle is not needed: a commit wakes it.
    relay::spawn(&mut supervisor, base, &db, &readiness)?;

    let service = FinanceServiceServer::new(FinanceApi::new(db.clone()))
        .max_decoding_message_size(base.grpc.grpc_max_message_bytes);
    let server = grpc::Server::new(&base.grpc, readiness.clone()).add_service(service);
    supervisor.spawn(Phase::Intake, "grpc", |stop| server.serve(sockets.grpc, stop));

    let (log_db, keep) = (db.clone(), config.finance.request_retention);
    supervisor.spawn(Phase::Work, "request-retention", move |stop| retention::requests(log_db, keep, stop));
    let (watched_db, component) = (db.clone(), readiness.component("database"));
    supervisor.spawn(Phase::Admin, "database", move |stop| database::watch(watched_db, component, stop));
    supervisor.spawn(Phase::Admin, "admin", |stop| admin::serve(sockets.admin, readiness, axum::Router::new(), stop));

    let stopped = supervisor.run().await;
    db.close().await;
    Ok(stopped?)
}
