//! The law of headers: what is written is read back the same, for envelopes, letters, outcomes and decisions.

use contracts::control::{Decision, Letter, Outcome, OutcomeKind, record_letter_id, stream_letter_id};
use contracts::envelope::CloudEvent;
use proptest::option;
use proptest::prelude::*;
use time::OffsetDateTime;

fn lookup<'a>(headers: &'a [(String, String)]) -> impl Fn(&str) -> Option<&'a [u8]> {
    move |name| {
        let found = headers.iter().rev().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_bytes())
    }
}

fn attribute() -> impl Strategy<Value = String> {
    "[A-Za-z0-9./ äöß:-]{1,60}"
}

/// Any time that RFC 3339 can write, to the nanosecond.
fn any_time() -> impl Strategy<Value = OffsetDateTime> {
    (-62_167_219_200_i64..=253_402_300_799, 0_i128..1_000_000_000).prop_map(|(seconds, nanos)| {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(seconds) * 1_000_000_000 + nanos)
            .expect("within the years 0 to 9999")
    })
}

prop_compose! {
    fn event()(
        id in attribute(), source in attribute(), event_type in attribute(), subject in attribute(),
        partition_key in attribute(), time in option::of(any_time()), sequence in option::of(1..=i64::MAX),
        stream_epoch in 0..=i64::MAX,
        traceparent in option::of("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]"),
    ) -> CloudEvent {
        CloudEvent { id, source, event_type, time, subject, sequence, stream_epoch, partition_key, traceparent }
    }
}

prop_compose! {
    fn decision()(letter_id in attribute(), by in "[^\\x00]{0,40}", why in "[^\\x00]{0,40}") -> Decision {
        Decision { letter_id, by, why }
    }
}

proptest! {
    #[test]
    fn an_envelope_comes_back_as_it_was(event in event()) {
        let headers = event.to_headers();
        prop_assert_eq!(CloudEvent::from_headers(&lookup(&headers)), Ok(event));
    }

    #[test]
    fn a_letter_comes_back_as_it_was(
        letter_id in attribute(), cause in "[^\\x00]{0,200}", attempts in any::<u32>(), group in attribute(),
        topic in attribute(), partition in 0..=i32::MAX, offset in 0..=i64::MAX, at in any_time(),
    ) {
        let letter = Letter { letter_id, cause, attempts, group, topic, partition, offset, at };
        let headers = letter.to_headers();
        prop_assert_eq!(Letter::from_headers(&lookup(&headers)), Ok(letter.clone()));
        prop_assert_eq!(Outcome::from_headers(&lookup(&headers)), Ok(None), "a letter is no outcome");
    }

    #[test]
    fn an_outcome_comes_back_as_it_was(decision in decision(), discarded in any::<bool>(), at in any_time()) {
        let kind = if discarded { OutcomeKind::Discarded } else { OutcomeKind::Replayed };
        let outcome = Outcome { kind, decision, at };
        let headers = outcome.to_headers();
        prop_assert_eq!(Outcome::from_headers(&lookup(&headers)), Ok(Some(outcome)));
    }
}

#[test]
fn an_endless_cause_is_cut_between_characters() {
    let letter = Letter {
        letter_id: "l".to_owned(),
        cause: "ä".repeat(5000),
        attempts: 1,
        group: "g".to_owned(),
        topic: "t".to_owned(),
        partition: 0,
        offset: 0,
        at: OffsetDateTime::UNIX_EPOCH,
    };
    let headers = letter.to_headers();
    let back = Letter::from_headers(&lookup(&headers)).unwrap();
    assert_eq!(back.cause, "ä".repeat(2048));
}

#[test]
fn a_record_has_one_letter_per_group_however_often_it_is_read() {
    let of = |group, sequence| stream_letter_id(group, "ctms/project-srv", "P-1", 0, sequence);
    assert_eq!(of("epro-srv", 3), of("epro-srv", 3));
    assert_ne!(of("epro-srv", 3), of("epro-srv", 4));
    assert_ne!(of("epro-srv", 3), of("finance-srv", 3));

    let at = |offset, value| record_letter_id("epro-srv", "t", 0, offset, Some(value));
    assert_eq!(at(7, b"{"), at(7, b"{"));
    assert_ne!(at(7, b"{"), at(8, b"{"));
    assert_ne!(at(7, b"{"), at(7, b"["), "the topic was made anew");
}

/// PostgreSQL's text cannot hold U+0000: an attribute with it is malformed, and free text goes on without it.
#[test]
fn a_nul_never_reaches_a_database() {
    let headers: Vec<(String, String)> = [("ctms_letter_id", "l"), ("ctms_outcome", "replayed"), ("ctms_by", "a\0b")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .chain([("ctms_at".to_owned(), "2026-01-01T00:00:00Z".to_owned())])
        .collect();
    let outcome = Outcome::from_headers(&lookup(&headers)).unwrap().unwrap();
    assert_eq!(outcome.decision.by, "a\u{fffd}b");
    let headers = [("ctms_letter_id".to_owned(), "l\0".to_owned()), ("ctms_outcome".to_owned(), "replayed".to_owned())];
    let error = Outcome::from_headers(&lookup(&headers)).unwrap_err().to_string();
    assert!(error.contains("ctms_letter_id holds U+0000"), "{error}");
}
