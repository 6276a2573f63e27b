//! The ePRO service: questionnaires of studies, their pushes to subjects, and the responses of subjects.

mod api;
mod config;
pub mod domain;
mod generation;
mod migrations;
mod mutations;
mod pusher;
mod reactions;
mod store;
mod submissions;
#[cfg(test)]
mod tests;
mod unsent;
mod upkeep;
mod webhook;

pub use config::{Config, IntakeArgs, PushArgs};
pub use migrations::migrations;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use contracts::epro::v1::epro_service_server::EproServiceServer;
use service_kit::{
    Consumer, Phase, Readiness, ServiceConfig, Sockets, Supervisor, admin, database, grpc, relay, retention,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use worker_pool::{Intake, IntakeOptions, OnTimeout};

use api::EproApi;
use mutations::Mutations;
use pusher::Pusher;
use reactions::Reactions;
use submissions::{CommitResponses, Job, Outcome};
use webhook::Webhook;

/// The reactions to events without the service around them, for measurements. Pushes are recorded.
#[must_use]
pub fn reactions() -> impl outbox::Effects {
    reactions::Reactions::new(domain::push::Channel::Record)
}

/// Runs the service on `sockets` until `shutdown`: acquires what can fail, then serves.
///
/// # Errors
/// When the database cannot be opened, or when a task failed or did not stop within the grace.
pub async fn run(config: Config, sockets: Sockets, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (base, push) = (&config.base, &config.push);
    let db = database::open(&config).await?;
    let webhook = match push.webhook().map_err(anyhow::Error::msg)? {
        Some(url) => {
            Some(Webhook::new(url, push.webhook_timeout).context("the HTTP client for pushes cannot be set up")?)
        }
        None => None,
    };
    let mut supervisor = Supervisor::new(Config::INFO.name, &shutdown, base.shutdown.shutdown_grace);
    let readiness = Readiness::new(supervisor.stopping());

    let pushes_planned = Arc::new(Notify::new());
    let mutations = Mutations::new(db.clone(), push.channel(), pushes_planned.clone());
    let intake = intake(&config.intake, CommitResponses::new(db.clone()));
    let service = EproServiceServer::new(EproApi::new(db.clone(), mutations, intake.clone()))
        .max_decoding_message_size(base.grpc.grpc_max_message_bytes);
    let server = grpc::Server::new(&base.grpc, readiness.clone()).add_service(service);
    supervisor.spawn(Phase::Intake, "grpc", |stop| server.serve(sockets.grpc, stop));

    let group = Config::INFO.name;
    let consumer = Consumer { group, base, pool: &config.pool, db: &db, readiness: &readiness };
    consumer.spawn(&mut supervisor, Reactions::new(push.channel()))?;
    relay::spawn(&mut supervisor, base, &db, &readiness)?;

    let grace = base.shutdown.shutdown_grace;
    supervisor.spawn(Phase::Work, "responses", move |stop| drain(intake, grace, stop));
    if webhook.is_none() {
        let (unsent_db, component) = (db.clone(), readiness.component("pushes"));
        supervisor.spawn(Phase::Work, "unsent-pushes", move |stop| unsent::watch(unsent_db, component, stop));
    }
    let pusher = Pusher::new(db.clone(), webhook, push.options(), pushes_planned);
    supervisor.spawn(Phase::Work, "pushes", |stop| pusher.run(stop));
    let (rest_db, channel, every) = (db.clone(), push.channel(), push.push_poll);
    supervisor.spawn(Phase::Work, "generation", move |stop| upkeep::generate_rest(rest_db, channel, every, stop));
    let (window_db, every) = (db.clone(), push.window_check);
    supervisor.spawn(Phase::Work, "windows", move |stop| upkeep::close_windows(window_db, every, stop));
    let (log_db, keep) = (db.clone(), config.intake.request_retention);
    supervisor.spawn(Phase::Work, "request-retention", move |stop| retention::requests(log_db, keep, stop));
    let (watched_db, component) = (db.clone(), readiness.component("database"));
    supervisor.spawn(Phase::Admin, "database", move |stop| database::watch(watched_db, component, stop));
    supervisor.spawn(Phase::Admin, "admin", |stop| admin::serve(sockets.admin, readiness, axum::Router::new(), stop));

    let stopped = supervisor.run().await;
    db.close().await;
    Ok(stopped?)
}

/// The bounded intake of responses. A group owns its transaction, so it is waited for past its timeout: its outcome must be known.
fn intake(args: &IntakeArgs, handler: CommitResponses) -> Intake<Job, Outcome> {
    let mut options = IntakeOptions::new("responses");
    options.workers = args.intake_workers;
    options.queue_capacity = args.intake_capacity;
    options.max_batch = args.intake_max_batch;
    options.on_timeout = OnTimeout::Await;
    Intake::start(options, handler)
}

/// Closes the intake once nobody submits any more, and waits for what it has accepted.
async fn drain(intake: Intake<Job, Outcome>, deadline: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    stop.cancelled().await;
    let report = intake.drain(deadline).await;
    anyhow::ensure!(
        report.undone == 0,
        "{} responses were accepted and not stored by the deadline; their callers were not answered OK and will submit them again",
        report.undone
    );
    Ok(())
}
