//! Pushes over the webhook and through the recording channel, with a receiver in the test.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use contracts::epro::v1::NotificationState;
use service_kit::Readiness;
use testkit::wait_until;
use tokio_util::sync::CancellationToken;

use super::{DEADLINE, Epro, TestDatabase, on_both_databases, schedule};
use crate::domain::push::{Channel, RetryPolicy};
use crate::webhook::Webhook;

on_both_databases!(
    a_push_is_tried_again_under_the_same_key,
    a_push_is_given_up_after_its_attempts,
    a_final_answer_ends_it_at_once,
    what_waits_for_a_webhook_that_is_not_set_shows,
    two_instances_send_each_push_once,
    a_suspension_stops_what_is_not_sent,
    what_falls_due_later_is_recorded_then,
);

const RETRY: RetryPolicy =
    RetryPolicy { max_attempts: 3, first_backoff: Duration::from_millis(1), max_backoff: Duration::from_millis(5) };

/// Keys that the receiver got, and how it answers; 204 once the script is over.
#[derive(Clone, Default)]
struct Receiver {
    keys: Arc<Mutex<Vec<String>>>,
    script: Arc<Mutex<VecDeque<u16>>>,
}

impl Receiver {
    async fn start(script: &[u16]) -> (Self, Webhook) {
        let receiver = Self { script: Arc::new(Mutex::new(script.iter().copied().collect())), ..Self::default() };
        let router = Router::new().route("/push", post(Self::take)).with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/push", listener.local_addr().unwrap());
        // Ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, Webhook::new(url.parse().unwrap(), Duration::from_secs(5)).unwrap())
    }

    async fn take(State(this): State<Self>, headers: HeaderMap, body: String) -> StatusCode {
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["studyId"], super::STUDY);
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        assert_eq!(body["notificationId"], key);
        this.keys.lock().unwrap().push(key);
        let answer = this.script.lock().unwrap().pop_front().unwrap_or(204);
        StatusCode::from_u16(answer).unwrap()
    }

    fn keys(&self) -> Vec<String> {
        self.keys.lock().unwrap().clone()
    }
}

async fn started(database: &TestDatabase, subjects: usize) -> Epro {
    let epro = Epro::with_channel(database, Channel::Webhook).await;
    epro.publish(schedule()).await;
    for number in 0..subjects {
        epro.enrol(&format!("s-{number}")).await;
    }
    epro.happens("ProjectStarted", 1).await;
    epro
}

async fn in_state(epro: &Epro, state: NotificationState) -> usize {
    epro.notifications().await.iter().filter(|one| one.state() == state).count()
}

async fn a_push_is_tried_again_under_the_same_key(database: TestDatabase) {
    let (receiver, webhook) = Receiver::start(&[503, 500]).await;
    let epro = started(&database, 1).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(epro.pusher(Some(webhook), RETRY).run(stop.clone()));
    wait_until("the push is sent", DEADLINE, async || {
        (in_state(&epro, NotificationState::Sent).await == 1).then_some(())
    })
    .await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let keys = receiver.keys();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let sent = epro.notifications().await.into_iter().find(|one| one.notification_id == keys[0]).unwrap();
    assert_eq!((sent.attempts, sent.last_error.as_str()), (3, ""));
}

async fn a_push_is_given_up_after_its_attempts(database: TestDatabase) {
    let (receiver, webhook) = Receiver::start(&[503; 10]).await;
    let epro = started(&database, 1).await;
    let pusher = epro.pusher(Some(webhook), RETRY);
    wait_until("the push is given up", DEADLINE, async || {
        pusher.round().await.unwrap();
        (in_state(&epro, NotificationState::Failed).await == 1).then_some(())
    })
    .await;
    assert_eq!(pusher.round().await.unwrap(), 0);
    assert_eq!(receiver.keys().len(), 3);
    let failed = epro.notifications().await.into_iter().find(|one| one.state() == NotificationState::Failed).unwrap();
    assert!(failed.last_error.contains("503"), "{}", failed.last_error);
}

async fn a_final_answer_ends_it_at_once(database: TestDatabase) {
    let (receiver, webhook) = Receiver::start(&[410]).await;
    let epro = started(&database, 1).await;
    assert_eq!(epro.pusher(Some(webhook), RETRY).round().await.unwrap(), 1);
    assert_eq!(in_state(&epro, NotificationState::Failed).await, 1);
    assert_eq!(receiver.keys().len(), 1);
}

/// Planned while a webhook was set; then epro-srv was started without one.
async fn what_waits_for_a_webhook_that_is_not_set_shows(database: TestDatabase) {
    let epro = started(&database, 2).await;
    let readiness = Readiness::new(CancellationToken::new());
    let (stop, component) = (CancellationToken::new(), readiness.component("pushes"));
    let watching = tokio::spawn(crate::unsent::watch(epro.db.clone(), component, stop.clone()));
    wait_until("the pushes show", DEADLINE, async || {
        let snapshot = readiness.snapshot();
        let detail = &snapshot.components["pushes"].detail;
        (snapshot.ready && detail.starts_with("2 pushes") && detail.contains("--webhook-url")).then_some(())
    })
    .await;
    stop.cancel();
    watching.await.unwrap().unwrap();
}

async fn two_instances_send_each_push_once(database: TestDatabase) {
    let (receiver, webhook) = Receiver::start(&[]).await;
    let epro = started(&database, 30).await;
    let (one, other) = (epro.pusher(Some(webhook.clone()), RETRY), epro.pusher(Some(webhook), RETRY));
    wait_until("all pushes are sent", DEADLINE, async || {
        let (first, second) = tokio::join!(one.round(), other.round());
        first.unwrap();
        second.unwrap();
        (in_state(&epro, NotificationState::Sent).await == 30).then_some(())
    })
    .await;
    let mut keys = receiver.keys();
    keys.sort();
    keys.dedup();
    assert_eq!((keys.len(), receiver.keys().len()), (30, 30));
}

async fn a_suspension_stops_what_is_not_sent(database: TestDatabase) {
    let (receiver, webhook) = Receiver::start(&[]).await;
    let epro = started(&database, 2).await;
    let pusher = epro.pusher(Some(webhook), RETRY);
    epro.happens("ProjectSuspended", 2).await;
    assert_eq!(pusher.round().await.unwrap(), 0);
    assert_eq!(receiver.keys().len(), 0);
    epro.happens("ProjectResumed", 3).await;
    assert_eq!(pusher.round().await.unwrap(), 2);
    assert_eq!(pusher.round().await.unwrap(), 0);
    assert_eq!(receiver.keys().len(), 2);
}

async fn what_falls_due_later_is_recorded_then(database: TestDatabase) {
    let epro = Epro::on(&database).await;
    epro.publish(schedule()).await;
    epro.enrol("s-1").await;
    epro.happens("ProjectStarted", 1).await;
    let pusher = epro.pusher(None, RETRY);
    assert_eq!(pusher.round().await.unwrap(), 0, "the rest is due in days");
    let past = outbox::db::now() - Duration::from_secs(1);
    outbox::db::exec(
        epro.db.writer(),
        "UPDATE notification SET next_attempt_at = $1 WHERE state = 'PENDING'",
        [past.into()],
    )
    .await
    .unwrap();
    assert_eq!(pusher.round().await.unwrap(), 3);
    assert_eq!(in_state(&epro, NotificationState::Sent).await, 4);
}
