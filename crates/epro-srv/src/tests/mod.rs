//! The service without its sockets: the RPC trait, the reactions and the loops on a database of the test's own.

mod campaigns;
mod laws;
mod pages;
mod pushes;
mod responses;
mod together;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contracts::epro::v1 as proto;
use contracts::epro::v1::epro_service_server::EproService as _;
use contracts::events::{LifecycleChange, ProjectEvent, ProjectStarted};
use contracts::ids::ProjectId;
use contracts::inbound::{FOREIGN_SOURCE, Inbound, Origin};
use outbox::db::{self, Database};
use outbox::{EffectError, Effects as _, InboundEvent, Place};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tonic::{Code, Request, Status};
use uuid::Uuid;
use worker_pool::Intake;

use crate::api::EproApi;
use crate::domain::push::{Channel, RetryPolicy};
use crate::mutations::Mutations;
use crate::pusher::{PushOptions, Pusher};
use crate::reactions::Reactions;
use crate::submissions::{CommitResponses, Job, Outcome};
use crate::webhook::Webhook;
use crate::{IntakeArgs, intake, migrations};

/// Longest wait for anything.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

pub(super) const STUDY: &str = "trial-1";

/// A database of the test's own; gone with it.
pub(super) struct TestDatabase {
    url: String,
    _folder: Option<tempfile::TempDir>,
}

impl TestDatabase {
    pub(super) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite://{}", folder.path().join("epro.db").display()), _folder: Some(folder) }
    }

    /// `None`, said aloud, where no server is named.
    pub(super) async fn postgres() -> Option<Self> {
        match testkit::postgres::Postgres::given() {
            Ok(server) => Some(Self { url: server.create_database().await.unwrap(), _folder: None }),
            Err(missing) => {
                testkit::skip(missing);
                None
            }
        }
    }
}

/// The same test on both databases.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                super::$name(crate::tests::TestDatabase::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                if let Some(database) = crate::tests::TestDatabase::postgres().await {
                    super::$name(database).await;
                }
            }
        }
    )+ };
}
pub(super) use on_both_databases;

/// One instance of the service.
pub(super) struct Epro {
    pub(super) db: Database,
    pub(super) api: EproApi,
    pub(super) intake: Intake<Job, Outcome>,
    channel: Channel,
    reactions: Reactions,
}

impl Epro {
    pub(super) async fn on(database: &TestDatabase) -> Self {
        Self::with_channel(database, Channel::Record).await
    }

    pub(super) async fn with_channel(database: &TestDatabase, channel: Channel) -> Self {
        let args = IntakeArgs {
            intake_capacity: 16,
            intake_max_batch: 8,
            intake_workers: 1,
            request_retention: Duration::from_secs(60),
        };
        let db = Database::connect(&database.url, &db::Options::default()).await.unwrap();
        outbox::migrate(&db, migrations()).await.unwrap();
        let mutations = Mutations::new(db.clone(), channel, Arc::new(Notify::new()));
        let intake = intake(&args, CommitResponses::new(db.clone()));
        let api = EproApi::new(db.clone(), mutations, intake.clone());
        Self { db, api, intake, channel, reactions: Reactions::new(channel) }
    }

    pub(super) fn pusher(&self, webhook: Option<Webhook>, retry: RetryPolicy) -> Pusher {
        let options = PushOptions {
            poll_interval: Duration::from_millis(5),
            concurrency: 4,
            lease: Duration::from_secs(30),
            retry,
        };
        assert_eq!(webhook.is_some(), self.channel == Channel::Webhook);
        Pusher::new(self.db.clone(), webhook, options, Arc::new(Notify::new()))
    }

    /// Applies an event as the gate would: in a transaction of its own.
    pub(super) async fn apply(&self, event: InboundEvent) -> Result<(), String> {
        let reactions = self.reactions;
        let applied: Result<(), EffectError> =
            self.db.transaction(move |tx| Box::pin(async move { reactions.apply(tx, &event).await })).await;
        applied.map_err(|error| error.to_string())
    }

    /// Applies the event of this type as number `sequence`; returns its id.
    pub(super) async fn happens(&self, event_type: &str, sequence: i64) -> String {
        let event = event(event_type, Some(sequence));
        let id = event.inbound.id.clone();
        self.apply(event).await.unwrap();
        id
    }

    pub(super) async fn publish(&self, schedule: proto::Schedule) -> i64 {
        let request = proto::PublishScheduleRequest { schedule: Some(schedule), request_id: String::new() };
        self.api.publish_schedule(Request::new(request)).await.unwrap().into_inner().assignments_created
    }

    pub(super) async fn enrol(&self, subject_id: &str) -> i64 {
        self.enrol_on(subject_id, "").await
    }

    pub(super) async fn enrol_on(&self, subject_id: &str, day: &str) -> i64 {
        let request = enrolment(subject_id, day);
        self.api.enrol_subject(Request::new(request)).await.unwrap().into_inner().assignments_created
    }

