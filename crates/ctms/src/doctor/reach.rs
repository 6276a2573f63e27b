//! The flags that a suggested command needs to reach what was looked at, so that it works as it is printed.

use service_kit::config::KafkaArgs;

/// Where the doctor looked.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// The topic of events.
    pub(super) topic: String,
    /// The flags that lead `ctms topics` and `ctms dlq` to the same broker; empty where they would go there by themselves.
    broker_flags: String,
    /// The database that holds the projects, as it may be shown; its outbox can send events again.
    pub(super) publisher: Option<String>,
}

impl Reach {
    /// Of the broker that these flags name. What the environment names, the commands find in it too.
    pub(super) fn of(kafka: &KafkaArgs) -> Self {
        let mut broker_flags = String::new();
        for (flag, value, variable, default) in [
            ("--kafka-brokers", &kafka.kafka_brokers, "CTMS_KAFKA_BROKERS", "127.0.0.1:9092"),
            ("--kafka-topic", &kafka.kafka_topic, "CTMS_KAFKA_TOPIC", contracts::topics::PROJECT_EVENTS),
        ] {
            if *value != std::env::var(variable).unwrap_or_else(|_| default.to_owned()) {
                broker_flags.push_str(&format!(" {flag} {value}"));
            }
        }
        Self { topic: kafka.kafka_topic.clone(), broker_flags, publisher: None }
    }

    /// A command of `ctms`, on the broker that was looked at.
    pub(super) fn on(&self, command: impl std::fmt::Display) -> String {
        format!("{command}{}", self.broker_flags)
    }

    /// The command that sends a project's events again.
    pub(super) fn republish(&self, project: &str) -> String {
        let database = self.publisher.as_deref().unwrap_or("URL-OF-PROJECT-SRV");
        format!("ctms outbox republish --project {project} --database {database}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_lead_to_what_was_looked_at() {
        let reach = Reach { broker_flags: " --kafka-brokers h:1".to_owned(), ..Reach::default() };
        assert_eq!(reach.on("ctms dlq show a1"), "ctms dlq show a1 --kafka-brokers h:1");
        assert!(reach.republish("p").ends_with("--database URL-OF-PROJECT-SRV"));
        let reach = Reach { publisher: Some("sqlite://project.db".to_owned()), ..reach };
        assert_eq!(reach.republish("p"), "ctms outbox republish --project p --database sqlite://project.db");
    }
}
