//! The broker of one cluster, whichever kind its stack asks for.

use std::path::Path;

use anyhow::{Context as _, Result};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};

use super::{Broker, Dev};
use crate::kafka::{Kafka, Topics};

pub(super) enum RunningBroker {
    Embedded(EmbeddedBroker),
    Kafka(Kafka),
    Dev { process: Dev, brokers: String },
}

impl RunningBroker {
    pub(super) async fn start(broker: Broker, topics: &Topics, dir: &Path) -> Result<Self> {
        match broker {
            Broker::Embedded => {
                let options = EmbeddedOptions { topics: topics.partitions(), ..EmbeddedOptions::default() };
                let broker = EmbeddedBroker::start(&options).context("cannot start the embedded broker")?;
                Ok(Self::Embedded(broker))
            }
            Broker::Dev => {
                let process = Dev::new(dir)?;
                let brokers = process.brokers();
                Ok(Self::Dev { process, brokers })
            }
            Broker::Kafka => {
                let kafka = Kafka::given()?;
                topics.create(kafka.brokers()).await?;
                Ok(Self::Kafka(kafka))
            }
            Broker::OwnKafka => {
                // A plain `cargo test` starts no server; `cargo xtask test` has said that it may.
                Kafka::given()?;
                let kafka = tokio::task::spawn_blocking(Kafka::start).await.context("starting Kafka panicked")??;
                topics.create(kafka.brokers()).await?;
                Ok(Self::Kafka(kafka))
            }
        }
    }

    pub(super) fn bootstrap(&self) -> &str {
        match self {
            Self::Embedded(broker) => broker.bootstrap(),
            Self::Kafka(kafka) => kafka.brokers(),
            Self::Dev { brokers, .. } => brokers,
        }
    }
}
