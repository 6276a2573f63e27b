//! Dead letters: their rows, and what goes to the dead-letter topic through this service's own outbox. The caller holds the stream's lock
//! and knows whether the letter blocks it.

use contracts::{
    control::{ATTEMPTS, BY, CAUSE, Decision, GAP, Letter, Outcome, OutcomeKind, REPLAY_OF, SKIP, WHY},
    inbound::Inbound,
    topics::{dead_letter_topic, retry_topic},
};
use kafka_worker_pool::Record;

use super::{incoming::place, parked::header_list};
use crate::{
    db::{self, DbErr, Tx},
    event::{HeaderList, NewEvent, headers_from_json, insert},
};

/// A record given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burial<'a> {
    pub(super) letter_id: &'a str,
    pub(super) record: &'a Record,
    /// Its envelope, when it has one.
    pub(super) inbound: Option<&'a Inbound>,
    pub(super) cause: &'a str,
    pub(super) attempts: u32,
    pub(super) ground: Ground,
}

/// Why the record is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// It failed.
    Failed,
    /// The replay of a letter failed.
    ReplayFailed,
    /// Its number belongs to another event. It blocks nothing.
    Conflict,
}

/// What became of a burial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buried {
    /// A new letter.
    New,
    /// An attempt more on an open letter.
    Again,
    /// Known already: nothing was written.
    Known,
}

/// Longest cause in bytes that is written; the rest is cut.
const MAX_CAUSE_BYTES: usize = 4096;

/// Writes the letter, once however often it is asked to.
pub(super) async fn bury(tx: &Tx, group: &str, burial: &Burial<'_>) -> Result<Buried, DbErr> {
    // A cause quotes the record, and the letter must be written whatever that holds: PostgreSQL's text cannot hold U+0000.
    let cause = burial.cause[..burial.cause.floor_char_boundary(MAX_CAUSE_BYTES)].replace('\0', "\u{fffd}");
    let burial = &Burial { cause: &cause, ..*burial };
    let sql = "SELECT state, attempts, last_attempt, published_seq FROM dead_letter WHERE letter_id = $1";
    let attempt = place(burial.record).to_string();
    let Some(row) = db::query_one(tx, sql, [burial.letter_id.into()]).await? else {
        create(tx, group, burial, &attempt).await?;
        return Ok(Buried::New);
    };
    let is_open = matches!(row.try_get::<String>("", "state")?.as_str(), "open" | "quarantined");
    if burial.ground != Ground::ReplayFailed || !is_open || row.try_get::<String>("", "last_attempt")? == attempt {
        return Ok(Buried::Known);
    }
    let attempts = row.try_get::<i64>("", "attempts")? + i64::from(burial.attempts);
    let published: i64 = row.try_get::<i64>("", "published_seq")? + 1;
    let sql =
        "UPDATE dead_letter SET attempts = $1, cause = $2, last_attempt = $3, published_seq = $4 WHERE letter_id = $5";
    db::exec(
        tx,
        sql,
        [attempts.into(), burial.cause.into(), attempt.into(), published.into(), burial.letter_id.into()],
    )
    .await?;
    publish_attempt(tx, burial, attempts, published).await?;
    Ok(Buried::Again)
}

async fn create(tx: &Tx, group: &str, burial: &Burial<'_>, attempt: &str) -> Result<(), DbErr> {
    let Burial { letter_id, record, inbound, .. } = *burial;
    let state = if burial.ground == Ground::Conflict { "quarantined" } else { "open" };
    let now = db::now();
    let sql = "INSERT INTO dead_letter (letter_id, source, stream_id, stream_epoch, stream_seq, event_id, event_type, record_topic, record_partition,
                 record_offset, cause, attempts, state, last_attempt, published_seq, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    let values = [
        letter_id.into(),
        inbound.map(|inbound| inbound.source.clone()).into(),
        inbound.map(|inbound| inbound.stream_id.as_str().to_owned()).into(),
        inbound.map(|inbound| inbound.stream_epoch).into(),
        inbound.and_then(|inbound| inbound.sequence).into(),
        inbound.map(|inbound| inbound.id.clone()).into(),
        inbound.map(|inbound| inbound.event_type.clone()).into(),
        record.topic.to_string().into(),
        i64::from(record.partition).into(),
        record.offset.into(),
        burial.cause.into(),
        i64::from(burial.attempts).into(),
        state.into(),
        attempt.into(),
        1_i64.into(),
        now.into(),
    ];
    db::exec(tx, sql, values).await?;
    let letter = Letter {
        letter_id: letter_id.to_owned(),
        cause: burial.cause.to_owned(),
        attempts: burial.attempts,
        group: group.to_owned(),
        topic: record.topic.to_string(),
        partition: record.partition,
        offset: record.offset,
        at: now,
    };
    // The marks of a decision belong to the record that carried them, not to the letter.
    let own = |name: &str| ![REPLAY_OF, SKIP, GAP, BY, WHY].contains(&name);
    let mut headers: HeaderList = header_list(&record.headers).into_iter().filter(|(name, _)| own(name)).collect();
    headers.extend(letter.to_headers().into_iter().map(|(name, value)| (name, Some(value.into_bytes()))));
    let payload = record.value.as_ref().map(|value| value.to_vec());
    let event = mail(letter_id, 1, "DeadLetter", dead_letter_topic_of(&record.topic, group), payload, headers);
    insert(tx, &[event]).await
}

