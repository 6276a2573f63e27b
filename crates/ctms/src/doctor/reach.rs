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

    /// The commands that a text names between backticks, made to reach what was looked at. None where it names none.
    pub(super) fn named_in(&self, text: &str) -> Option<String> {
        let named = text.split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("ctms "));
        let commands: Vec<String> = named.map(|command| self.reaching(command)).collect();
        (!commands.is_empty()).then(|| commands.join("\n      → then "))
    }

    fn reaching(&self, command: &str) -> String {
        match command.split_whitespace().nth(1) {
            Some("topics" | "dlq") => self.on(command),
            Some("outbox") if command.contains(" republish ") => {
                format!("{command} --database {}", self.publisher.as_deref().unwrap_or("URL-OF-PROJECT-SRV"))
            }
            Some("outbox") => format!("{command} --database URL-OF-THIS-SERVICE"),
            _ => command.to_owned(),
        }
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
    fn what_a_service_says_of_itself_is_the_remedy() {
        let reach = Reach {
            broker_flags: " --kafka-brokers h:1".to_owned(),
            publisher: Some("sqlite://project.db".to_owned()),
            ..Reach::default()
        };
        let detail = "stream P waits for number 3 since 40 s; `ctms outbox republish --project P --group g` fills the gap; \
                      2 dead letters are open; `ctms dlq list` shows them";
        assert_eq!(
            reach.named_in(detail).unwrap(),
            "ctms outbox republish --project P --group g --database sqlite://project.db\n      → then ctms dlq list --kafka-brokers h:1"
        );
        assert_eq!(reach.named_in("its state cannot be read: `no such table`"), None);
    }

    #[test]
    fn commands_lead_to_what_was_looked_at() {
        let reach = Reach { broker_flags: " --kafka-brokers h:1".to_owned(), ..Reach::default() };
        assert_eq!(reach.on("ctms dlq show a1"), "ctms dlq show a1 --kafka-brokers h:1");
        assert!(reach.republish("p").ends_with("--database URL-OF-PROJECT-SRV"));
        let reach = Reach { publisher: Some("sqlite://project.db".to_owned()), ..reach };
        assert_eq!(reach.republish("p"), "ctms outbox republish --project p --database sqlite://project.db");
    }
}
