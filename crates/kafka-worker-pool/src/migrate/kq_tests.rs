//! What becomes of each key of a `kq` configuration, and what is refused.

use std::collections::BTreeSet;

use super::kq::*;
use crate::options::Start;

const EVERY_KEY: &str = "
    Name: orders
    Log: {Mode: console, Level: info}
    Mode: pro
    MetricsUrl: http://127.0.0.1/m
    Prometheus: {Host: 0.0.0.0, Port: 9101}
    Telemetry: {Endpoint: http://127.0.0.1:4317}
    DevServer: {Enabled: true}
    Brokers:
    - 127.0.0.1:9092
    - 127.0.0.2:9092
    Group: billing
    Topic: orders
    CaFile: ca.pem
    Offset: first
    Conns: 2
    Consumers: 4
    Processors: 16
    MinBytes: 1024
    MaxBytes: 2097152
    Username: reader
    Password: secret
    ForceCommit: false
    CommitInOrder: true
";

#[test]
fn every_key_becomes_something_or_is_told_why_not() {
    let kq = read(EVERY_KEY).unwrap();
    assert_eq!((kq.brokers.as_str(), kq.group.as_str()), ("127.0.0.1:9092,127.0.0.2:9092", "billing"));
    assert_eq!((kq.topic.as_str(), kq.options.start, kq.options.workers), ("orders", Start::Earliest, 32));
    assert_eq!(kq.options.client_id.as_deref(), Some("orders"));
    let property = |name: &str| kq.options.client.get(name).map_or("", String::as_str);
    assert_eq!((property("security.protocol"), property("sasl.mechanism")), ("sasl_ssl", "PLAIN"));
    assert_eq!((property("sasl.username"), property("sasl.password")), ("reader", "secret"));
    assert_eq!((property("ssl.ca.location"), property("fetch.min.bytes")), ("ca.pem", "1024"));
    assert_eq!(property("fetch.message.max.bytes"), "2097152");
    let told: BTreeSet<&str> = kq.notes.iter().map(|note| note.key).collect();
    assert_eq!(told, BTreeSet::from(KEYS), "each key is told of");
    let all = kq.notes.iter().map(Note::to_string).collect::<Vec<_>>().join("\n");
    assert!(!all.contains("secret"), "{all}");
}

#[test]
fn defaults_are_kqs_and_not_ours_and_told() {
    let kq = read("{Name: orders, Brokers: [b:1], Group: g, Topic: t}").unwrap();
    assert_eq!((kq.options.start, kq.options.workers), (Start::Latest, 8));
    assert!(kq.options.client.is_empty());
    let notes: Vec<String> = kq.notes.iter().map(Note::to_string).collect();
    assert!(notes.contains(&"Offset: last (kq's default) becomes Options::start = Latest".to_owned()), "{notes:?}");
    assert!(kq.builder().handler(crate::handler::each(|_| async { Ok(()) })).start().is_err(), "no runtime here");
}

#[test]
fn keys_come_in_any_case_as_in_kq() {
    assert_eq!(read("{brokers: [b:1], GROUP: g, topic: t, offset: first}").unwrap().options.start, Start::Earliest);
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let of = |more: &str| read(&format!("{{Brokers: [b:1], Group: g, Topic: t, {more}}}")).unwrap_err().to_string();
    let cases = [
        ("Ofset: first", "\"Ofset\" is no key of kq v1.2.2"),
        ("Offset: middle", "Offset: \"middle\" is not first or last"),
        ("Processors: many", "Processors: \"many\" is not a whole number"),
        ("Processors: -1", "Processors: -1 is not a whole number"),
        ("Name: 12", "Name: 12 is not a text: put it into quotes"),
        ("ForceCommit: 1", "ForceCommit: 1 is not true or false"),
        ("Username: u", "Password is missing"),
        ("Password: p", "Username is missing"),
    ];
    for (more, expected) in cases {
        assert!(of(more).contains(expected), "{more}: {}", of(more));
    }
    for (yaml, expected) in [
        ("{Group: g, Topic: t}", "Brokers is missing"),
        ("{Brokers: [], Group: g, Topic: t}", "Brokers: [] is not a list of host:port"),
        ("{Brokers: [b:1], Topic: t}", "Group is missing"),
        ("- a", "no table of keys"),
        (": :", "no YAML"),
    ] {
        let error = read(yaml).unwrap_err().to_string();
        assert!(error.contains(expected), "{yaml}: {error}");
    }
}
