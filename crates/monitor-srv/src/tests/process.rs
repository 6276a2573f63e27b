//! The whole service with its sockets and consumer, on the embedded broker: what a plain producer sends starts the monitoring.

use contracts::monitor::v1::monitor_service_client::MonitorServiceClient;
use contracts::topics::{MONITOR_GROUP, PROJECT_EVENTS, topics_of};
use proto::CheckRunState;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};
use serde_json::json;
use service_kit::Sockets;
use tokio::task::JoinHandle;

use super::*;
use crate::Config;

struct Running {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
    client: MonitorServiceClient<tonic::transport::Channel>,
    http: String,
}

impl Running {
    async fn start(database: &TestDatabase, broker: &EmbeddedBroker) -> Self {
        let flags =
            ["--database-url", &database.url, "--kafka-brokers", broker.bootstrap(), "--grpc-listen", "127.0.0.1:0"];
        let flags = flags.into_iter().chain(["--admin-listen", "127.0.0.1:0", "--shutdown-grace", "20s"]);
        let config = service_kit::config::from_flags::<Config, _>(flags).unwrap();
        let sockets = Sockets::bind(&config.base).await.unwrap();
        let (grpc, admin) = sockets.addresses().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(crate::run(config, sockets, shutdown.clone()));
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{grpc}")).unwrap().connect_lazy();
        let running =
            Self { task, shutdown, client: MonitorServiceClient::new(channel), http: format!("http://{admin}") };
        let client = reqwest::Client::new();
        wait_until("a ready service", DEADLINE, async || {
            let answer = client.get(format!("{}/readyz", running.http)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        running
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    async fn first_run(&mut self) -> proto::CheckRun {
        let mut client = self.client.clone();
        wait_until("the first run", DEADLINE, async move || {
            let request = proto::ListCheckRunsRequest { study_id: STUDY.into(), ..Default::default() };
            let runs = client.list_check_runs(request).await.unwrap().into_inner().check_runs;
            runs.into_iter().find(|run| run.state() == CheckRunState::Finished && !run.event_id.is_empty())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_start_from_kafka_is_checked_and_a_restart_does_not_double_it_sqlite() {
    let database = TestDatabase::sqlite();
    let topics = topics_of(PROJECT_EVENTS, &[MONITOR_GROUP]).into_iter().map(|topic| (topic.name, 2)).collect();
    let options = EmbeddedOptions { topics, ..EmbeddedOptions::default() };
    let broker = EmbeddedBroker::start(&options).unwrap();
    let mut service = Running::start(&database, &broker).await;

    let put = reqwest::Client::new().put(format!("{}/studies/{STUDY}/datasets/vitals", service.http)).body(VITALS);
    assert_eq!(answer(put).await.0, 200);
    service.client.set_monitoring_plan(plan(STUDY, vec![missing("vitals", "VALUE")], "r-1")).await.unwrap();
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    let payload = json!({"projectId": STUDY, "startTime": 1_770_000_000}).to_string();
    for _ in 0..2 {
        let record = FutureRecord::<(), _>::to(PROJECT_EVENTS).payload(&payload);
        producer.send(record, DEADLINE).await.unwrap();
    }
    let run = service.first_run().await;
    assert_eq!((run.items[0].observed, run.items[0].outcome()), (1, proto::CheckOutcome::Failed));
    service.stop().await;

    let mut service = Running::start(&database, &broker).await;
    assert_eq!(service.first_run().await, run);
    let request = proto::GetMonitoringRequest { study_id: STUDY.into() };
    let monitoring = service.client.get_monitoring(request).await.unwrap().into_inner().monitoring.unwrap();
    assert_eq!((monitoring.check_run_count, monitoring.applied_events.len()), (1, 1));
    assert_eq!(monitoring.started_at.unwrap().seconds, 1_770_000_000);
    service.stop().await;
}
