//! The counters of all pools of a test process, as an operator would read them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

/// By name and pool.
type Counts = HashMap<(String, String), Arc<AtomicU64>>;

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Counts>>);

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let pool = key.labels().find(|label| label.key() == "pool").map_or("", |label| label.value());
        let place = (key.name().to_owned(), pool.to_owned());
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(place).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

static RECORDER: OnceLock<Recorder> = OnceLock::new();

/// Counts from now on. To be called before a pool starts.
pub fn install() {
    RECORDER.get_or_init(|| {
        let recorder = Recorder::default();
        metrics::set_global_recorder(recorder.clone()).map_err(|_| "a process has one recorder").unwrap();
        recorder
    });
}

/// What a counter of a pool says.
pub fn count(name: &str, pool: &str) -> u64 {
    let recorder = RECORDER.get().expect("install comes first");
    let counts = recorder.0.lock().unwrap();
    counts.get(&(name.to_owned(), pool.to_owned())).map_or(0, |count| count.load(Ordering::Relaxed))
}
