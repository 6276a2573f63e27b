//! Sends decisions to the retry topic of a letter's group: a replay, or a skip marker. Nothing is sent twice by itself.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use contracts::{control::Decision, topics};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};

use super::{DecisionArgs, letters::FoldedLetter};

/// The broker acknowledges within this time, or the command fails.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(15);

/// Sends the letter's record, or the bytes of `payload`, to the group again.
///
/// # Errors
/// The file cannot be read, or the broker does not acknowledge.
pub(super) async fn replay(
    config: &ClientConfig,
    letter: &FoldedLetter,
    payload: Option<&Path>,
    decision: DecisionArgs,
) -> anyhow::Result<()> {
    let payload = match payload {
        Some(path) => Some(std::fs::read(path).with_context(|| format!("cannot read the payload {}", path.display()))?),
        None => letter.payload.clone(),
    };
    send(config, letter, &letter.headers, payload, decision_of(letter, decision).replay_headers()).await
}

/// Sends a skip marker: for the letter's number if it has one, else for the letter alone.
///
/// # Errors
/// The broker does not acknowledge.
pub(super) async fn discard(
    config: &ClientConfig,
    letter: &FoldedLetter,
    decision: DecisionArgs,
) -> anyhow::Result<()> {
    let headers = if letter.has_number() { letter.headers.as_slice() } else { &[] };
    send(config, letter, headers, None, decision_of(letter, decision).skip_headers()).await
}

fn decision_of(letter: &FoldedLetter, decision: DecisionArgs) -> Decision {
    Decision { letter_id: letter.letter.letter_id.clone(), by: decision.by, why: decision.why }
}

async fn send(
    config: &ClientConfig,
    letter: &FoldedLetter,
    original: &[(String, Vec<u8>)],
    payload: Option<Vec<u8>>,
    decision: Vec<(String, String)>,
) -> anyhow::Result<()> {
    let topic = topics::retry_topic(base_topic(letter), &letter.letter.group);
    let mut headers = OwnedHeaders::new();
    for (key, value) in original {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    for (key, value) in &decision {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    let producer: FutureProducer = config
        .clone()
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", ACKNOWLEDGE_TIMEOUT.as_millis().to_string())
        .create()
        .context("the Kafka client refuses its settings")?;
    let mut record = FutureRecord::<[u8], [u8]>::to(&topic).headers(headers);
    if let Some(key) = &letter.key {
        record = record.key(key);
    }
    if let Some(payload) = &payload {
        record = record.payload(payload);
    }
    producer.send(record, ACKNOWLEDGE_TIMEOUT).await.map_err(|(error, _)| error).with_context(|| {
        format!("the broker did not acknowledge the decision on {topic}; look before you send it again: ctms dlq list")
    })?;
    Ok(())
}

/// The topic of events: a letter of a replay that failed comes from the retry topic itself.
fn base_topic(letter: &FoldedLetter) -> &str {
    let retry_suffix = topics::retry_topic("", &letter.letter.group);
    letter.letter.topic.strip_suffix(&retry_suffix).unwrap_or(&letter.letter.topic)
}