/// Tells the dead-letter topic of an attempt more: the letter again as it was, with the new cause and count.
async fn publish_attempt(tx: &Tx, burial: &Burial<'_>, attempts: i64, published: i64) -> Result<(), DbErr> {
    let sql = "SELECT topic, payload, headers FROM outbox WHERE event_id = $1";
    let Some(row) = db::query_one(tx, sql, [mail_id(burial.letter_id, 1).into()]).await? else { return Ok(()) };
    let mut headers = headers_from_json(&row.try_get("", "headers")?)?;
    for (name, value) in &mut headers {
        match name.as_str() {
            ATTEMPTS => *value = Some(attempts.to_string().into_bytes()),
            CAUSE => *value = Some(burial.cause.as_bytes().to_vec()),
            _ => {}
        }
    }
    let event = mail(
        burial.letter_id,
        published,
        "DeadLetter",
        row.try_get("", "topic")?,
        row.try_get("", "payload")?,
        headers,
    );
    insert(tx, &[event]).await
}

/// Ends a letter that is open, and tells the dead-letter topic. Does nothing when it is not open, or when it blocks a number and the
/// decision names none: the stream would stay blocked with no letter to show for it.
pub(super) async fn close(
    tx: &Tx,
    group: &str,
    topic: &str,
    kind: OutcomeKind,
    decision: &Decision,
    names_a_number: bool,
) -> Result<bool, DbErr> {
    let now = db::now();
    let sql = "UPDATE dead_letter SET state = $1, decided_by = $2, decided_why = $3, decided_at = $4, published_seq = published_seq + 1
               WHERE letter_id = $5 AND state IN ('open', 'quarantined') AND ($6 OR stream_seq IS NULL OR state = 'quarantined') RETURNING published_seq";
    let values = [
        kind.as_str().into(),
        decision.by.clone().into(),
        decision.why.clone().into(),
        now.into(),
        decision.letter_id.clone().into(),
        names_a_number.into(),
    ];
    let Some(row) = db::query_one(tx, sql, values).await? else { return Ok(false) };
    let outcome = Outcome { kind, decision: decision.clone(), at: now };
    let headers = outcome.to_headers().into_iter().map(|(name, value)| (name, Some(value.into_bytes()))).collect();
    let topic = dead_letter_topic_of(topic, group);
    let event = mail(&decision.letter_id, row.try_get("", "published_seq")?, "DeadLetterOutcome", topic, None, headers);
    insert(tx, &[event]).await?;
    Ok(true)
}

fn mail(
    letter_id: &str,
    seq: i64,
    event_type: &str,
    topic: String,
    payload: Option<Vec<u8>>,
    headers: HeaderList,
) -> NewEvent {
    NewEvent {
        event_id: mail_id(letter_id, seq),
        // Project ids hold no slash, so a letter's stream is never a project's.
        stream_id: format!("letter/{letter_id}"),
        stream_epoch: 0,
        stream_seq: seq,
        event_type: event_type.to_owned(),
        topic,
        key: letter_id.as_bytes().to_vec(),
        payload,
        headers,
    }
}

fn mail_id(letter_id: &str, seq: i64) -> String {
    format!("{letter_id}/{seq}")
}

/// The dead-letter topic for what was read from `topic`: a retry topic's letters go where those of its events go.
fn dead_letter_topic_of(topic: &str, group: &str) -> String {
    let retry_suffix = retry_topic("", group);
    dead_letter_topic(topic.strip_suffix(&retry_suffix).unwrap_or(topic), group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_from_the_retry_topic_goes_where_the_others_are() {
        let events = "ctms.project.events.v1";
        let expected = "ctms.project.events.v1.epro-srv.dlq";
        assert_eq!(dead_letter_topic_of(events, "epro-srv"), expected);
        assert_eq!(dead_letter_topic_of("ctms.project.events.v1.epro-srv.retry", "epro-srv"), expected);
    }
}
