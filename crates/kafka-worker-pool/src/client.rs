//! librdkafka's configuration for this pool: what its guarantees rest on, what the options say, and what the user adds.

use rdkafka::ClientConfig;

use crate::options::Options;

/// A consumer's configuration. `protocol` is `consumer` or `classic`.
pub(crate) fn consumer_config(brokers: &str, group: &str, protocol: &str, options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    let client_id = options.client_id.clone().unwrap_or_else(|| format!("{group}-{}", std::process::id()));
    // All partitions flow into one queue, so this bounds them together. librdkafka may fetch once more beyond it.
    let fetch_queue_kbytes = (options.buffer_bytes / 2 / 1024).clamp(1, 2_097_151);
    let fetch_bytes = (options.buffer_bytes / 4).clamp(1_000_000, 50 * 1024 * 1024);
    config
        .set("client.id", client_id)
        .set("fetch.wait.max.ms", options.fetch_wait_max_ms.to_string())
        // At a full queue fetching pauses for so long: no longer than the fastest handler needs to empty it.
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.message.max.bytes", "1000000")
        .set("fetch.max.bytes", fetch_bytes.to_string())
        .set("queued.max.messages.kbytes", fetch_queue_kbytes.to_string())
        // Messages ahead of the pool, over all partitions, as their queues are one. The bound in bytes above holds all the same.
        .set("queued.min.messages", "100000")
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("statistics.interval.ms", "2000")
        .set("auto.commit.interval.ms", options.commit_interval_ms.to_string());
    if protocol == "classic" {
        config
            .set("session.timeout.ms", options.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", options.heartbeat_interval_ms.to_string());
    }
    for (name, value) in &options.client {
        config.set(name, value);
    }
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("group.protocol", protocol)
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "true")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false");
    if protocol == "classic" {
        config.set("partition.assignment.strategy", "cooperative-sticky");
    }
    config
}

/// True where a plain-text question cannot reach the broker.
pub(crate) fn is_encrypted(options: &Options) -> bool {
    options.client.get("security.protocol").is_some_and(|protocol| protocol.to_ascii_lowercase().ends_with("ssl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_make_a_configuration_librdkafka_takes() {
        for protocol in ["classic", "consumer"] {
            let config = consumer_config("127.0.0.1:1", "g", protocol, &Options::default());
            config.create_native_config().expect(protocol);
        }
    }

    #[test]
    fn the_users_properties_pass_through() {
        let mut options = Options::default();
        options.client.insert("fetch.wait.max.ms".into(), "7".into());
        let config = consumer_config("b:1", "g", "classic", &options);
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(config.get("session.timeout.ms"), Some("10000"));
    }
}
