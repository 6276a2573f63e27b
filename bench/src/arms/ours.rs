//! kafka-worker-pool as a service would use it: order by key, contiguous commits, its defaults but for the number of handlers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use kafka_worker_pool::{
    Backoff, Builder, Handle, Handler, HandlerError, KafkaWorkerPool, Options, Order, Record, blocking,
};
use tokio::{
    runtime::{self, Runtime},
    signal::unix::{SignalKind, signal},
};

use super::{ArmOptions, Handling, Payload, Reading, Workload};

pub(super) fn run(options: &ArmOptions, is_blocking: bool) -> Result<Reading> {
    let handling = Handling::new(if is_blocking { "ours-blocking" } else { "ours" }, options)?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().context("cannot start tokio")?;
    let inside = runtime.enter();
    let builder =
        KafkaWorkerPool::builder(&options.brokers, &options.group).topics([&options.topic]).options(tuning(options));
    let pool = start(builder, &handling, is_blocking)?;
    drop(inside);
    let stop_asked = stop_asked(&runtime)?;
    let mut is_stopping = false;
    let reading = handling.meter.watch(|| {
        is_stopping = stop_asked.is_finished();
        is_stopping.then(|| "SIGTERM".to_owned())
    });
    if is_stopping {
        let report = runtime.block_on(pool.stop()).context("the pool did not stop in order")?;
        println!("{report:?}");
        std::process::exit(0);
    }
    reading
}

/// The handler that fits the workload: one that never waits pays for no timer.
fn start(builder: Builder<()>, handling: &Arc<Handling>, is_blocking: bool) -> Result<Handle> {
    if is_blocking {
        let handling = Arc::clone(handling);
        let pool = builder.handler(blocking(move |record: Record| block(&handling, &record))).start();
        return pool.context("cannot start the pool");
    }
    let pool = match handling.options.workload {
        Workload::Noop | Workload::Paced | Workload::Cpu20us if handling.options.log.is_none() => {
            builder.handler(Instant(Arc::clone(handling))).start()
        }
        _ => builder.handler(Waiting { handling: Arc::clone(handling), failures: Mutex::default() }).start(),
    };
    pool.context("cannot start the pool")
}

fn tuning(options: &ArmOptions) -> Options {
    let mut tuning = Options::default();
    tuning.workers = options.concurrency;
    tuning.order = Order::Key;
    tuning.session_timeout_ms = options.session_ms;
    // As the peers wait in the workload with failures.
    tuning.backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
    tuning
}

/// Ends at the first SIGTERM.
fn stop_asked(runtime: &Runtime) -> Result<tokio::task::JoinHandle<()>> {
    let _inside = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(runtime.spawn(async move {
        terminate.recv().await;
    }))
}

/// Work that holds its thread.
fn block(handling: &Handling, record: &Record) -> Result<(), HandlerError> {
    handling.meter.begin();
    let payload = read(record)?;
    handling.spin(&payload);
    if let Some(sleep) = handling.options.workload.sleep(&payload) {
        std::thread::sleep(sleep);
    }
    handling.meter.done(&payload);
    Ok(())
}

/// Work that never waits.
struct Instant(Arc<Handling>);

impl Handler for Instant {
    async fn handle(&self, batch: &[Record]) -> Result<(), HandlerError> {
        for record in batch {
            self.0.meter.begin();
            let payload = read(record)?;
            self.0.spin(&payload);
            self.0.meter.done(&payload);
        }
        Ok(())
    }
}

/// Work that may sleep, fail and be logged.
struct Waiting {
    handling: Arc<Handling>,
    /// How often the records that fail have failed.
    failures: Mutex<HashMap<u64, u32>>,
}

impl Handler for Waiting {
    async fn handle(&self, batch: &[Record]) -> Result<(), HandlerError> {
        for record in batch {
            self.handling.meter.begin();
            let payload = read(record)?;
            let failed = if self.handling.options.workload.fails_twice(&payload) { self.failed(payload.id) } else { 0 };
            if let Err(failure) = self.handling.apply(&payload, failed).await {
                self.count_failure(payload.id);
                return Err(HandlerError::retry(failure));
            }
            self.handling.meter.done(&payload);
        }
        Ok(())
    }
}

impl Waiting {
    fn failed(&self, id: u64) -> u32 {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().unwrap_or_default()
    }

    fn count_failure(&self, id: u64) {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default() += 1;
    }
}

fn read(record: &Record) -> Result<Payload, HandlerError> {
    record.value.as_deref().and_then(Payload::read).ok_or_else(|| HandlerError::reject("no record of the benchmarks"))
}
