//! What a record is, case by case: sequenced events, plain starts, replays, skip markers, and every kind of malformed record.

use std::borrow::Cow;

use contracts::Malformed;
use contracts::control::{Decision, SKIP};
use contracts::envelope::CloudEvent;
use contracts::inbound::{Inbound, Origin, RecordView, classify, pool_key};
use time::macros::datetime;

const EVENTS: &str = "ctms.project.events.v1";
const RETRY: &str = "ctms.project.events.v1.epro-srv.retry";
const START: &str = r#"{"projectId":"P-1","startTime":1700000000,"unknown":true}"#;

struct Record {
    topic: &'static str,
    key: Option<&'static str>,
    value: Option<&'static str>,
    headers: Vec<(String, String)>,
}

impl Record {
    /// The third event of project P-1, as project-srv writes it.
    fn sequenced() -> Self {
        let event = CloudEvent {
            id: "e-3".to_owned(),
            source: "ctms/project-srv".to_owned(),
            event_type: "ProjectStarted".to_owned(),
            time: Some(datetime!(2026-01-02 03:04:05.678 UTC)),
            subject: "P-1".to_owned(),
            sequence: Some(3),
            stream_epoch: 0,
            partition_key: "P-1".to_owned(),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        };
        Self { topic: EVENTS, key: Some("P-1"), value: Some(START), headers: event.to_headers() }
    }

    fn plain(value: &'static str) -> Self {
        Self { topic: EVENTS, key: Some("1700000000123456789"), value: Some(value), headers: Vec::new() }
    }

    fn on(mut self, topic: &'static str) -> Self {
        self.topic = topic;
        self
    }

    fn value(mut self, value: Option<&'static str>) -> Self {
        self.value = value;
        self
    }

    fn key(mut self, key: Option<&'static str>) -> Self {
        self.key = key;
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self
    }

    fn with(self, name: &str, value: &str) -> Self {
        let mut record = self.without(name);
        record.headers.push((name.to_owned(), value.to_owned()));
        record
    }

