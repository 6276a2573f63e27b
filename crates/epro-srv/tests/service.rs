//! The whole service on ports of its own: events from the embedded broker, calls over gRPC, a clean stop.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use contracts::envelope::CloudEvent;
use contracts::epro::v1 as proto;
use contracts::epro::v1::epro_service_client::EproServiceClient;
use contracts::epro::v1::{CampaignState, NotificationState};
use contracts::topics::{PROJECT_EVENTS, topics_of};
use epro_srv::Config;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};
use service_kit::Sockets;
use testkit::wait_until;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

const DEADLINE: Duration = Duration::from_secs(30);
const STUDY: &str = "trial-1";

struct Service {
    client: EproServiceClient<Channel>,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    async fn start(database_url: &str, brokers: &str) -> Self {
        let flags = [
            ("--grpc-listen", "127.0.0.1:0"),
            ("--admin-listen", "127.0.0.1:0"),
            ("--database-url", database_url),
            ("--kafka-brokers", brokers),
            ("--kafka-property", "fetch.wait.max.ms=10"),
        ];
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]);
        let config: Config = service_kit::config::from_flags(flags).unwrap();
        let sockets = Sockets::bind(&config.base).await.unwrap();
        let (grpc, _) = sockets.addresses().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(epro_srv::run(config, sockets, shutdown.clone()));
        let channel = Channel::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap();
        Self { client: EproServiceClient::new(channel), shutdown, running }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.running).await.expect("it stops in time").unwrap().unwrap();
    }

    async fn campaign(&self) -> Option<proto::Campaign> {
        let request = proto::GetCampaignRequest { study_id: STUDY.into() };
        self.client.clone().get_campaign(request).await.ok()?.into_inner().campaign
    }

    async fn reaches(&self, state: CampaignState) -> proto::Campaign {
        wait_until(state.as_str_name(), DEADLINE, async || {
            self.campaign().await.filter(|campaign| campaign.state() == state)
        })
        .await
    }

    async fn notifications(&self) -> Vec<proto::Notification> {
        let request = proto::ListNotificationsRequest { study_id: STUDY.into(), ..Default::default() };
        self.client.clone().list_notifications(request).await.unwrap().into_inner().notifications
    }
}

struct Topic(FutureProducer);

impl Topic {
    fn of(broker: &EmbeddedBroker) -> Self {
        Self(ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap())
    }

    async fn send(&self, headers: Vec<(String, String)>, payload: &str) {
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let record = FutureRecord::to(PROJECT_EVENTS).key(STUDY).payload(payload).headers(headers);
        self.0.send(record, DEADLINE).await.expect("the broker takes it");
    }

    async fn event(&self, event_type: &str, sequence: i64) {
        let envelope = CloudEvent {
            id: format!("event-{sequence}"),
            source: "ctms/project-srv".to_owned(),
            event_type: event_type.to_owned(),
            time: Some(OffsetDateTime::now_utc()),
            subject: STUDY.to_owned(),
            sequence: Some(sequence),
            stream_epoch: 0,
            partition_key: STUDY.to_owned(),
            traceparent: None,
        };
        let start = format!(r#"{{"projectId":"{STUDY}","startTime":{}}}"#, OffsetDateTime::now_utc().unix_timestamp());
        self.send(envelope.to_headers(), &start).await;
    }
}

fn schedule() -> proto::Schedule {
    proto::Schedule {
        study_id: STUDY.into(),
        version: 1,
        instruments: vec![proto::Instrument {
            instrument_id: "diary".into(),
            version: "1.0".into(),
            name: "Diary".into(),
            items: Vec::new(),
        }],
        visits: vec![proto::Visit {
            visit_id: "day-1".into(),
            name: "Day 1".into(),
            instrument_ids: vec!["diary".into()],
            anchor: proto::VisitAnchor::StudyStart.into(),
            offset_days: 0,
            window_before_days: 1,
            window_after_days: 7,
        }],
        reminders: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_embedded_broker_events_move_the_campaign_and_a_restart_doubles_nothing() {
    let topics = topics_of(PROJECT_EVENTS, &["epro-srv"]).into_iter().map(|topic| (topic.name, 4)).collect();
    let broker = EmbeddedBroker::start(&EmbeddedOptions { topics, ..EmbeddedOptions::default() }).unwrap();
    let topic = Topic::of(&broker);
    let folder = tempfile::tempdir().unwrap();
    let database_url = format!("sqlite://{}", folder.path().join("epro.db").display());

    let service = Service::start(&database_url, broker.bootstrap()).await;
    let mut client = service.client.clone();
    let request = proto::PublishScheduleRequest { schedule: Some(schedule()), request_id: "r-1".into() };
    client.publish_schedule(request).await.unwrap();
    for number in 0..3 {
        let request = proto::EnrolSubjectRequest {
            study_id: STUDY.into(),
            subject_id: format!("s-{number}"),
            site_id: "berlin".into(),
            ..Default::default()
        };
        client.enrol_subject(request).await.unwrap();
    }
    topic.send(Vec::new(), "{ this is no JSON").await;
    topic.event("TypeOfTomorrow", 1).await;
    topic.event("ProjectStarted", 2).await;
    let campaign = service.reaches(CampaignState::Active).await;
    assert_eq!((campaign.assignment_count, campaign.last_event_id.as_str()), (3, "event-2"));
    assert!(service.notifications().await.iter().all(|one| one.state() == NotificationState::Sent));

    topic.event("ProjectSuspended", 3).await;
    service.reaches(CampaignState::Suspended).await;
    service.stop().await;

    let again = Service::start(&database_url, broker.bootstrap()).await;
    topic.event("ProjectStarted", 2).await;
    topic.event("ProjectResumed", 4).await;
    let campaign = again.reaches(CampaignState::Active).await;
    assert_eq!((campaign.assignment_count, campaign.notification_count), (3, 3));
    let sequences: Vec<i64> = campaign.applied_events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, [2, 3, 4], "{:?}", campaign.applied_events);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_calls_are_answered_and_the_stop_is_clean() {
    let folder = tempfile::tempdir().unwrap();
    let database_url = format!("sqlite://{}", folder.path().join("epro.db").display());
    let service = Service::start(&database_url, "127.0.0.1:1").await;
    let request = proto::PublishScheduleRequest { schedule: Some(schedule()), request_id: "r-1".into() };
    service.client.clone().publish_schedule(request).await.unwrap();
    assert_eq!(service.campaign().await.unwrap().state(), CampaignState::Pending);
    service.stop().await;
}
