//! Consumer and relay wired together: an event appended in a transaction reaches an effect through the embedded broker, in the trace
//! it began in, and the stop is clean.

use std::time::Duration;

use contracts::envelope::CloudEvent;
use contracts::topics::{PROJECT_EVENTS, topics_of};
use outbox::db::{self, Database, Tx};
use outbox::{EffectError, Effects, InboundEvent, NewEvent};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};
use sea_orm_migration::MigrationTrait;
use service_kit::config::{PoolArgs, TelemetryArgs};
use service_kit::{BaseArgs, Consumer, Readiness, ServiceConfig, ServiceInfo, Supervisor, database, relay, telemetry};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(30);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[derive(clap::Args, Clone, Debug)]
struct Config {
    #[command(flatten)]
    base: BaseArgs,
    #[command(flatten)]
    pool: PoolArgs,
}

impl ServiceConfig for Config {
    const INFO: ServiceInfo = ServiceInfo { name: "test-srv", version: "0", about: "", defaults: &[] };

    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        Vec::new()
    }

    fn base(&self) -> &BaseArgs {
        &self.base
    }
}

/// Tells which event it saw, and in which trace.
struct Seen(mpsc::UnboundedSender<(String, Option<String>)>);

impl Effects for Seen {
    async fn apply(&self, _: &Tx, event: &InboundEvent) -> Result<(), EffectError> {
        let _ = self.0.send((event.inbound.id.clone(), telemetry::traceparent()));
        Ok(())
    }
}

fn event(sequence: i64) -> NewEvent {
    let envelope = CloudEvent {
        id: format!("event-{sequence}"),
        source: "ctms/test".to_owned(),
        event_type: "SomethingNew".to_owned(),
        time: Some(db::now()),
        subject: "P-1".to_owned(),
        sequence: Some(sequence),
        stream_epoch: 0,
        partition_key: "P-1".to_owned(),
        traceparent: Some(format!("00-{TRACE}-00f067aa0ba902b7-01")),
    };
    NewEvent::of(PROJECT_EVENTS, &envelope, br#"{"projectId":"P-1"}"#.to_vec())
}

async fn appended(db: &Database, sequence: i64) {
    db.transaction(move |tx| {
        Box::pin(async move {
            outbox::append(tx, &event(sequence)).await.map_err(|error| outbox::db::DbErr::Custom(error.to_string()))
        })
    })
    .await
    .expect("the transaction commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_embedded_broker_an_event_reaches_its_effect_in_the_same_trace_and_the_stop_is_clean() {
    let quiet: TelemetryArgs =
        service_kit::config::from_flags::<Config, _>(["--log-level", "warn"]).unwrap().base.telemetry;
    telemetry::init(&quiet, "test-srv").unwrap();
    let topics = topics_of(PROJECT_EVENTS, &["test-srv"]).into_iter().map(|topic| (topic.name, 4)).collect();
    let options = EmbeddedOptions { topics, ..EmbeddedOptions::default() };
    let broker = EmbeddedBroker::start(&options).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/test.db", folder.path().display());
    let flags =
        ["--database-url", &url, "--kafka-brokers", broker.bootstrap(), "--kafka-property", "fetch.wait.max.ms=10"];
    let config: Config = service_kit::config::from_flags(flags).unwrap();

    let db = database::open(&config).await.unwrap();
    let shutdown = CancellationToken::new();
    let mut supervisor = Supervisor::new("test-srv", &shutdown, DEADLINE);
    let readiness = Readiness::new(supervisor.stopping());
    let (sender, mut seen) = mpsc::unbounded_channel();
    let consumer =
        Consumer { group: "test-srv", base: &config.base, pool: &config.pool, db: &db, readiness: &readiness };
    let monitor = consumer.spawn(&mut supervisor, Seen(sender)).unwrap();
    relay::spawn(&mut supervisor, &config.base, &db, &readiness).unwrap();
    let running = tokio::spawn(supervisor.run());

    for sequence in 1..=3 {
        appended(&db, sequence).await;
        let (id, traceparent) = timeout(DEADLINE, seen.recv()).await.expect("the effect comes in time").unwrap();
        assert_eq!(id, format!("event-{sequence}"));
        assert_eq!(traceparent.expect("an effect runs in a trace").split('-').nth(1), Some(TRACE));
    }
    timeout(DEADLINE, readiness.ready()).await.expect("the consumer says that it is ready");
    assert!(monitor.status().is_ready());

    shutdown.cancel();
    timeout(DEADLINE, running).await.expect("it stops in time").unwrap().expect("the stop is clean");
    assert!(seen.recv().await.is_none(), "no effect came twice");
    db.close().await;
}
