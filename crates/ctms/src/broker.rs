//! How the commands that look after a broker reach it: the same flags and variables as the services have.

use std::time::Duration;

use anyhow::Context as _;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    metadata::Metadata,
};
use service_kit::config::KafkaArgs;

/// A broker that has not answered by then is unreachable.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A client configuration with the brokers and the further properties of the flags.
///
/// # Errors
/// The property file cannot be read.
pub(crate) fn client(args: &KafkaArgs) -> anyhow::Result<ClientConfig> {
    let mut config = plain_client(&args.kafka_brokers);
    for (key, value) in args.properties().map_err(anyhow::Error::msg)? {
        config.set(key, value);
    }
    Ok(config)
}

/// A client configuration with the brokers alone.
pub(crate) fn plain_client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    // librdkafka reports a refused connection once a second; the command says it once, in its own words.
    config.set("bootstrap.servers", brokers).set("log_level", "2");
    config
}

/// Asks the broker for its topics. Blocks up to [`ANSWER_TIMEOUT`]: not for the async threads.
///
/// # Errors
/// The broker does not answer; names it, and the remedy.
pub(crate) fn metadata(config: &ClientConfig) -> anyhow::Result<Metadata> {
    let brokers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
    let consumer: BaseConsumer = config.create().context("the Kafka client refuses its settings")?;
    consumer.fetch_metadata(None, ANSWER_TIMEOUT).map_err(|error| {
        let reason = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        anyhow::anyhow!(
            "no Kafka broker answers at {brokers} ({reason}); check the address, or start one: `ctms dev`, `docker compose up`"
        )
    })
}