    pub(super) async fn campaign(&self) -> proto::Campaign {
        let request = proto::GetCampaignRequest { study_id: STUDY.into() };
        self.api.get_campaign(Request::new(request)).await.unwrap().into_inner().campaign.unwrap()
    }

    pub(super) async fn assignments(&self) -> Vec<proto::Assignment> {
        let request = proto::ListAssignmentsRequest { study_id: STUDY.into(), page_size: 1_000, ..Default::default() };
        self.api.list_assignments(Request::new(request)).await.unwrap().into_inner().assignments
    }

    pub(super) async fn notifications(&self) -> Vec<proto::Notification> {
        let request =
            proto::ListNotificationsRequest { study_id: STUDY.into(), page_size: 1_000, ..Default::default() };
        self.api.list_notifications(Request::new(request)).await.unwrap().into_inner().notifications
    }

    pub(super) async fn responses(&self) -> Vec<proto::Response> {
        let request = proto::ListResponsesRequest { study_id: STUDY.into(), page_size: 1_000, ..Default::default() };
        self.api.list_responses(Request::new(request)).await.unwrap().into_inner().responses
    }

    /// Kind and state of every notification, in order of kind and due time.
    pub(super) async fn pushes(&self) -> Vec<(proto::NotificationKind, proto::NotificationState)> {
        let mut all = self.notifications().await;
        all.sort_by_key(|one| (one.kind, one.due_at.map(|at| (at.seconds, at.nanos))));
        all.iter().map(|one| (one.kind(), one.state())).collect()
    }
}

/// An event of the test's study; None is a plain record.
pub(super) fn event(event_type: &str, sequence: Option<i64>) -> InboundEvent {
    let project_id = ProjectId::new(STUDY).unwrap();
    let change = || LifecycleChange { project_id: project_id.clone(), reason: None };
    let happened = match event_type {
        "ProjectStarted" => Some(ProjectEvent::ProjectStarted(ProjectStarted {
            project_id: project_id.clone(),
            start_time: OffsetDateTime::now_utc(),
            name: None,
            sites: Vec::new(),
        })),
        "ProjectSuspended" => Some(ProjectEvent::ProjectSuspended(change())),
        "ProjectResumed" => Some(ProjectEvent::ProjectResumed(change())),
        "ProjectCompleted" => Some(ProjectEvent::ProjectCompleted(change())),
        "ProjectTerminated" => Some(ProjectEvent::ProjectTerminated(change())),
        _ => None,
    };
    InboundEvent {
        inbound: Inbound {
            id: Uuid::new_v4().to_string(),
            source: if sequence.is_some() { "ctms/project-srv" } else { FOREIGN_SOURCE }.to_owned(),
            stream_id: project_id.clone(),
            stream_epoch: 0,
            sequence,
            event_type: event_type.to_owned(),
            time: Some(OffsetDateTime::now_utc()),
            traceparent: None,
            origin: if sequence.is_some() { Origin::CloudEvent } else { Origin::Foreign },
            replay: None,
        },
        event: happened,
        data: Bytes::new(),
        place: Place { topic: "events".into(), partition: 0, offset: 0 },
    }
}

pub(super) fn enrolment(subject_id: &str, day: &str) -> proto::EnrolSubjectRequest {
    proto::EnrolSubjectRequest {
        study_id: STUDY.into(),
        subject_id: subject_id.into(),
        site_id: "berlin".into(),
        enrolled_on: day.into(),
        request_id: String::new(),
    }
}

/// A diary on the day of enrolment and a week later, each open for two more days, with a reminder after 47 hours.
pub(super) fn schedule() -> proto::Schedule {
    let pain = proto::InstrumentItem {
        item_id: "pain".into(),
        prompt: "How strong is your pain?".into(),
        required: true,
        kind: proto::ItemKind::Number.into(),
        minimum: Some(0.0),
        maximum: Some(10.0),
        ..Default::default()
    };
    let visit = |id: &str, offset_days| proto::Visit {
        visit_id: id.into(),
        name: id.into(),
        instrument_ids: vec!["diary".into()],
        anchor: proto::VisitAnchor::Enrolment.into(),
        offset_days,
        window_before_days: 0,
        window_after_days: 2,
    };
    proto::Schedule {
        study_id: STUDY.into(),
        version: 0,
        instruments: vec![proto::Instrument {
            instrument_id: "diary".into(),
            version: "1.0".into(),
            name: "Diary".into(),
            items: vec![pain],
        }],
        visits: vec![visit("day-1", 0), visit("day-8", 7)],
        reminders: vec![proto::Reminder { offset_hours: 47 }],
    }
}

/// `days` from today (UTC), as requests write it.
pub(super) fn day(days: i64) -> String {
    (OffsetDateTime::now_utc().date() + time::Duration::days(days)).to_string()
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code) -> Status {
    let status = result.expect_err("a refusal");
    assert_eq!(status.code(), code, "{status:?}");
    status
}
