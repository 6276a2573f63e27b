//! Which life of its topic an assigned partition belongs to, and so whether what stands beside its commit may be believed. Runs on the event
//! thread.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka_ext::{cluster_id, is_embedded_cluster, topic_ids};

use crate::ahead::{self, Known, Life};
use crate::context::Context;
use crate::record::TopicPartition;
use crate::shared::{Assigned, Begin};

/// How long each of two questions to the broker may take. Without an answer nothing is believed or written down, and records are done again.
const LIFE_TIMEOUT: Duration = Duration::from_secs(2);

/// Lives by topic, `None` where it has none. An old one does no harm to what is written: nobody will believe it.
#[derive(Debug, Default)]
pub(crate) struct Lives(Mutex<HashMap<Arc<str>, Option<Life>>>);

impl Context {
    /// The partitions of an assignment, with what the metadata of their commits says.
    pub(crate) fn with_what_is_known(
        &self,
        consumer: &BaseConsumer<Self>,
        begins: Vec<(TopicPartition, Begin)>,
        metadata: &[(TopicPartition, String)],
    ) -> Vec<Assigned> {
        // Asked after the commits: of a topic made anew in between the life is another.
        let anew = metadata.iter().any(|(_, text)| ahead::is_of_ours(text));
        let names: Vec<&TopicPartition> = begins.iter().map(|(name, _)| name).collect();
        let lives = self.lives(consumer, &names, anew);
        let assigned = begins.into_iter().zip(lives).map(|((name, begin), life)| {
            let text = metadata.iter().find(|(of, _)| *of == name).map_or("", |(_, text)| text);
            let known = match begin {
                Begin::Kept(position) => Known::read(text, position, life),
                Begin::Chosen(_) | Begin::Fresh | Begin::Unknown => Known::nothing(life),
            };
            Assigned { name, begin, known }
        });
        assigned.collect()
    }

    /// A partition whose position did not hold: its topic may have been made anew.
    pub(crate) fn with_nothing_known(
        &self,
        consumer: &BaseConsumer<Self>,
        name: TopicPartition,
        begin: Begin,
    ) -> Assigned {
        let life = self.lives(consumer, &[&name], true).pop().flatten();
        Assigned { name, begin, known: Known::nothing(life) }
    }

    /// The life of each partition's topic: asked for once, or anew where something is to be believed.
    fn lives(&self, consumer: &BaseConsumer<Self>, names: &[&TopicPartition], anew: bool) -> Vec<Option<Life>> {
        if self.store.is_some() || self.options.commit_metadata_bytes == 0 {
            return vec![None; names.len()];
        }
        let mut known = self.lives.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked: Vec<Arc<str>> = names.iter().map(|name| Arc::clone(&name.topic)).collect();
        asked.sort_unstable();
        asked.dedup();
        asked.retain(|topic| anew || !known.contains_key(topic));
        if !asked.is_empty() {
            for topic in &asked {
                known.remove(topic);
            }
            match ask(consumer, &asked) {
                Ok(lives) => known.extend(asked.into_iter().zip(lives)),
                Err(error) => {
                    tracing::warn!(
                        group = &*self.group,
                        error,
                        "the ids of topics are not known: what is done above a slow record is not written down"
                    );
                }
            }
        }
        names.iter().map(|name| known.get(&name.topic).cloned().flatten()).collect()
    }
}

fn ask(consumer: &BaseConsumer<Context>, topics: &[Arc<str>]) -> Result<Vec<Option<Life>>, String> {
    let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
    let ids = topic_ids(consumer.client(), &names, LIFE_TIMEOUT).map_err(|error| error.to_string())?;
    // An embedded broker's topics have no ids and live as long as it does.
    let embedded = match ids.iter().any(Option::is_none) {
        true => cluster_id(consumer.client(), LIFE_TIMEOUT).filter(|id| is_embedded_cluster(id)),
        false => None,
    };
    Ok(ids.into_iter().map(|id| id.or_else(|| embedded.clone()).map(Life::from)).collect())
}
