//! The largest record that the topic of events takes becomes a letter that its dead-letter topic takes, whatever the cause says.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use contracts::topics::{MAX_LETTER_BYTES, MAX_RECORD_BYTES, dead_letter_topic};
use kafka_worker_pool::{DeadLetter, DeadLetterSink as _, Headers};
use outbox::{RelayOptions, ops};
use support::{
    kafka::{Running, Topics, broker, options, until},
    *,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_letter_of_the_largest_record_goes_out() {
    let broker = broker();
    goes_out(TOPIC, options(&broker)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_letter_of_the_largest_record_goes_out_on_real_kafka() {
    let Ok(brokers) = std::env::var("KAFKA_BROKERS") else {
        eprintln!("SKIPPED: KAFKA_BROKERS is not set");
        return;
    };
    let topic = format!("outbox-{}", uuid::Uuid::new_v4().simple());
    let limit = MAX_LETTER_BYTES.to_string();
    Topics::at(&brokers).create_with(&dead_letter_topic(&topic, GROUP), &[("max.message.bytes", &limit)]).await;
    goes_out(&topic, RelayOptions::new(brokers)).await;
}

async fn goes_out(topic: &str, options: RelayOptions) {
    let test = TestDatabase::sqlite().await;
    let (gate, _) = gate(&test.db);
    // Larger than any that comes: the limit counts what surrounds a record, too.
    let value = vec![b'x'; usize::try_from(MAX_RECORD_BYTES).unwrap()];
    let malformed = record(topic, 0, None, Some(&value), Headers::default());
    let cause = "\u{20ac}".repeat(100_000);
    gate.dead_letter(DeadLetter { record: &malformed, group: GROUP, cause: &cause, attempts: 5 }).await.unwrap();
    let relay = Running::start(&test.db, options);
    until("the letter has an answer", async || {
        let backlog = ops::unpublished(&test.db).await.unwrap();
        backlog.pending == 0 || backlog.failed > 0
    })
    .await;
    assert_eq!(ops::failed_rows(&test.db).await.unwrap(), []);
    relay.stop().await;
}
