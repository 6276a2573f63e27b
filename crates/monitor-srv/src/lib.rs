//! The monitor service: watches the data quality of studies while they run. Reacts to project events, answers gRPC, takes datasets and
//! single checks over HTTP.

mod api;
mod checks;
mod config;
mod consequence;
pub mod domain;
mod http;
mod migrations;
mod mutation;
mod reactions;
mod store;
#[cfg(test)]
mod tests;

pub use config::{Config, MonitorArgs};
pub use migrations::migrations;

use contracts::monitor::v1::monitor_service_server::MonitorServiceServer;
use service_kit::{
    Consumer, Phase, Readiness, ServiceConfig, Sockets, Supervisor, admin, database, grpc, relay, retention,
};
use tokio_util::sync::CancellationToken;

use api::MonitorApi;
use checks::Checks;
use reactions::Reactions;

/// The reactions to events without the service around them, for measurements. The check runs that they queue wait for a service.
#[must_use]
pub fn reactions() -> impl outbox::Effects {
    Reactions::new(checks::Claims::new(std::time::Duration::ZERO))
}

/// Runs the service on `sockets` until `shutdown`: acquires what can fail, then serves.
///
/// # Errors
/// When the database cannot be opened, or when a task failed or did not stop within the grace.
pub async fn run(config: Config, sockets: Sockets, shutdown: CancellationToken) -> anyhow::Result<()> {
    let base = &config.base;
    let db = database::open(&config).await?;
    let mut supervisor = Supervisor::new(Config::INFO.name, &shutdown, base.shutdown.shutdown_grace);
    let readiness = Readiness::new(supervisor.stopping());

    let (checks, outcomes) = Checks::start(db.clone(), &config.monitor);
    let service = MonitorServiceServer::new(MonitorApi::new(db.clone(), checks.claims()))
        .max_decoding_message_size(base.grpc.grpc_max_message_bytes);
    let server = grpc::Server::new(&base.grpc, readiness.clone()).add_service(service);
    let routes = http::router(db.clone(), checks.clone(), &config.monitor);

    supervisor.spawn(Phase::Intake, "grpc", |stop| server.serve(sockets.grpc, stop));
    Consumer { group: Config::INFO.name, base, pool: &config.pool, db: &db, readiness: &readiness }
        .spawn(&mut supervisor, Reactions::new(checks.claims()))?;
    relay::spawn(&mut supervisor, base, &db, &readiness)?;

    let (feeder, poll) = (checks.clone(), config.monitor.check_poll);
    supervisor.spawn(Phase::Intake, "check-feeder", move |stop| feeder.feed(poll, stop));
    let (pool, deadline) = (checks.clone(), config.pool.pool_drain_timeout);
    supervisor.spawn(Phase::Work, "check-pool", move |stop| pool.drain(deadline, stop));
    let (log_db, keep) = (db.clone(), config.monitor.request_retention);
    supervisor.spawn(Phase::Work, "request-retention", move |stop| retention::requests(log_db, keep, stop));
    let (checks_db, keep) = (db.clone(), config.monitor.check_retention);
    supervisor.spawn(Phase::Work, "check-retention", move |stop| async move {
        retention::run("results of checks", || store::run::prune(&checks_db, outbox::db::now() - keep), stop).await
    });
    let keeper = checks.clone();
    supervisor.spawn(Phase::Deliver, "check-claims", move |stop| keeper.keep_claims(stop));
    supervisor.spawn(Phase::Deliver, "check-results", move |stop| checks.collect(outcomes, stop));

    let (watched_db, component) = (db.clone(), readiness.component("database"));
    supervisor.spawn(Phase::Admin, "database", move |stop| database::watch(watched_db, component, stop));
    supervisor.spawn(Phase::Admin, "admin", |stop| admin::serve(sockets.admin, readiness, routes, stop));

    let stopped = supervisor.run().await;
    db.close().await;
    Ok(stopped?)
}
