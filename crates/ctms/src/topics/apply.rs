//! Creates what is missing and sets what may be set: retention, clean-up and the size limit, never the number of partitions.

use std::collections::HashMap;

use anyhow::Context as _;
use contracts::topics::TopicSpec;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    types::RDKafkaErrorCode,
};

use crate::broker::{self, ANSWER_TIMEOUT};

use super::{actual, compare::is_too_narrow};

/// The broker's own default number of copies.
const BROKER_DEFAULT: i32 = -1;

/// Creates the platform's topics on a broker where they are missing.
///
/// # Errors
/// The broker does not answer, or refuses.
pub(crate) async fn ensure(brokers: &str) -> anyhow::Result<()> {
    let done = apply(&broker::plain_client(brokers), &contracts::topics::all_topics(), None).await?;
    for line in done {
        tracing::info!("{line}");
    }
    Ok(())
}

/// Applies the specifications; returns a line for everything that was changed. Running it again changes nothing.
pub(super) async fn apply(
    config: &ClientConfig,
    wanted: &[TopicSpec],
    replication: Option<i32>,
) -> anyhow::Result<Vec<String>> {
    anyhow::ensure!(
        !broker::look(config).await?.is_embedded,
        "the embedded broker makes its topics itself; there is nothing to apply"
    );
    let present = actual(config, wanted).await?;
    let admin: AdminClient<DefaultClientContext> = config.create().context("the Kafka client refuses its settings")?;
    let options =
        AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT * 4)).operation_timeout(Some(ANSWER_TIMEOUT * 4));
    let mut done = Vec::new();

    let missing: Vec<_> = wanted.iter().filter(|spec| present.iter().all(|topic| topic.name != spec.name)).collect();
    let numbers: Vec<(String, String)> =
        missing.iter().map(|spec| (spec.retention_ms.to_string(), spec.max_message_bytes.to_string())).collect();
    let new_topics: Vec<_> = missing
        .iter()
        .zip(&numbers)
        .map(|(spec, (retention, max_bytes))| {
            let replication = TopicReplication::Fixed(replication.unwrap_or(BROKER_DEFAULT));
            NewTopic::new(&spec.name, spec.partitions, replication)
                .set("retention.ms", retention)
                .set("cleanup.policy", spec.cleanup_policy)
                .set("max.message.bytes", max_bytes)
        })
        .collect();
    if !new_topics.is_empty() {
        for (created, spec) in admin
            .create_topics(&new_topics, &options)
            .await
            .context("the broker does not create topics; the user needs the right to")?
            .into_iter()
            .zip(&missing)
        {
            match created {
                Ok(name) => done.push(format!("created {name} with {} partitions", spec.partitions)),
                // Another instance was quicker.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, error)) => anyhow::bail!("the broker refused to create {name}: {error}"),
            }
        }
    }

    for topic in &present {
        let Some(spec) = wanted.iter().find(|spec| spec.name == topic.name) else { continue };
        let retention_differs = topic.retention_ms.is_some_and(|actual| actual != spec.retention_ms);
        let cleanup_differs = topic.cleanup_policy.as_ref().is_some_and(|actual| actual != spec.cleanup_policy);
        let is_too_narrow = is_too_narrow(spec, topic);
        if retention_differs || cleanup_differs || is_too_narrow {
            let (retention, max_bytes) = (spec.retention_ms.to_string(), spec.max_message_bytes.to_string());
            let mut entries: HashMap<_, _> =
                topic.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            entries.insert("retention.ms", &retention);
            entries.insert("cleanup.policy", spec.cleanup_policy);
            if is_too_narrow {
                entries.insert("max.message.bytes", &max_bytes);
            }
            let alter = AlterConfig { specifier: ResourceSpecifier::Topic(&topic.name), entries };
            for altered in admin.alter_configs([&alter], &options).await.context("the broker does not alter topics")? {
                altered.map_err(|(_, error)| anyhow::anyhow!("the broker refused to alter {}: {error}", topic.name))?;
            }
            done.push(format!("set retention, clean-up and size limit of {}", topic.name));
        }
    }
    Ok(done)
}
