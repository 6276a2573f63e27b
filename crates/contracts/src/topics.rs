//! Names and settings of the topics and consumer groups.

/// The events of all projects, keyed by project id.
pub const PROJECT_EVENTS: &str = "ctms.project.events.v1";

/// Consumer group of the ePRO service.
pub const EPRO_GROUP: &str = "epro-srv";
/// Consumer group of the finance service.
pub const FINANCE_GROUP: &str = "finance-srv";
/// Consumer group of the monitor service.
pub const MONITOR_GROUP: &str = "monitor-srv";
/// Every group that reads [`PROJECT_EVENTS`].
pub const GROUPS: [&str; 3] = [EPRO_GROUP, FINANCE_GROUP, MONITOR_GROUP];

/// Partitions of the topic of events: the most instances of one service that share its work.
const EVENT_PARTITIONS: i32 = 24;
/// Partitions of the topics of one group.
const GROUP_PARTITIONS: i32 = 8;
/// Keep everything: lifecycle events are few, and a consumer added years later reads them all.
const KEEP_FOREVER_MS: i64 = -1;

/// `max.message.bytes` of the topic of events: Kafka's own default, so that a topic somebody else made fits.
pub const MAX_RECORD_BYTES: i32 = 1_048_588;
/// `max.message.bytes` of retry and dead-letter topics: the largest record with room for the headers of a letter (a cause of 4 KiB), or of a
/// decision (who and why, 4 KiB each).
pub const MAX_LETTER_BYTES: i32 = MAX_RECORD_BYTES + 65_536;

const RETRY_SUFFIX: &str = ".retry";
const DEAD_LETTER_SUFFIX: &str = ".dlq";

/// A topic as it has to exist on a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name of the topic.
    pub name: String,
    /// Number of partitions. Never change it once there are events: keys would move and their order be lost.
    pub partitions: i32,
    /// `retention.ms`; -1 keeps everything.
    pub retention_ms: i64,
    /// `cleanup.policy`; never "compact", which would drop all but the newest event of a project.
    pub cleanup_policy: &'static str,
    /// `max.message.bytes`: the largest batch of records that a producer may send.
    pub max_message_bytes: i32,
}

impl TopicSpec {
    fn new(name: String, partitions: i32, max_message_bytes: i32) -> Self {
        Self { name, partitions, retention_ms: KEEP_FOREVER_MS, cleanup_policy: "delete", max_message_bytes }
    }
}

/// The topic from which `group` reads again what belongs to `topic`: replays, skip markers, refills.
pub fn retry_topic(topic: &str, group: &str) -> String {
    format!("{topic}.{group}{RETRY_SUFFIX}")
}

/// The topic that takes what `group` cannot handle of `topic`, and what became of it.
pub fn dead_letter_topic(topic: &str, group: &str) -> String {
    format!("{topic}.{group}{DEAD_LETTER_SUFFIX}")
}

/// Whether `topic` is some group's retry topic: only there do replays and skip markers count.
pub fn is_retry_topic(topic: &str) -> bool {
    topic.ends_with(RETRY_SUFFIX)
}

/// Every topic of the platform: the events, and each group's retry and dead-letter topic.
pub fn all_topics() -> Vec<TopicSpec> {
    topics_of(PROJECT_EVENTS, &GROUPS)
}

/// The topics for another name of the topic of events, or for other groups.
pub fn topics_of(events: &str, groups: &[&str]) -> Vec<TopicSpec> {
    let mut topics = vec![TopicSpec::new(events.to_owned(), EVENT_PARTITIONS, MAX_RECORD_BYTES)];
    for group in groups {
        topics.push(TopicSpec::new(retry_topic(events, group), GROUP_PARTITIONS, MAX_LETTER_BYTES));
        topics.push(TopicSpec::new(dead_letter_topic(events, group), GROUP_PARTITIONS, MAX_LETTER_BYTES));
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_a_retry_and_a_dead_letter_topic() {
        let names: Vec<_> = all_topics().into_iter().map(|topic| topic.name).collect();
        assert_eq!(
            names,
            [
                "ctms.project.events.v1",
                "ctms.project.events.v1.epro-srv.retry",
                "ctms.project.events.v1.epro-srv.dlq",
                "ctms.project.events.v1.finance-srv.retry",
                "ctms.project.events.v1.finance-srv.dlq",
                "ctms.project.events.v1.monitor-srv.retry",
                "ctms.project.events.v1.monitor-srv.dlq",
            ]
        );
    }

    #[test]
    fn only_retry_topics_are_retry_topics() {
        assert!(is_retry_topic(&retry_topic(PROJECT_EVENTS, EPRO_GROUP)));
        assert!(!is_retry_topic(PROJECT_EVENTS));
        assert!(!is_retry_topic(&dead_letter_topic(PROJECT_EVENTS, EPRO_GROUP)));
    }
}
