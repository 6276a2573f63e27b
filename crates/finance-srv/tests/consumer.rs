//! The whole service on the embedded broker: events from Kafka, money over gRPC, a clean stop, and a restart that doubles nothing.
#![allow(clippy::unwrap_used, reason = "a test: the panic is its answer")]

mod support;

use contracts::events::ProjectEvent;
use contracts::finance::v1::AccountState;
use contracts::topics;
use kafka_worker_pool::Record;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};
use support::*;
use testkit::wait_until;
use time::macros::datetime;

async fn send(producer: &FutureProducer, record: &Record) {
    let headers = record
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
    let value = record.value.as_deref().unwrap();
    let record = FutureRecord::to(&record.topic).key(record.key.as_deref().unwrap()).payload(value).headers(headers);
    producer.send(record, DEADLINE).await.expect("the broker takes it");
}

async fn reaches(service: &Service, state: AccountState) {
    let request = contracts::finance::v1::GetAccountRequest { study_id: "P1".into() };
    wait_until(state.as_str_name(), DEADLINE, async || {
        let account = service.client.clone().get_account(request.clone()).await.ok()?.into_inner().account?;
        (account.state() == state).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_embedded_broker_events_move_the_money_and_a_restart_doubles_nothing() {
    let names = topics::topics_of(topics::PROJECT_EVENTS, &[topics::FINANCE_GROUP]);
    let topics = names.into_iter().map(|topic| (topic.name, 4)).collect();
    let broker = EmbeddedBroker::start(&EmbeddedOptions { topics, ..EmbeddedOptions::default() }).unwrap();
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    let database = TestDatabase::sqlite();

    let mut service = Service::start_on(&database, broker.bootstrap()).await;
    set(&mut service.client, fees("P1", "2026-01-01", "", 7)).await;
    let mut project = Project::of(&database, "P1").await;
    let started = project.started(datetime!(2026-03-02 09:00 UTC), &["S1", "S2"]);
    let start = project.record(&started);
    send(&producer, &start).await;
    reaches(&service, AccountState::Active).await;
    assert_eq!(owed(&mut service.client, "P1").await, ["S1 7 EUR OPEN", "S2 7 EUR OPEN"]);
    service.stop().await;

    let mut again = Service::start_on(&database, broker.bootstrap()).await;
    let pause = ProjectEvent::ProjectSuspended(project.change());
    let paused = project.record(&pause);
    send(&producer, &start).await;
    send(&producer, &paused).await;
    reaches(&again, AccountState::Suspended).await;
    assert_eq!(owed(&mut again.client, "P1").await, ["S1 7 EUR ON_HOLD", "S2 7 EUR ON_HOLD"]);
    assert_eq!(journal(&mut again.client, "P1").await.len(), 2);
    again.stop().await;
}
