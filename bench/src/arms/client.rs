//! The librdkafka settings of the raw and the naive arm: what one sets after reading its guide, the same in both.

use rdkafka::ClientConfig;

use super::ArmOptions;

pub(super) fn consumer(options: &ArmOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("group.id", &options.group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.offset.store", "false")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        .set("fetch.wait.max.ms", "100")
        // The default of 1,000 starves a fast loop.
        .set("fetch.queue.backoff.ms", "20")
        .set("queued.min.messages", "100000");
    if options.kip848 {
        // The session is the broker's.
        config.set("group.protocol", "consumer");
    } else {
        config.set("session.timeout.ms", options.session_ms.to_string());
    }
    config
}
