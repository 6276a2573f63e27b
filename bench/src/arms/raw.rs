//! The raw client loop: one thread, `BaseConsumer::poll`, the record's header read and nothing else. What a Rust client reaches that takes
//! one message per call.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result};
use rdkafka::{
    Message as _,
    consumer::{BaseConsumer, Consumer as _},
};

use super::{ArmOptions, Handling, Payload, Reading, client, wall_ns};

pub(super) fn run(options: &ArmOptions) -> Result<Reading> {
    let handling = Handling::new("raw", options)?;
    let consumer: BaseConsumer = client::consumer(options).create().context("cannot make a consumer")?;
    consumer.subscribe(&[&options.topic]).context("cannot subscribe")?;
    let polling = Arc::clone(&handling);
    // Not joined: it ends with the process, as the loop it stands for does.
    let polled = thread::spawn(move || poll(&consumer, &polling));
    handling.meter.watch(|| polled.is_finished().then(|| "the loop panicked".to_owned()))
}

fn poll(consumer: &BaseConsumer, handling: &Handling) {
    loop {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        handling.meter.begin();
        let Some(payload) = message.payload().and_then(Payload::read) else { continue };
        handling.spin(&payload);
        if let Some(sleep) = handling.options.workload.sleep(&payload) {
            thread::sleep(sleep);
        }
        if handling.options.log.is_some() {
            handling.meter.log(&payload, wall_ns(), wall_ns());
        }
        handling.meter.done(&payload);
    }
}
