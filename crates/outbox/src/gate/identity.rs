//! Which cluster and which life of a topic the offsets belong to: asked of the broker, off the runtime's threads. It must not decide what a
//! change means.

use std::{collections::HashMap, time::Duration};

use kafka_worker_pool::BoxError;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, Producer as _},
};
use rdkafka_ext::{DescribeError, cluster_id, topic_ids};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Asks brokers who they are, with a client that lives only for the question: they are asked once per assignment.
pub struct KafkaIdentity {
    config: ClientConfig,
}

impl std::fmt::Debug for KafkaIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The properties may hold secrets.
        f.write_str("KafkaIdentity")
    }
}

/// The ids of a cluster and some of its topics; absent where the broker has none.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    pub(super) cluster: Option<String>,
    pub(super) topics: HashMap<String, Option<String>>,
}

impl KafkaIdentity {
    /// With these properties of the client (security); it connects when first asked.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(brokers: &str, properties: &[(String, String)]) -> Result<Self, rdkafka::error::KafkaError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        for (name, value) in properties {
            config.set(name, value);
        }
        config.create_native_config()?;
        Ok(Self { config })
    }

    pub(super) async fn ids(&self, topics: Vec<String>) -> Result<Ids, BoxError> {
        let config = self.config.clone();
        tokio::task::spawn_blocking(move || ask(&config, topics)).await?
    }
}

fn ask(config: &ClientConfig, topics: Vec<String>) -> Result<Ids, BoxError> {
    let client: BaseProducer = config.create()?;
    let cluster = cluster_id(client.client(), ANSWER_WITHIN)
        .ok_or("no broker told the id of its cluster; are the brokers reachable?")?;
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let ids = match topic_ids(client.client(), &names, ANSWER_WITHIN) {
        Ok(ids) => ids,
        // Not allowed to describe, or not there yet: positions of this topic carry no id.
        Err(error @ DescribeError::Topic { .. }) => {
            tracing::warn!(%error, "positions are kept without topic ids");
            vec![None; topics.len()]
        }
        Err(error) => return Err(error.into()),
    };
    // The embedded broker forgets on exit and starts anew under the same name: its ids would say nothing.
    let is_embedded = cluster.starts_with("mockCluster");
    let topics = topics.into_iter().zip(ids).collect();
    Ok(Ids { cluster: (!is_embedded).then_some(cluster), topics })
}
