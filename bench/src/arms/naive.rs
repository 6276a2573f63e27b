//! The pool one writes by hand: `StreamConsumer::recv`, `detach`, a tokio channel of 100, as many tasks as handlers, `store_offset` for each
//! message as it ends. SIGTERM is left at its default: such a loop dies where it stands.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use rdkafka::{
    Message as _,
    consumer::{Consumer as _, StreamConsumer},
    message::OwnedMessage,
};
use tokio::{
    runtime,
    sync::{Mutex, mpsc},
    task::JoinSet,
};

use super::{ArmOptions, Handling, Payload, Reading, client};

/// Room of each channel.
const CHANNEL: usize = 100;
/// How long a failed record waits in its task.
const RETRY_WAIT: Duration = Duration::from_millis(100);

/// How messages reach the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lanes {
    /// One channel, its receiver behind a mutex: no order.
    Shared,
    /// A channel for each task, chosen by the hash of the key: order per key while the process lives.
    Keyed,
}

pub(super) fn run(options: &ArmOptions, lanes: Lanes) -> Result<Reading> {
    let arm = match lanes {
        Lanes::Shared => "naive",
        Lanes::Keyed => "naive-keyed",
    };
    let handling = Handling::new(arm, options)?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().context("cannot start tokio")?;
    let consumer: StreamConsumer = {
        let _inside = runtime.enter();
        client::consumer(options).create().context("cannot make a consumer")?
    };
    consumer.subscribe(&[&options.topic]).context("cannot subscribe")?;
    let receiving = runtime.spawn(receive(Arc::new(consumer), Arc::clone(&handling), lanes));
    handling.meter.watch(|| receiving.is_finished().then(|| "its loop ended".to_owned()))
}

async fn receive(consumer: Arc<StreamConsumer>, handling: Arc<Handling>, lanes: Lanes) {
    // Dropped, and the tasks with it, only at the end of the process.
    let mut tasks = JoinSet::new();
    let mut senders = Vec::new();
    let concurrency = handling.options.concurrency;
    let channels = if lanes == Lanes::Keyed { concurrency } else { 1 };
    for _ in 0..channels {
        let (sender, receiver) = mpsc::channel::<OwnedMessage>(CHANNEL);
        senders.push(sender);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..concurrency / channels {
            let (handling, consumer, receiver) = (Arc::clone(&handling), Arc::clone(&consumer), Arc::clone(&receiver));
            tasks.spawn(async move {
                loop {
                    let message = receiver.lock().await.recv().await;
                    let Some(message) = message else { break };
                    handle(&handling, &consumer, &message).await;
                }
            });
        }
    }
    loop {
        let Ok(message) = consumer.recv().await else { continue };
        let message = message.detach();
        let lane = lane_of(message.key().unwrap_or_default(), senders.len());
        if senders[lane].send(message).await.is_err() {
            return;
        }
    }
}

async fn handle(handling: &Handling, consumer: &StreamConsumer, message: &OwnedMessage) {
    handling.meter.begin();
    let Some(payload) = message.payload().and_then(Payload::read) else { return };
    let mut failed = 0;
    while handling.apply(&payload, failed).await.is_err() {
        failed += 1;
        tokio::time::sleep(RETRY_WAIT).await;
    }
    if let Err(error) = consumer.store_offset(message.topic(), message.partition(), message.offset()) {
        // The partition was taken away meanwhile: whoever has it now does the record again.
        eprintln!("bench naive: offset not stored: {error}");
    }
    handling.meter.done(&payload);
}

/// FNV-1a.
fn lane_of(key: &[u8], lanes: usize) -> usize {
    let hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    usize::try_from(hash % lanes as u64).expect("a remainder below the number of lanes fits")
}
