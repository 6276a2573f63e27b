//! The difference between the topics that are wanted and those that are there. Pure.

use contracts::topics::TopicSpec;
use serde::Serialize;

use super::{ActualTopic, retention};

/// One thing that is wrong with one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) topic: String,
    pub(crate) wrong: String,
    pub(crate) remedy: String,
}

/// Everything that differs. What a broker does not say is not held against it.
pub(super) fn compare(wanted: &[TopicSpec], actual: &[ActualTopic]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for spec in wanted {
        let mut find = |wrong: String, remedy: &str| {
            findings.push(Finding { topic: spec.name.clone(), wrong, remedy: remedy.to_owned() });
        };
        let Some(topic) = actual.iter().find(|topic| topic.name == spec.name) else {
            find("missing".to_owned(), "ctms topics apply");
            continue;
        };
        if topic.partitions != spec.partitions {
            find(
                format!("{} partitions instead of {}", topic.partitions, spec.partitions),
                "works, but decide it before the first event: changing it moves keys between partitions",
            );
        }
        if let Some(actual) = topic.retention_ms.filter(|&actual| actual != spec.retention_ms) {
            find(
                format!("keeps records {} instead of {}", retention(actual), retention(spec.retention_ms)),
                "ctms topics apply",
            );
        }
        if let Some(actual) = topic.cleanup_policy.as_ref().filter(|actual| *actual != spec.cleanup_policy) {
            find(format!("cleanup.policy is {actual} instead of {}", spec.cleanup_policy), "ctms topics apply");
        }
        if let Some(actual) = topic.max_message_bytes.filter(|_| is_too_narrow(spec, topic)) {
            find(
                format!("takes records of {actual} bytes, and must take {}", spec.max_message_bytes),
                "ctms topics apply",
            );
        }
    }
    findings
}

/// Whether the limit of a topic is lower than what it must take; a higher one does no harm.
pub(super) fn is_too_narrow(spec: &TopicSpec, topic: &ActualTopic) -> bool {
    topic.max_message_bytes.is_some_and(|actual| actual < spec.max_message_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TopicSpec {
        contracts::topics::all_topics().remove(0)
    }

    fn as_wanted() -> ActualTopic {
        let spec = spec();
        ActualTopic {
            name: spec.name,
            partitions: spec.partitions,
            replicas: 1,
            retention_ms: Some(spec.retention_ms),
            cleanup_policy: Some(spec.cleanup_policy.to_owned()),
            max_message_bytes: Some(spec.max_message_bytes),
            settings: std::collections::BTreeMap::new(),
        }
    }

    fn wrongs(topic: ActualTopic) -> Vec<String> {
        compare(&[spec()], &[topic]).into_iter().map(|finding| finding.wrong).collect()
    }

    #[test]
    fn a_topic_as_wanted_has_no_findings_and_silence_is_no_finding() {
        assert!(wrongs(as_wanted()).is_empty());
        assert!(wrongs(ActualTopic { retention_ms: None, cleanup_policy: None, ..as_wanted() }).is_empty());
        assert!(
            wrongs(ActualTopic { max_message_bytes: Some(i32::MAX), ..as_wanted() }).is_empty(),
            "more does no harm"
        );
    }

    #[test]
    fn each_difference_is_named_with_both_values() {
        let cases = [
            (ActualTopic { partitions: 3, ..as_wanted() }, "3 partitions instead of 24"),
            (ActualTopic { retention_ms: Some(604_800_000), ..as_wanted() }, "keeps records 7 d instead of forever"),
            (
                ActualTopic { cleanup_policy: Some("compact".into()), ..as_wanted() },
                "cleanup.policy is compact instead of delete",
            ),
            (
                ActualTopic { max_message_bytes: Some(1000), ..as_wanted() },
                "takes records of 1000 bytes, and must take 1048588",
            ),
            (ActualTopic { name: "other".into(), ..as_wanted() }, "missing"),
        ];
        for (topic, expected) in cases {
            assert_eq!(wrongs(topic), [expected]);
        }
    }
}
