//! The topics of one test cluster: named apart from every other's, with few partitions.

use anyhow::{Context as _, Result, bail};
use contracts::topics::{dead_letter_topic, retry_topic};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

use crate::cluster::Service;

/// Enough for several instances to share.
const EVENT_PARTITIONS: i32 = 6;
const OTHER_PARTITIONS: i32 = 2;

/// The names of a cluster's topics.
#[derive(Debug, Clone)]
pub struct Topics {
    events: String,
}

impl Topics {
    /// Names that no other cluster has.
    #[must_use]
    pub fn unique() -> Self {
        Self { events: format!("{}.{}", contracts::topics::PROJECT_EVENTS, uuid::Uuid::new_v4().simple()) }
    }

    /// The names that the services use by default.
    pub(crate) fn documented() -> Self {
        Self { events: contracts::topics::PROJECT_EVENTS.to_owned() }
    }

    /// The topic of the projects' events.
    #[must_use]
    pub fn events(&self) -> &str {
        &self.events
    }

    /// Where `ctms dlq replay` sends for this consumer.
    #[must_use]
    pub fn retry(&self, service: Service) -> String {
        retry_topic(&self.events, service.name())
    }

    /// The dead letters of this consumer.
    #[must_use]
    pub fn dead_letters(&self, service: Service) -> String {
        dead_letter_topic(&self.events, service.name())
    }

    /// All of them, with their number of partitions.
    pub(crate) fn partitions(&self) -> Vec<(String, i32)> {
        let mut all = vec![(self.events.clone(), EVENT_PARTITIONS)];
        for service in Service::CONSUMERS {
            all.push((self.retry(service), OTHER_PARTITIONS));
            all.push((self.dead_letters(service), OTHER_PARTITIONS));
        }
        all
    }

    /// Creates them, kept for ever.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn create(&self, brokers: &str) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", brokers).create().context("cannot make a Kafka client")?;
        let all = self.partitions();
        let new: Vec<_> = all
            .iter()
            .map(|(name, partitions)| {
                NewTopic::new(name, *partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1")
            })
            .collect();
        for outcome in admin.create_topics(&new, &AdminOptions::new()).await.context("cannot create topics")? {
            if let Err((topic, code)) = outcome {
                bail!("Kafka does not create {topic}: {code}");
            }
        }
        Ok(())
    }
}
