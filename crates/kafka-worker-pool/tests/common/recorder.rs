//! A handler that remembers what it saw and answers as it was told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_worker_pool::{BlockingHandler, Handler, HandlerError, Record};

use super::eventually;

/// One call of the handler for one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub key: String,
    pub number: u64,
    pub partition: i32,
    pub offset: i64,
}

/// What to answer a record, by its number and how often it was tried before.
type Verdict = dyn Fn(u64, u32) -> Result<(), HandlerError> + Send + Sync;

/// Remembers every record it applied, in order, and checks that no two of one key run at once.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    done: Mutex<Vec<Seen>>,
    tries: Mutex<HashMap<u64, u32>>,
    running: Mutex<HashMap<String, u64>>,
    verdict: Box<Verdict>,
    work: Duration,
}

impl Recorder {
    pub fn new(work: Duration, verdict: impl Fn(u64, u32) -> Result<(), HandlerError> + Send + Sync + 'static) -> Self {
        Self {
            inner: Arc::new(Inner {
                done: Mutex::default(),
                tries: Mutex::default(),
                running: Mutex::default(),
                verdict: Box::new(verdict),
                work,
            }),
        }
    }

    pub fn that_succeeds() -> Self {
        Self::new(Duration::ZERO, |_, _| Ok(()))
    }

    pub fn done(&self) -> Vec<Seen> {
        self.inner.done.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.inner.done.lock().unwrap().len()
    }

    pub fn tries(&self, number: u64) -> u32 {
        self.inner.tries.lock().unwrap().get(&number).copied().unwrap_or(0)
    }

    pub async fn until(&self, count: usize) {
        eventually(&format!("{count} records done"), || self.count() >= count).await;
    }
}

impl Handler for Recorder {
    async fn handle(&self, batch: &[Record]) -> Result<(), HandlerError> {
        let seen = self.begin(batch);
        if !self.inner.work.is_zero() {
            tokio::time::sleep(self.inner.work).await;
        }
        self.end(seen)
    }
}

impl BlockingHandler for Recorder {
    fn handle_blocking(&self, batch: &[Record]) -> Result<(), HandlerError> {
        let seen = self.begin(batch);
        std::thread::sleep(self.inner.work);
        self.end(seen)
    }
}

impl Recorder {
    fn begin(&self, batch: &[Record]) -> Vec<Seen> {
        let seen: Vec<Seen> = batch.iter().map(seen_of).collect();
        for record in &seen {
            let mut running = self.inner.running.lock().unwrap();
            if let Some(other) = running.insert(record.key.clone(), record.number) {
                assert!(
                    seen.iter().any(|mine| mine.number == other),
                    "{} runs while {other} of the same key does",
                    record.number
                );
            }
        }
        seen
    }

    fn end(&self, seen: Vec<Seen>) -> Result<(), HandlerError> {
        for record in &seen {
            self.inner.running.lock().unwrap().remove(&record.key);
        }
        for record in &seen {
            let before = {
                let mut tries = self.inner.tries.lock().unwrap();
                let tries = tries.entry(record.number).or_default();
                *tries += 1;
                *tries - 1
            };
            (self.inner.verdict)(record.number, before)?;
        }
        self.inner.done.lock().unwrap().extend(seen);
        Ok(())
    }
}

fn seen_of(record: &Record) -> Seen {
    let text =
        |bytes: &Option<bytes::Bytes>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    Seen {
        key: text(&record.key),
        number: text(&record.value).parse().unwrap_or(u64::MAX),
        partition: record.partition,
        offset: record.offset,
    }
}
