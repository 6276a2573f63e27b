//! What operators do on a running cluster: decide about many dead letters at once, and give up a number whose event exists nowhere.
#![allow(clippy::unwrap_used, reason = "a test ends where its world is not as it should be")]

mod common;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

use common::ctms;
use contracts::{envelope::CloudEvent, topics::PROJECT_EVENTS};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// `ctms dev` in a folder of its own; killed at the end.
struct Dev {
    folder: tempfile::TempDir,
    process: Child,
    brokers: String,
}

impl Dev {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["dev", "--data", "data", "--kafka-port", "0", "--grpc-port", "0", "--admin-port", "0"];
        let mut process = ctms(folder.path(), &arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let line = lines.find(|line| line.trim_start().starts_with("kafka ")).expect("dev names its broker");
        let brokers = line.split_whitespace().nth(1).unwrap().to_owned();
        // Its log of events goes on: read on, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { folder, process, brokers }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        ctms(self.folder.path(), arguments).output().unwrap()
    }

    /// The last line of a command about the broker, as JSON.
    fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json", "--kafka-brokers", &self.brokers]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().last().unwrap_or_else(|| panic!("{arguments:?} says nothing: {output:?}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn open_letters(&self) -> usize {
        self.ask(&["dlq", "list"])["letters"].as_array().unwrap().len()
    }

    fn send(&self, payloads: &[&[u8]], headers: &[(String, String)]) {
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap();
        for payload in payloads {
            let headers = headers
                .iter()
                .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
            producer.send(BaseRecord::to(PROJECT_EVENTS).key("P-9").payload(*payload).headers(headers)).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn many_letters_are_looked_at_confirmed_and_discarded_at_once() {
    let dev = Dev::start();
    dev.send(&[b"{one", b"{two"], &[]);
    until("each service has its two letters", || dev.open_letters() == 6);

    let looked = dev.ask(&["dlq", "discard", "--all", "--why", "test data", "--dry-run", "--limit", "4"]);
    assert_eq!((&looked["ok"], &looked["left"]), (&true.into(), &2.into()), "{looked}");
    assert_eq!(looked["letter_ids"].as_array().unwrap().len(), 4);
    let unconfirmed = dev.ask(&["dlq", "discard", "--group", "epro-srv", "--why", "test data"]);
    assert_eq!(unconfirmed["ok"], false);
    assert!(unconfirmed["error"].as_str().unwrap().contains("2 dead letters match"), "{unconfirmed}");
    assert_eq!(dev.open_letters(), 6, "nothing was sent");

    let sent = dev.ask(&["dlq", "discard", "--group", "epro-srv", "--why", "test data", "--yes"]);
    assert_eq!((&sent["sent"], &sent["count"]), (&"discard".into(), &2.into()), "{sent}");
    until("they are closed", || dev.open_letters() == 4);
    let none = dev.ask(&["dlq", "replay", "--reason", "no such cause", "--why", "x", "--yes"]);
    assert!(none["error"].as_str().unwrap().contains("no open dead letter matches"), "{none}");
    dev.ask(&["dlq", "discard", "--all", "--why", "test data", "--yes"]);
    until("all are closed", || dev.open_letters() == 0);
}

#[test]
fn a_number_whose_event_exists_nowhere_is_given_up() {
    let dev = Dev::start();
    let second = CloudEvent {
        id: "P-9-2".to_owned(),
        source: "ctms/project-srv".to_owned(),
        event_type: "SomethingHappened".to_owned(),
        time: Some(time::OffsetDateTime::UNIX_EPOCH),
        subject: "P-9".to_owned(),
        sequence: Some(2),
        stream_epoch: 0,
        partition_key: "P-9".to_owned(),
        traceparent: None,
    };
    dev.send(&[b"{}"], &second.to_headers());
    let database = ["--database", "sqlite://data/epro/epro.db"];
    let gaps = || dev.ask(&[&["gate", "gaps"][..], &database].concat())["gaps"].clone();
    until("the gap shows", || gaps().as_array().is_some_and(|gaps| gaps.len() == 1));
    assert_eq!((&gaps()[0]["project"], &gaps()[0]["number"]), (&"P-9".into(), &1.into()));

    let skip = |more: &[&str]| {
        let producer = ["--producer", "sqlite://data/project/project.db"];
        let skip = ["gate", "skip", "--project", "P-9", "--group", "epro-srv", "--why", "lost with its database"];
        dev.ask(&[&skip[..], &producer, &database, more].concat())
    };
    let wrong = skip(&["--number", "7", "--yes"]);
    assert!(wrong["error"].as_str().unwrap().contains("waits for number 1, not for 7"), "{wrong}");
    let unconfirmed = skip(&["--number", "1"]);
    assert!(unconfirmed["error"].as_str().unwrap().contains("--yes"), "{unconfirmed}");
    assert_eq!(skip(&["--number", "1", "--yes"])["ok"], true);
    assert_eq!(gaps(), serde_json::json!([]));
    let all = dev.ask(&["dlq", "list", "--all"]);
    let letter = &all["letters"][0];
    assert_eq!(
        (&letter["state"], &letter["ended_why"]),
        (&"discarded".into(), &"lost with its database".into()),
        "{all}"
    );
}
