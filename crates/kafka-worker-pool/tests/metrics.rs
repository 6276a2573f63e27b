//! The table of metrics is what a pool registers, no more and no less; the dashboard shows what is in the table.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::{Broker, Recorder, eventually, ready};
use kafka_worker_pool::{AdaptiveConcurrency, GroupProtocol, HandlerError, blocking_batches};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

/// What a metric is: its type, and the names of its labels.
type Shape = (&'static str, BTreeSet<String>);

/// Remembers what was registered.
#[derive(Clone, Default)]
struct Registrar(Arc<Mutex<BTreeMap<String, Shape>>>);

impl Registrar {
    fn note(&self, kind: &'static str, key: &Key) {
        let labels: BTreeSet<String> = key.labels().map(|label| label.key().to_owned()).collect();
        let mut seen = self.0.lock().unwrap();
        let before = seen.insert(key.name().to_owned(), (kind, labels.clone()));
        assert!(before.is_none_or(|before| before == (kind, labels)), "{} has two shapes", key.name());
    }
}

impl metrics::Recorder for Registrar {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.note("counter", key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.note("gauge", key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.note("histogram", key);
        Histogram::noop()
    }
}

fn table() -> BTreeMap<String, Shape> {
    let mut table = BTreeMap::new();
    for line in include_str!("../docs/metrics.md").lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{line}");
        let kind = ["counter", "gauge", "histogram"].into_iter().find(|kind| *kind == cells[1]);
        let labels = cells[3].split(',').map(|label| label.trim().to_owned()).collect();
        let shape = (kind.unwrap_or_else(|| panic!("{line}: no type")), labels);
        assert!(table.insert(cells[0].trim_matches('`').to_owned(), shape).is_none(), "{line}: twice");
    }
    table
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_is_what_a_pool_registers_on_the_embedded_broker() {
    static SEEN: OnceLock<Registrar> = OnceLock::new();
    let seen = SEEN.get_or_init(Registrar::default);
    metrics::set_global_recorder(seen.clone()).map_err(|_| "this process has one recorder").unwrap();
    let broker = Broker::embedded(GroupProtocol::Consumer);
    let topic = broker.topic(2).await;
    broker.create(&format!("{topic}.{}.dlq", broker.group), 1).await;
    broker.send(&topic, 0..100, 10).await;
    let recorder = Recorder::new(Duration::ZERO, |number, _| match number {
        7 => Err(HandlerError::reject("planned")),
        _ => Ok(()),
    });
    // What is registered only where it is asked for.
    let mut options = broker.options();
    options.adaptive = Some(AdaptiveConcurrency::default());
    let handler = blocking_batches(recorder.clone());
    let pool = broker.pool(&topic).options(options).handler(handler).start().unwrap();
    ready(&pool).await;
    recorder.until(99).await;
    let expected = table();
    let shown = |name: &str| seen.0.lock().unwrap().contains_key(name);
    // Those two are registered when they first have something to say.
    eventually("the lag and a commit are told", || {
        shown("kafka_worker_pool_lag") && shown("kafka_worker_pool_commits_total")
    })
    .await;
    pool.stop().await.unwrap();
    let registered = seen.0.lock().unwrap().clone();
    for (name, shape) in &registered {
        assert_eq!(expected.get(name), Some(shape), "{name} is not so in docs/metrics.md");
    }
    let never: Vec<&String> = expected.keys().filter(|name| !registered.contains_key(*name)).collect();
    assert!(never.is_empty(), "in docs/metrics.md, and never registered: {never:?}");
}

#[test]
fn the_dashboard_shows_the_table() {
    let dashboard = include_str!("../../../deploy/grafana/worker-pool.json");
    let parsed: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    assert!(parsed["panels"].as_array().is_some_and(|panels| !panels.is_empty()));
    let is_of_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let table = table();
    let mut shown = BTreeSet::new();
    for word in dashboard.split(|letter| !is_of_name(letter)).filter(|word| word.contains("worker_pool_")) {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|ending| word.strip_suffix(ending));
        let name = of_histogram.unwrap_or(word);
        let (kind, _) = table.get(name).unwrap_or_else(|| panic!("{word} is no metric of docs/metrics.md"));
        assert_eq!(*kind == "histogram", of_histogram.is_some(), "{word} is read as what it is not");
        shown.insert(name.to_owned());
    }
    let missing: Vec<&String> = table.keys().filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "not on the dashboard: {missing:?}");
}
