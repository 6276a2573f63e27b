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

/// What a broker says about itself.
pub(crate) struct Broker {
    /// Its topics and nodes.
    pub(crate) metadata: Metadata,
    /// Whether it is the one of `ctms dev`, which never answers on the admin interface.
    pub(crate) is_embedded: bool,
}

/// Asks the broker for its topics.
///
/// # Errors
/// The broker does not answer; names it, and the remedy.
pub(crate) async fn look(config: &ClientConfig) -> anyhow::Result<Broker> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || look_blocking(&config)).await.context("asking the broker panicked")?
}

/// The same for a thread that may block, up to twice [`ANSWER_TIMEOUT`].
///
/// # Errors
/// The broker does not answer; names it, and the remedy.
pub(crate) fn look_blocking(config: &ClientConfig) -> anyhow::Result<Broker> {
    let brokers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
    let consumer: BaseConsumer = config.create().context("the Kafka client refuses its settings")?;
    let metadata = consumer.fetch_metadata(None, ANSWER_TIMEOUT).map_err(|error| {
        let reason = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        anyhow::anyhow!(
            "no Kafka broker answers at {brokers} ({reason}); check the address, or start one: `ctms dev`, `docker compose up`"
        )
    })?;
    let cluster_id = rdkafka_ext::cluster_id(consumer.client(), ANSWER_TIMEOUT);
    let is_embedded = cluster_id.as_deref().is_some_and(rdkafka_ext::is_embedded_cluster);
    Ok(Broker { metadata, is_embedded })
}
