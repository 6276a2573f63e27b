//! Folds the records of the dead-letter topics into letters and their states. Pure.

use std::collections::BTreeMap;

use contracts::{
    control::{Letter, Outcome, OutcomeKind},
    envelope::CloudEvent,
};
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use serde::Serialize;

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Open,
    Replayed,
    Discarded,
}

/// A letter with its record and everything that was recorded about it.
#[derive(Clone, Debug)]
pub(super) struct FoldedLetter {
    pub(super) letter: Letter,
    pub(super) state: State,
    /// Who ended it and why; empty while it is open.
    pub(super) ended_by: String,
    pub(super) ended_why: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Option<Vec<u8>>,
    /// The headers of the record as it came; the letter's own are left out.
    pub(super) headers: Vec<(String, Vec<u8>)>,
}

impl FoldedLetter {
    /// Whether the original record has a number in its project's stream, which the letter blocks.
    pub(super) fn has_number(&self) -> bool {
        let header =
            |name: &str| self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice());
        CloudEvent::from_headers(&header).is_ok_and(|event| event.sequence.is_some())
    }

    /// The project that the original record is about, where it says so.
    pub(super) fn project(&self) -> Option<String> {
        let plain = || {
            let value: serde_json::Value = serde_json::from_slice(self.payload.as_deref()?).ok()?;
            value["projectId"].as_str().map(str::to_owned)
        };
        self.header("ce_subject").or_else(plain)
    }

    /// The text of a header of the original record.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

/// All letters by id.
pub(super) struct Letters(BTreeMap<String, FoldedLetter>);

impl Letters {
    /// Folds records, each partition's in order; those that are neither letters nor outcomes are left out.
    pub(super) fn fold(records: Vec<OwnedMessage>) -> Self {
        let mut letters = BTreeMap::<String, FoldedLetter>::new();
        for record in records {
            let header = |name: &str| {
                let headers = record.headers()?;
                let found = headers.iter().find(|header| header.key == name)?;
                found.value
            };
            if let Ok(Some(outcome)) = Outcome::from_headers(&header) {
                if let Some(letter) = letters.get_mut(&outcome.decision.letter_id) {
                    letter.state = match outcome.kind {
                        OutcomeKind::Replayed => State::Replayed,
                        OutcomeKind::Discarded => State::Discarded,
                    };
                    letter.ended_by = outcome.decision.by;
                    letter.ended_why = outcome.decision.why;
                }
                continue;
            }
            let Ok(letter) = Letter::from_headers(&header) else { continue };
            // The same letter again is a replay that failed, or a record that was sent twice: the state stays.
            let known = letters
                .get(&letter.letter_id)
                .map(|known| (known.state, known.ended_by.clone(), known.ended_why.clone()));
            let (state, ended_by, ended_why) = known.unwrap_or((State::Open, String::new(), String::new()));
            let own: Vec<_> = letter.to_headers().into_iter().map(|(name, _)| name).collect();
            let folded = FoldedLetter {
                state,
                ended_by,
                ended_why,
                key: record.key().map(<[u8]>::to_vec),
                payload: record.payload().map(<[u8]>::to_vec),
                headers: record
                    .headers()
                    .into_iter()
                    .flat_map(rdkafka::message::Headers::iter)
                    .filter(|header| own.iter().all(|name| name != header.key))
                    .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
                    .collect(),
                letter,
            };
            letters.insert(folded.letter.letter_id.clone(), folded);
        }
        Self(letters)
    }

