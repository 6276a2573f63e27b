//! Dead letters as text and as JSON.

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::{invocation, output};

use super::letters::{FoldedLetter, State};

/// A list, one letter a line.
pub(super) fn list(letters: &[&FoldedLetter], with_ended: bool, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::json(&json!({ "letters": letters.iter().map(|letter| value(letter)).collect::<Vec<_>>() }));
    }
    if letters.is_empty() {
        output::line(if with_ended { "no dead letters" } else { "no open dead letters" });
        return Ok(());
    }
    output::line(&format!(
        "{:<36} {:<10} {:<12} {:<22} {:>8}  {}",
        "LETTER", "STATE", "GROUP", "EVENT", "ATTEMPTS", "CAUSE"
    ));
    for letter in letters {
        let event = letter.header("ce_type").unwrap_or_else(|| "(plain record)".to_owned());
        output::line(&format!(
            "{:<36} {:<10} {:<12} {event:<22} {:>8}  {}",
            letter.letter.letter_id,
            state(letter.state),
            letter.letter.group,
            letter.letter.attempts,
            letter.letter.cause
        ));
    }
    if letters.iter().any(|letter| letter.state == State::Open) {
        let next = "\nctms dlq show ID    ctms dlq replay ID --why …    ctms dlq discard ID --why …";
        output::line(&invocation::as_called(next));
    }
    Ok(())
}

/// One letter with everything that is known.
pub(super) fn one(letter: &FoldedLetter, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::json(&value(letter));
    }
    let origin = &letter.letter;
    output::line(&format!("letter    {}", origin.letter_id));
    output::line(&format!("state     {}", state(letter.state)));
    if letter.state != State::Open {
        output::line(&format!("ended by  {}: {}", letter.ended_by, letter.ended_why));
    }
    output::line(&format!("group     {}", origin.group));
    output::line(&format!("from      {}[{}]@{}", origin.topic, origin.partition, origin.offset));
    output::line(&format!("cause     {}", origin.cause));
    output::line(&format!("attempts  {}", origin.attempts));
    output::line(&format!("at        {}", origin.at.format(&Rfc3339)?));
    if let Some(key) = &letter.key {
        output::line(&format!("key       {}", String::from_utf8_lossy(key)));
    }
    for (name, value) in &letter.headers {
        output::line(&format!("header    {name}: {}", String::from_utf8_lossy(value)));
    }
    match &letter.payload {
        Some(payload) => output::line(&format!("payload   {}", String::from_utf8_lossy(payload))),
        None => output::line("payload   none"),
    }
    Ok(())
}

fn value(letter: &FoldedLetter) -> Value {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let headers: serde_json::Map<_, _> =
        letter.headers.iter().map(|(name, value)| (name.clone(), text(value).into())).collect();
    json!({
        "letter_id": letter.letter.letter_id,
        "state": letter.state,
        "group": letter.letter.group,
        "topic": letter.letter.topic,
        "partition": letter.letter.partition,
        "offset": letter.letter.offset,
        "cause": letter.letter.cause,
        "attempts": letter.letter.attempts,
        "at_unix_s": letter.letter.at.unix_timestamp(),
        "ended_by": letter.ended_by,
        "ended_why": letter.ended_why,
        "key": letter.key.as_ref().map(text),
        "headers": headers,
        "payload": letter.payload.as_ref().map(text),
    })
}

fn state(state: State) -> &'static str {
    match state {
        State::Open => "open",
        State::Replayed => "replayed",
        State::Discarded => "discarded",
    }
}
