//! The broker: reachable, with the topics, and with a session timeout that lets a killed consumer's work move on soon.

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
};

use crate::{
    broker::{ANSWER_TIMEOUT, Unreachable},
    topics,
};

use super::{Examination, Finding, Reach};

/// Longer than this, a killed member's partitions stand still for too long (milliseconds).
const SESSION_TIMEOUT_MS: i64 = 15_000;
const SESSION_SETTING: &str = "group.consumer.session.timeout.ms";

/// Looks at the broker; whether it answers.
pub(super) async fn examine(config: &ClientConfig, reach: &Reach, examination: &mut Examination) -> bool {
    let brokers = config.get("bootstrap.servers").unwrap_or_default();
    match topics::findings(config, &reach.topic).await {
        Err(error) => {
            let found =
                error.downcast_ref::<Unreachable>().map_or_else(|| service_kit::sentence(&error), Unreachable::finding);
            examination.find(Finding::problem(
                "kafka",
                found,
                "start one: ctms dev, or docker compose up --wait; name another: --kafka-brokers HOST:PORT",
            ));
            return false;
        }
        Ok(findings) if findings.is_empty() => {
            examination.healthy(format!("kafka at {brokers} has every topic as it should be"));
        }
        Ok(findings) => {
            for finding in findings {
                let remedy = reach.on(finding.remedy);
                examination.find(Finding::problem(format!("topic {}", finding.topic), finding.wrong, remedy));
            }
        }
    }
    if let Some(session_ms) = session_timeout(config).await
        && session_ms > SESSION_TIMEOUT_MS
    {
        examination.find(Finding::advice(
            "kafka",
            format!(
                "{SESSION_SETTING} is {session_ms}: the partitions of a killed instance stand still for {} s",
                session_ms / 1000
            ),
            format!("set {SESSION_SETTING}=10000 and group.consumer.min.session.timeout.ms=6000 on the brokers"),
        ));
    }
    true
}

/// None where the broker does not say: the embedded one, and those before Kafka 4.
async fn session_timeout(config: &ClientConfig) -> Option<i64> {
    let seen = crate::broker::look(config).await.ok().filter(|broker| !broker.is_embedded)?;
    let broker = seen.metadata.brokers().first()?.id();
    let admin: AdminClient<DefaultClientContext> = config.create().ok()?;
    let options = AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT));
    let described = admin.describe_configs(&[ResourceSpecifier::Broker(broker)], &options).await.ok()?;
    let resource = described.into_iter().next()?.ok()?;
    resource.get(SESSION_SETTING)?.value.as_ref()?.parse().ok()
}