    /// In the order in which they were written; of one moment, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &FoldedLetter> {
        let mut sorted: Vec<_> = self.0.values().collect();
        let number = |letter: &FoldedLetter| letter.header("ce_sequence").and_then(|text| text.parse::<i64>().ok());
        sorted.sort_by_key(|letter| (letter.letter.at, number(letter)));
        sorted.into_iter()
    }

    /// The letter with this id, or with this beginning of an id.
    ///
    /// # Errors
    /// None or more than one has it.
    pub(super) fn find(&self, id: &str) -> anyhow::Result<&FoldedLetter> {
        if let Some(exact) = self.0.get(id) {
            return Ok(exact);
        }
        let mut found = self.0.iter().filter(|(known, _)| !id.is_empty() && known.starts_with(id));
        match (found.next(), found.count()) {
            (Some((_, letter)), 0) => Ok(letter),
            (None, _) => anyhow::bail!("no dead letter has the id {id:?}; see `ctms dlq list --all`"),
            (Some(_), more) => {
                anyhow::bail!("{} dead letters have ids that begin with {id:?}; write more of it", more + 1)
            }
        }
    }

    /// The same, but it must be open.
    ///
    /// # Errors
    /// None or more than one has it, or it was replayed or discarded already.
    pub(super) fn find_open(&self, id: &str) -> anyhow::Result<&FoldedLetter> {
        let letter = self.find(id)?;
        let done = match letter.state {
            State::Open => return Ok(letter),
            State::Replayed => "replayed",
            State::Discarded => "discarded",
        };
        anyhow::bail!(
            "the dead letter {} was {done} by {} already: {}",
            letter.letter.letter_id,
            letter.ended_by,
            letter.ended_why
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use contracts::control::Decision;
    use rdkafka::{
        Timestamp,
        message::{Header, OwnedHeaders},
    };
    use time::OffsetDateTime;

    use super::*;

    fn letter(id: &str, attempts: u32) -> Letter {
        Letter {
            letter_id: id.to_owned(),
            cause: "bad".to_owned(),
            attempts,
            group: "epro-srv".to_owned(),
            topic: "t".to_owned(),
            partition: 0,
            offset: 7,
            at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn record(headers: &[(String, String)]) -> OwnedMessage {
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
        OwnedMessage::new(Some(b"{".to_vec()), None, "t.dlq".to_owned(), Timestamp::NotAvailable, 0, 0, Some(headers))
    }

    fn outcome(id: &str, kind: OutcomeKind) -> OwnedMessage {
        let decision = Decision { letter_id: id.to_owned(), by: "someone".to_owned(), why: "known bug".to_owned() };
        record(&Outcome { kind, decision, at: OffsetDateTime::UNIX_EPOCH }.to_headers())
    }

    /// Open letters of one group: id, type, project, cause.
    pub(crate) fn letters_of(all: &[(&str, &str, &str, &str)]) -> Letters {
        let records = all.iter().zip(0..).map(|((id, event_type, project, cause), at)| {
            let at = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(at);
            let mut headers = Letter { cause: (*cause).to_owned(), at, ..letter(id, 1) }.to_headers();
            headers.push(("ce_type".to_owned(), (*event_type).to_owned()));
            headers.push(("ce_subject".to_owned(), (*project).to_owned()));
            record(&headers)
        });
        Letters::fold(records.collect())
    }

    #[test]
    fn a_letter_is_open_until_its_outcome() {
        let letters = Letters::fold(vec![
            record(&letter("a1", 5).to_headers()),
            record(&letter("b2", 1).to_headers()),
            outcome("a1", OutcomeKind::Discarded),
        ]);
        assert_eq!(letters.find("a").unwrap().state, State::Discarded);
        assert_eq!(letters.find("b2").unwrap().state, State::Open);
        assert!(letters.find_open("a1").unwrap_err().to_string().contains("discarded by someone already: known bug"));
    }

    #[test]
    fn a_failed_replay_updates_the_attempts_and_stays_open() {
        let letters = Letters::fold(vec![record(&letter("a1", 5).to_headers()), record(&letter("a1", 6).to_headers())]);
        let found = letters.find("a1").unwrap();
        assert_eq!((found.letter.attempts, found.state), (6, State::Open));
    }

    #[test]
    fn ids_may_be_shortened_but_not_ambiguous() {
        let letters =
            Letters::fold(vec![record(&letter("ab1", 1).to_headers()), record(&letter("ab2", 1).to_headers())]);
        assert!(letters.find("ab").unwrap_err().to_string().contains("2 dead letters"));
        assert!(letters.find("x").unwrap_err().to_string().contains("ctms dlq list"));
        assert_eq!(letters.find("ab2").unwrap().letter.letter_id, "ab2");
    }
}
