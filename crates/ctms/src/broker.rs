//! How the commands that look after a broker reach it: the same flags and variables as the services have.

use std::{fmt, time::Duration};

use anyhow::Context as _;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
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

/// No broker answers at an address.
#[derive(Debug)]
pub(crate) struct Unreachable {
    brokers: String,
    /// What the client says beyond the silence.
    reason: Option<String>,
}

impl Unreachable {
    fn new(brokers: String, error: &KafkaError) -> Self {
        let silence = [
            RDKafkaErrorCode::BrokerTransportFailure,
            RDKafkaErrorCode::AllBrokersDown,
            RDKafkaErrorCode::OperationTimedOut,
        ];
        let is_silence = error.rdkafka_error_code().is_some_and(|code| silence.contains(&code));
        Self { brokers, reason: (!is_silence).then(|| error.to_string()) }
    }

    /// What is wrong, without the remedy.
    pub(crate) fn finding(&self) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("no Kafka broker answers at {}{reason}", self.brokers)
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; check the address, or start one: `ctms dev`, `docker compose up`", self.finding())
    }
}

impl std::error::Error for Unreachable {}

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
    let metadata = consumer.fetch_metadata(None, ANSWER_TIMEOUT).map_err(|error| Unreachable::new(brokers, &error))?;
    let cluster_id = rdkafka_ext::cluster_id(consumer.client(), ANSWER_TIMEOUT);
    let is_embedded = cluster_id.as_deref().is_some_and(rdkafka_ext::is_embedded_cluster);
    Ok(Broker { metadata, is_embedded })
}