    fn marked(mut self, headers: Vec<(String, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    fn view<T>(&self, look: impl FnOnce(&RecordView<'_>) -> T) -> T {
        let header = |name: &str| {
            let found = self.headers.iter().rev().find(|(header, _)| header == name);
            found.map(|(_, value)| value.as_bytes())
        };
        look(&RecordView {
            topic: self.topic,
            partition: 4,
            offset: 17,
            key: self.key.map(str::as_bytes),
            value: self.value.map(str::as_bytes),
            headers: &header,
        })
    }

    fn classify(&self) -> Result<Inbound, Malformed> {
        self.view(classify)
    }

    fn pool_key(&self) -> String {
        let bytes = self.view(|record| pool_key(record).into_owned());
        String::from_utf8(bytes).expect("keys here are text")
    }
}

fn decision() -> Decision {
    Decision { letter_id: "letter-1".to_owned(), by: "ada".to_owned(), why: "typo".to_owned() }
}

#[test]
fn a_sequenced_event_has_its_place_and_its_payload() {
    let inbound = Record::sequenced().classify().unwrap();
    assert_eq!(inbound.origin, Origin::CloudEvent);
    assert_eq!((inbound.id.as_str(), inbound.source.as_str()), ("e-3", "ctms/project-srv"));
    assert_eq!((inbound.stream_id.as_str(), inbound.stream_epoch, inbound.sequence), ("P-1", 0, Some(3)));
    assert_eq!(inbound.time, Some(datetime!(2026-01-02 03:04:05.678 UTC)));
    assert!(inbound.traceparent.is_some() && inbound.replay.is_none());
    let event = inbound.decode(START.as_bytes()).unwrap().unwrap();
    assert_eq!(event.event_type(), "ProjectStarted");
}

#[test]
fn a_sequenced_record_of_any_type_or_payload_keeps_its_number() {
    let unknown = Record::sequenced().with("ce_type", "ProjectRenamed").value(None);
    let inbound = unknown.classify().unwrap();
    assert_eq!(inbound.sequence, Some(3));
    assert_eq!(inbound.decode(b""), Ok(None));

    let broken = Record::sequenced().value(Some("{")).classify().unwrap();
    assert_eq!(broken.sequence, Some(3));
    assert!(broken.decode(b"{").is_err());

    let other = r#"{"projectId":"P-2","startTime":1}"#;
    let error = broken.decode(other.as_bytes()).unwrap_err();
    assert_eq!(error.reason(), r#"the value is about project "P-2", the envelope about "P-1""#);
}

#[test]
fn a_plain_start_counts_once_per_project() {
    let first = Record::plain(START).classify().unwrap();
    assert_eq!(first.origin, Origin::Foreign);
    assert_eq!((first.source.as_str(), first.sequence), ("foreign", None));
    assert_eq!((first.event_type.as_str(), first.stream_id.as_str()), ("ProjectStarted", "P-1"));

    let again = Record::plain(r#"{"projectId":"P-1","startTime":1800000000}"#);
    assert_eq!(again.classify().unwrap().id, first.id);
    let other = Record::plain(r#"{"projectId":"P-2","startTime":1700000000}"#);
    assert_ne!(other.classify().unwrap().id, first.id);
}

#[test]
fn a_cloud_event_start_without_a_number_counts_as_plain() {
    let inbound = Record::sequenced().without("ce_sequence").classify().unwrap();
    assert_eq!((inbound.origin, inbound.sequence), (Origin::Foreign, None));
    assert_eq!(inbound.id, "e-3");
}

#[test]
fn a_broken_trace_context_is_ignored() {
    let record = Record::sequenced().with("traceparent", "00-zz");
    assert_eq!(record.classify().unwrap().traceparent, None);
}

#[test]
fn a_replay_counts_only_on_a_retry_topic() {
    let replay = Record::sequenced().marked(decision().replay_headers());
    assert_eq!(replay.classify().unwrap().replay, None);
    let replay = replay.on(RETRY);
    assert_eq!(replay.classify().unwrap().replay, Some(decision()));
    let refill = Record::sequenced().on(RETRY).classify().unwrap();
    assert_eq!(refill.replay, None, "a republished event is no replay");
    let plain = Record::plain(START).on(RETRY).marked(decision().replay_headers());
    assert_eq!(plain.classify().unwrap().replay, Some(decision()));
}

#[test]
fn a_skip_marker_stands_for_a_number_whatever_its_value() {
    for value in [None, Some(""), Some("{")] {
        let marker = Record::sequenced().on(RETRY).value(value).marked(decision().skip_headers());
        let inbound = marker.classify().unwrap();
        assert_eq!(inbound.origin, Origin::Skip(decision()));
        assert_eq!((inbound.stream_id.as_str(), inbound.sequence), ("P-1", Some(3)));
        assert_eq!(inbound.decode(b"{"), Ok(None));
        assert_eq!(marker.pool_key(), "P-1");
    }
    let bare = Record::sequenced().on(RETRY).marked(decision().skip_headers()).without("ce_type").without("ce_id");
    let inbound = bare.classify().unwrap();
    assert_eq!((inbound.id.as_str(), inbound.event_type.as_str()), ("letter-1", "Skip"));
}

#[test]
fn malformed_records_say_why() {
    let sequenced = Record::sequenced;
    let skip = || sequenced().on(RETRY).marked(decision().skip_headers());
    let long = "x".repeat(257);
    let cases = [
        (sequenced().without("ce_id"), "ce_id is missing"),
        (sequenced().with("ce_id", ""), "ce_id is empty"),
        (sequenced().with("ce_id", &long), "ce_id has 257 bytes"),
        (sequenced().without("ce_source"), "ce_source is missing"),
        (sequenced().without("ce_subject"), "ce_subject is missing"),
        (sequenced().with("ce_subject", "a b"), "ce_subject is \"a b\""),
        (sequenced().without("ce_specversion"), "ce_specversion is missing"),
        (sequenced().with("ce_specversion", "0.3"), "ce_specversion is \"0.3\", not \"1.0\""),
        (sequenced().with("ce_time", "now"), "ce_time is \"now\""),
        (sequenced().with("ce_sequence", "0"), "ce_sequence is \"0\", not a whole number from 1"),
        (sequenced().with("ce_sequence", "x"), "ce_sequence is \"x\""),
        (sequenced().with("ce_sequence", "9223372036854775808"), "ce_sequence is"),
        (sequenced().with("ce_type", "SiteActivated").without("ce_sequence"), "ce_sequence is missing"),
        (sequenced().without("ce_streamepoch"), "ce_streamepoch is missing"),
        (sequenced().with("ce_streamepoch", "-1"), "ce_streamepoch is \"-1\""),
        (sequenced().with("content-type", "text/xml"), "content-type is \"text/xml\""),
        (sequenced().without("ce_sequence").value(Some("{}")), "no plain start"),
        (sequenced().with(SKIP, "letter-1"), "ctms_skip counts only on a retry topic"),
        (skip().without("ce_sequence"), "ce_sequence is missing"),
        (skip().without("ce_subject"), "ce_subject is missing"),
        (skip().without("ce_streamepoch"), "ce_streamepoch is missing"),
        (Record::plain("").value(None), "neither an envelope (ce_type) nor a value"),
        (Record::plain(""), "EOF"),
        (Record::plain("hello"), "expected value"),
        (Record::plain("[]"), "no plain start"),
        (Record::plain(r#"{"projectId":"P-1"}"#), "missing field `startTime`"),
        (Record::plain(r#"{"startTime":1}"#), "missing field `projectId`"),
        (Record::plain(r#"{"projectId":"P-1","startTime":"1"}"#), "invalid type"),
        (Record::plain(r#"{"projectId":1,"startTime":1}"#), "invalid type"),
    ];
    for (record, reason) in cases {
        let error = record.classify().expect_err(reason);
        assert!(error.reason().contains(reason), "{reason:?}: {error}");
    }
}

#[test]
fn bytes_that_are_no_text_are_malformed() {
    let not_text: &[u8] = &[0xff, 0xfe];
    let header = |name: &str| (name == "ce_type" || name == "ce_specversion").then_some(not_text);
    let record =
        RecordView { topic: EVENTS, partition: 0, offset: 0, key: None, value: Some(not_text), headers: &header };
    assert!(classify(&record).unwrap_err().reason().contains("ce_specversion is not UTF-8"));
    let plain = RecordView { headers: &|_| None, ..record };
    assert!(classify(&plain).is_err());
    assert_eq!(pool_key(&plain), Cow::<[u8]>::Owned(b"0/0".to_vec()));
}

#[test]
fn the_pool_key_is_the_project_wherever_the_record_tells_it() {
    assert_eq!(Record::sequenced().key(Some("other")).pool_key(), "P-1");
    let without = Record::sequenced().without("ce_partitionkey");
    assert_eq!(without.key(Some("by-key")).pool_key(), "by-key");
    assert_eq!(Record::plain(START).pool_key(), "P-1");
    assert_eq!(Record::plain("{").pool_key(), "1700000000123456789");
    assert_eq!(Record::plain("{").key(None).pool_key(), "4/17");
}
