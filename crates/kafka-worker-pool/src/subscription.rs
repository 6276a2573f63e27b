//! Which topics a pool reads: names, and patterns that are matched against what the cluster has. Pure: the event thread looks topics up.
//!
//! Patterns are matched here and not by librdkafka or the broker: each of those has a dialect of its own, depending on the group protocol,
//! and would match the pool's own dead letters.

use regex::Regex;

use crate::errors::StartError;

/// A matched topic that is absent this often in a row is given up: one answer of a broker that has just started proves nothing.
const ABSENT_LOOKS: u32 = 3;

/// What was asked for, and what it came to.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    names: Vec<String>,
    patterns: Vec<Regex>,
    /// Ending of the topics this group sends its dead letters to.
    own_letters: String,
    /// Matched topics with the number of looks since they were last there.
    matched: Vec<(String, u32)>,
}

impl Subscription {
    /// From names and patterns; a pattern begins with `^`, which no topic's name does.
    pub(crate) fn new(topics: &[String], group: &str) -> Result<Self, StartError> {
        if topics.is_empty() {
            return Err(StartError::NoTopics);
        }
        let (patterns, names): (Vec<&String>, Vec<&String>) = topics.iter().partition(|topic| topic.starts_with('^'));
        let compile = |pattern: &&String| {
            Regex::new(pattern)
                .map_err(|error| StartError::Pattern { pattern: (*pattern).clone(), cause: error.to_string() })
        };
        let names = names.into_iter().cloned().collect();
        let patterns = patterns.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { names, patterns, own_letters: format!(".{group}.dlq"), matched: Vec::new() })
    }

    /// Topics given by name.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Patterns that no topic of the cluster matches.
    pub(crate) fn unmatched(&self) -> impl Iterator<Item = &str> {
        let is_unmatched = |pattern: &&Regex| !self.matched.iter().any(|(name, _)| pattern.is_match(name));
        self.patterns.iter().filter(is_unmatched).map(Regex::as_str)
    }

    /// All topics to read now, each once.
    pub(crate) fn topics(&self) -> Vec<&str> {
        let matched = self.matched.iter().map(|(name, _)| name).filter(|name| !self.names.contains(name));
        self.names.iter().chain(matched).map(String::as_str).collect()
    }

    /// Takes the names of all topics of the cluster. True if [`Self::topics`] changed.
    pub(crate) fn look(&mut self, found: &[&str]) -> bool {
        for (name, absent) in &mut self.matched {
            *absent = if found.contains(&name.as_str()) { 0 } else { *absent + 1 };
        }
        let before = self.matched.len();
        self.matched.retain(|(_, absent)| *absent < ABSENT_LOOKS);
        let mut changed = self.matched.len() != before;
        for &name in found {
            if !self.matched.iter().any(|(known, _)| known == name) && self.wants(name) {
                self.matched.push((name.to_owned(), 0));
                changed = true;
            }
        }
        changed
    }

    fn wants(&self, name: &str) -> bool {
        if name.ends_with(&self.own_letters) {
            return false;
        }
        // Kafka's own topics are read only by who names them.
        let names_internal = |pattern: &Regex| pattern.as_str().starts_with("^__");
        self.patterns
            .iter()
            .any(|pattern| pattern.is_match(name) && (!name.starts_with("__") || names_internal(pattern)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(topics: &[&str]) -> Subscription {
        let topics: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
        Subscription::new(&topics, "billing").unwrap()
    }

    #[test]
    fn a_pattern_takes_what_it_matches_but_neither_own_letters_nor_kafkas_own() {
        let mut subscription = given(&["audit", "^orders.*", "^.*offsets$"]);
        assert_eq!(subscription.topics(), ["audit"]);
        assert_eq!(subscription.unmatched().collect::<Vec<_>>(), ["^orders.*", "^.*offsets$"]);
        let found =
            ["orders.eu", "audit", "orders.eu.billing.dlq", "orders.eu.other.dlq", "preorders", "__consumer_offsets"];
        assert!(subscription.look(&found));
        assert_eq!(subscription.topics(), ["audit", "orders.eu", "orders.eu.other.dlq"]);
        assert_eq!(subscription.unmatched().collect::<Vec<_>>(), ["^.*offsets$"]);
        assert!(!subscription.look(&found), "nothing new");
        assert!(given(&["^__consumer.*"]).look(&["__consumer_offsets"]), "who names Kafka's own topics gets them");
    }

    #[test]
    fn a_topic_that_matches_twice_is_read_once() {
        let mut subscription = given(&["orders.eu", "^orders.*", "^.*eu"]);
        subscription.look(&["orders.eu"]);
        assert_eq!(subscription.topics(), ["orders.eu"]);
    }

    #[test]
    fn a_topic_that_goes_is_given_up_after_some_looks_and_comes_back() {
        let mut subscription = given(&["^orders.*"]);
        subscription.look(&["orders.eu", "orders.us"]);
        assert!(!subscription.look(&["orders.us"]));
        assert!(!subscription.look(&["orders.us", "orders.eu"]), "it was there all the time");
        assert!(!subscription.look(&["orders.us"]));
        assert!(!subscription.look(&["orders.us"]));
        assert!(subscription.look(&["orders.us"]));
        assert_eq!(subscription.topics(), ["orders.us"]);
        assert!(subscription.look(&["orders.us", "orders.eu"]));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_place() {
        let error = Subscription::new(&["^orders[".to_owned()], "g").unwrap_err().to_string();
        assert!(error.contains("^orders[") && error.contains("unclosed"), "{error}");
        assert!(matches!(Subscription::new(&[], "g"), Err(StartError::NoTopics)));
    }
}
