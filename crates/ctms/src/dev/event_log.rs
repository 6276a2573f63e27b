//! The compact live log: one line per record on the platform's topics, dead letters included. It only reads, in no group.

use std::{thread::JoinHandle, time::Duration};

use anyhow::Context as _;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::{BorrowedMessage, Headers as _},
};
use tokio_util::sync::CancellationToken;

use crate::output;

/// Between two looks at the stop token.
const POLL: Duration = Duration::from_millis(100);
/// The broker answers within this time, or there is no log.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// The log's thread.
pub(super) struct EventLog(JoinHandle<()>);

impl EventLog {
    /// Waits for the thread, which ends soon after the token that it was given.
    pub(super) async fn join(self) {
        let _ = tokio::task::spawn_blocking(move || self.0.join()).await;
    }
}

/// Starts the log at the present end of every topic.
///
/// # Errors
/// The broker does not answer.
pub(super) fn spawn(bootstrap: &str, stop: CancellationToken) -> anyhow::Result<EventLog> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "ctms-event-log")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "latest")
        .set("fetch.wait.max.ms", "50")
        .create()
        .context("cannot make a consumer for the event log")?;
    let thread = std::thread::Builder::new()
        .name("event-log".to_owned())
        .spawn(move || read(&consumer, &stop))
        .context("cannot start the event log")?;
    Ok(EventLog(thread))
}

fn read(consumer: &BaseConsumer, stop: &CancellationToken) {
    if let Err(error) = assign(consumer) {
        output::error(&format!("no event log: {error:#}"));
        return;
    }
    while !stop.is_cancelled() {
        match consumer.poll(POLL) {
            Some(Ok(message)) => output::line(&describe(&message)),
            Some(Err(error)) => tracing::debug!(%error, "the event log could not read"),
            None => {}
        }
    }
}

fn assign(consumer: &BaseConsumer) -> anyhow::Result<()> {
    let metadata = consumer.fetch_metadata(None, METADATA_TIMEOUT).context("the broker does not answer")?;
    let mut all = TopicPartitionList::new();
    for topic in contracts::topics::all_topics() {
        let partitions = metadata
            .topics()
            .iter()
            .find(|known| known.name() == topic.name)
            .map_or(0, |known| known.partitions().len());
        for partition in 0..partitions {
            all.add_partition_offset(&topic.name, i32::try_from(partition)?, Offset::End)?;
        }
    }
    consumer.assign(&all).context("cannot read the topics")
}

fn describe(message: &BorrowedMessage<'_>) -> String {
    let header = |name: &str| {
        let headers = message.headers()?;
        let found = headers.iter().find(|header| header.key == name)?;
        found.value.map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let now = time::OffsetDateTime::now_utc().time();
    let event = header("ce_type").unwrap_or_else(|| "(plain record)".to_owned());
    let sequence =
        header("ce_sequence").map(|sequence| format!("#{}", sequence.trim_start_matches('0'))).unwrap_or_default();
    let key = message.key().map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or_default();
    let cause = header("ctms_cause").map(|cause| format!("  dead letter: {cause}")).unwrap_or_default();
    format!(
        "{:02}:{:02}:{:02}.{:03}  {event:<20} {key:<36} {sequence:<4} {}[{}]@{}{cause}",
        now.hour(),
        now.minute(),
        now.second(),
        now.millisecond(),
        message.topic(),
        message.partition(),
        message.offset(),
    )
}
