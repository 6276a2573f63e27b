//! `ctms topics`: what the platform needs on a broker, what is there, and the difference.

mod apply;
mod compare;

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Context as _;
use contracts::topics::TopicSpec;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, ConfigSource, ResourceSpecifier},
    client::DefaultClientContext,
};
use serde::Serialize;
use service_kit::config::KafkaArgs;

use crate::{
    broker::{self, ANSWER_TIMEOUT},
    output,
};

pub(crate) use apply::ensure;
pub(crate) use compare::Finding;
use compare::compare;

/// Flags of `ctms topics`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct TopicsArgs {
    #[command(subcommand)]
    command: TopicsCommand,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    /// Print one JSON object on the last line of stdout.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum TopicsCommand {
    /// The platform's topics, as they are on the broker.
    List,
    /// Compare the broker with what the platform needs; exit code 1 if something is missing or wrong.
    Check,
    /// Create missing topics and set retention, clean-up and size limit of existing ones. Never deletes; never changes a number of partitions.
    Apply {
        /// Copies of each partition; the broker's default where absent.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100))]
        replication: Option<i32>,
    },
}

/// A topic as the broker has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ActualTopic {
    name: String,
    partitions: i32,
    replicas: usize,
    /// None where the broker does not say: the embedded one has no admin interface.
    retention_ms: Option<i64>,
    cleanup_policy: Option<String>,
    max_message_bytes: Option<i32>,
    /// Every setting that was made for this topic. Altering replaces them all, so they are needed to keep them.
    #[serde(skip)]
    settings: BTreeMap<String, String>,
}

/// Runs the command.
///
/// # Errors
/// The broker does not answer, or refuses.
pub(crate) async fn run(args: TopicsArgs) -> anyhow::Result<ExitCode> {
    let config = broker::client(&args.kafka)?;
    let wanted = contracts::topics::topics_of(&args.kafka.kafka_topic, &contracts::topics::GROUPS);
    match args.command {
        TopicsCommand::List => list(&actual(&config, &wanted).await?, args.json),
        TopicsCommand::Check => report(&compare(&wanted, &actual(&config, &wanted).await?), wanted.len(), args.json),
        TopicsCommand::Apply { replication } => {
            let done = apply::apply(&config, &wanted, replication).await?;
            if args.json {
                output::json(&serde_json::json!({ "ok": true, "done": done }))?;
            } else {
                done.iter().for_each(|line| output::line(line));
                output::line(&format!("{} topics are as they should be", wanted.len()));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What is missing or wrong on the broker.
///
/// # Errors
/// The broker does not answer.
pub(crate) async fn findings(config: &ClientConfig, events: &str) -> anyhow::Result<Vec<Finding>> {
    let wanted = contracts::topics::topics_of(events, &contracts::topics::GROUPS);
    Ok(compare(&wanted, &actual(config, &wanted).await?))
}

fn list(topics: &[ActualTopic], json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(&serde_json::json!({ "topics": topics }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!("{:<45} {:>10} {:>8}  {:<10} {}", "TOPIC", "PARTITIONS", "REPLICAS", "RETENTION", "CLEANUP"));
    for topic in topics {
        let retention = topic.retention_ms.map_or_else(|| "?".to_owned(), retention);
        let cleanup = topic.cleanup_policy.as_deref().unwrap_or("?");
        output::line(&format!(
            "{:<45} {:>10} {:>8}  {retention:<10} {cleanup}",
            topic.name, topic.partitions, topic.replicas
        ));
    }
    if topics.is_empty() {
        output::line("none of the platform's topics is there; create them: ctms topics apply");
    }
    Ok(ExitCode::SUCCESS)
}

fn report(findings: &[Finding], topics: usize, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(&serde_json::json!({ "ok": findings.is_empty(), "findings": findings }))?;
    } else if findings.is_empty() {
        output::line(&format!("{topics} topics are as they should be"));
    } else {
        findings
            .iter()
            .for_each(|finding| output::line(&format!("{}: {} → {}", finding.topic, finding.wrong, finding.remedy)));
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Milliseconds as people say them.
fn retention(ms: i64) -> String {
    match ms {
        -1 => "forever".to_owned(),
        ms if ms % 86_400_000 == 0 => format!("{} d", ms / 86_400_000),
        ms if ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
        ms => format!("{ms} ms"),
    }
}

/// The broker's view of the wanted topics; those that are missing are left out.
async fn actual(config: &ClientConfig, wanted: &[TopicSpec]) -> anyhow::Result<Vec<ActualTopic>> {
    let broker = broker::look(config).await?;
    let mut topics: Vec<ActualTopic> = wanted
        .iter()
        .filter_map(|spec| {
            broker.metadata.topics().iter().find(|topic| topic.name() == spec.name && topic.error().is_none())
        })
        .map(|topic| ActualTopic {
            name: topic.name().to_owned(),
            partitions: i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX),
            replicas: topic.partitions().first().map_or(0, |partition| partition.replicas().len()),
            retention_ms: None,
            cleanup_policy: None,
            max_message_bytes: None,
            settings: BTreeMap::new(),
        })
        .collect();
    if broker.is_embedded {
        return Ok(topics);
    }
    let admin: AdminClient<DefaultClientContext> = config.create().context("the Kafka client refuses its settings")?;
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let resources: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    if resources.is_empty() {
        return Ok(topics);
    }
    // A user without the right to describe has no answer: what the broker does not say stays unknown.
    let options = AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT));
    if let Ok(described) = admin.describe_configs(&resources, &options).await {
        for (topic, described) in topics.iter_mut().zip(described) {
            let Ok(described) = described else { continue };
            let entry = |name: &str| described.get(name).and_then(|entry| entry.value.clone());
            topic.retention_ms = entry("retention.ms").and_then(|value| value.parse().ok());
            topic.cleanup_policy = entry("cleanup.policy");
            topic.max_message_bytes = entry("max.message.bytes").and_then(|value| value.parse().ok());
            topic.settings = described
                .entries
                .iter()
                .filter(|entry| entry.source == ConfigSource::DynamicTopic)
                .filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?)))
                .collect();
        }
    }
    Ok(topics)
}
