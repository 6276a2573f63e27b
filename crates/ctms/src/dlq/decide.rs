//! What an operator's decision about a letter is on the wire: a replay, or a skip marker, for the retry topic of the letter's group.

use contracts::{control::Decision, topics};

use crate::{
    courier::{Courier, Parcel},
    decision::DecisionArgs,
};

use super::letters::FoldedLetter;

/// Sends the letter's record, or `payload` in its place, to the group again.
///
/// # Errors
/// The broker does not acknowledge.
pub(super) async fn replay(
    courier: &Courier,
    letter: &FoldedLetter,
    payload: Option<&[u8]>,
    decision: &DecisionArgs,
) -> anyhow::Result<()> {
    let payload = payload.or(letter.payload.as_deref());
    send(courier, letter, &letter.headers, payload, &decision_of(letter, decision).replay_headers()).await
}

/// Sends a skip marker: for the letter's number if it has one, else for the letter alone.
///
/// # Errors
/// The broker does not acknowledge.
pub(super) async fn discard(courier: &Courier, letter: &FoldedLetter, decision: &DecisionArgs) -> anyhow::Result<()> {
    let headers = if letter.has_number() { letter.headers.as_slice() } else { &[] };
    send(courier, letter, headers, None, &decision_of(letter, decision).skip_headers()).await
}

fn decision_of(letter: &FoldedLetter, decision: &DecisionArgs) -> Decision {
    Decision { letter_id: letter.letter.letter_id.clone(), by: decision.by.clone(), why: decision.why.clone() }
}

async fn send(
    courier: &Courier,
    letter: &FoldedLetter,
    headers: &[(String, Vec<u8>)],
    payload: Option<&[u8]>,
    decision: &[(String, String)],
) -> anyhow::Result<()> {
    let topic = topics::retry_topic(base_topic(letter), &letter.letter.group);
    courier.send(Parcel { topic: &topic, key: letter.key.as_deref(), headers, decision, payload }).await
}

/// The topic of events: a letter of a replay that failed comes from the retry topic itself.
fn base_topic(letter: &FoldedLetter) -> &str {
    let retry_suffix = topics::retry_topic("", &letter.letter.group);
    letter.letter.topic.strip_suffix(&retry_suffix).unwrap_or(&letter.letter.topic)
}
