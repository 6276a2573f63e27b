//! As many tokio tasks as handlers, each looping on the timer of the workload, with no Kafka at all: what a pool of sleeping handlers could
//! reach if everything else were free.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use tokio::{runtime, task::JoinSet};

use super::{ArmOptions, Handling, Payload, Reading};

pub(super) fn run(options: &ArmOptions) -> Result<Reading> {
    let handling = Handling::new("bare", options)?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().context("cannot start tokio")?;
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..options.concurrency {
        let (handling, next) = (Arc::clone(&handling), Arc::clone(&next));
        tasks.spawn_on(
            async move {
                loop {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let payload = Payload { id, produced_ns: 0, sequence: 0, key: id };
                    handling.meter.begin();
                    if handling.apply(&payload, 0).await.is_ok() {
                        handling.meter.done(&payload);
                    }
                }
            },
            runtime.handle(),
        );
    }
    handling.meter.watch(|| None)
}
