//! The event thread: connects, joins the group, polls the consumer for rebalances and errors, and runs the stop sequence. Records never pass
//! through it.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka_ext::{GroupProtocolSupport, commit_stored, probe_group_protocol};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::client::{consumer_config, is_encrypted};
use crate::commits::SAVE_TIMEOUT;
use crate::context::Context;
use crate::errors::PoolError;
use crate::options::{GroupProtocol, Options};
use crate::rebalance::{committed, offset_of, set_offset};
use crate::record::TopicPartition;
use crate::report::Phase;
use crate::shared::{Begin, Command, Ending, Restart, Shared};
use crate::subscription::Subscription;

const POLL: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
const PROBE_PAUSE: Duration = Duration::from_millis(500);
/// How often missing topics are looked for.
const TOPICS_INTERVAL: Duration = Duration::from_secs(2);
/// How often patterns are matched against the topics of the cluster.
const MATCH_INTERVAL: Duration = Duration::from_secs(5);
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);
/// The last commit is tried for at least a session timeout and this: under classic it fails while a join is outstanding.
const COMMIT_GRACE: Duration = Duration::from_secs(5);
/// How long a partition that was started anew is forwarded again and again.
const FORWARD_AGAIN: Duration = Duration::from_secs(10);
/// How long one try of the last commit waits for its answer.
const COMMIT_ANSWER: Duration = Duration::from_secs(2);
/// Where the last commit failed, the group cannot be left in order either: its broker finds out.
const CLOSE_TIMEOUT_AWAY: Duration = Duration::from_secs(3);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the event thread needs.
pub(crate) struct EventThread {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Arc<Options>,
    pub(crate) brokers: String,
    pub(crate) group: Arc<str>,
    pub(crate) subscription: Subscription,
    pub(crate) runtime: Handle,
}

impl EventThread {
    /// The group protocol to use. `None` when a stop came first.
    pub(crate) fn protocol(&self) -> Option<&'static str> {
        match self.options.protocol {
            GroupProtocol::Consumer => return Some("consumer"),
            GroupProtocol::Classic => return Some("classic"),
            GroupProtocol::Auto if is_encrypted(&self.options) => {
                tracing::info!(
                    group = &*self.group,
                    "brokers behind TLS cannot be asked which group protocol they offer: using classic; set the protocol to change it"
                );
                return Some("classic");
            }
            GroupProtocol::Auto => {}
        }
        let mut has_warned = false;
        while !self.shared.should_stop() {
            let support = self.runtime.block_on(probe_group_protocol(&self.brokers, PROBE_TIMEOUT));
            match support {
                GroupProtocolSupport::Consumer => return Some("consumer"),
                GroupProtocolSupport::ClassicOnly => return Some("classic"),
                GroupProtocolSupport::Unknown => {}
            }
            let error = format!("no broker answers at {}", self.brokers);
            self.shared.set_error("Kafka client", &error);
            if !std::mem::replace(&mut has_warned, true) {
                tracing::warn!(group = &*self.group, error, "waiting for Kafka");
            }
            std::thread::sleep(PROBE_PAUSE);
        }
        None
    }

    /// Makes the consumer.
    pub(crate) fn consumer(
        &self,
        protocol: &'static str,
        context: Context,
    ) -> Result<BaseConsumer<Context>, PoolError> {
        let mut board = self.shared.board();
        board.protocol = protocol;
        board.last_error = None;
        drop(board);
        consumer_config(&self.brokers, &self.group, protocol, &self.options)
            .create_with_context(context)
            .map_err(|error| PoolError::Client(error.to_string()))
    }

    /// Joins the group and serves it until a stop is asked for or the pool fails.
    pub(crate) fn serve(&mut self, consumer: &BaseConsumer<Context>) {
        self.subscribe(consumer);
        self.shared.enter(Phase::Joining);
        let mut next_look = Instant::now() + TOPICS_INTERVAL;
        let mut next_match = Instant::now();
        let mut some_missing = true;
        let mut restarted: Vec<(TopicPartition, Instant)> = Vec::new();
        while !self.shared.should_stop() && self.shared.failure().is_none() {
            if self.subscription.has_patterns() && Instant::now() >= next_match {
                self.look_for_matches(consumer);
                next_match = Instant::now() + MATCH_INTERVAL;
            }
            some_missing |= self.poll(consumer, POLL);
            while let Some(restart) = self.shared.restarts.take() {
                self.restart(consumer, &restart);
                restarted.push((restart.partition, Instant::now() + FORWARD_AGAIN));
            }
            // Stopping a partition's fetcher ends its forwarding, some time after the unassign. Until it is forwarded again its records wait
            // in its own queue (never in the consumer's: librdkafka remembers that the application forwards), so none is lost.
            restarted.retain(|(name, until)| Instant::now() < *until && consumer.context().forward(consumer, name));
            if some_missing && Instant::now() >= next_look {
                some_missing = self.look_for_topics(consumer);
                next_look = Instant::now() + TOPICS_INTERVAL;
            }
        }
    }

    /// Subscribes to what is wanted now. Without any topic there is no group to join yet.
    fn subscribe(&self, consumer: &BaseConsumer<Context>) {
        let topics = self.subscription.topics();
        if topics.is_empty() {
            return;
        }
        if let Err(error) = consumer.subscribe(&topics) {
            self.shared.fail(PoolError::Client(format!("subscribe: {error}")));
        }
    }

    /// Matches the patterns against all topics of the cluster.
    fn look_for_matches(&mut self, consumer: &BaseConsumer<Context>) {
        let metadata = match consumer.fetch_metadata(None, METADATA_TIMEOUT) {
            Ok(metadata) => metadata,
            Err(error) => {
                tracing::debug!(group = &*self.group, %error, "topics could not be listed");
                return;
            }
        };
        let is_there = |topic: &&MetadataTopic| topic.error().is_none() && !topic.partitions().is_empty();
        let found: Vec<&str> = metadata.topics().iter().filter(is_there).map(MetadataTopic::name).collect();
        if self.subscription.look(&found) {
            tracing::info!(group = &*self.group, topics = ?self.subscription.topics(), "topics matched");
            self.subscribe(consumer);
        }
    }

    /// Polls once. True if the broker said that a topic is missing.
    fn poll(&self, consumer: &BaseConsumer<Context>, wait: Duration) -> bool {
        match consumer.poll(wait) {
            None => false,
            Some(Ok(message)) => {
                use rdkafka::Message;
                self.shared.fail(PoolError::Invariant(format!(
                    "a record ({} [{}] {}) came past the books, from the consumer's own queue",
                    message.topic(),
                    message.partition(),
                    message.offset()
                )));
                false
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                let reason = consumer.client().fatal_error().map(|(_, reason)| reason);
                self.shared.fail(PoolError::Client(format!("{code}: {}", reason.unwrap_or_default())));
                false
            }
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
            ))) => true,
            Some(Err(error)) => {
                if let Some((code, reason)) = consumer.client().fatal_error() {
                    self.shared.fail(PoolError::Client(format!("{code}: {reason}")));
                } else {
                    tracing::debug!(group = &*self.group, %error, "Kafka client");
                    self.shared.set_error("Kafka client", &error.to_string());
                }
                false
            }
        }
    }

    /// Keeps the status' list of missing topics. True while some are missing.
    fn look_for_topics(&self, consumer: &BaseConsumer<Context>) -> bool {
        let mut missing = Vec::new();
        for topic in self.subscription.names() {
            let is_there = match consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT) {
                Ok(metadata) => metadata
                    .topics()
                    .iter()
                    .any(|found| found.name() == topic && found.error().is_none() && !found.partitions().is_empty()),
                Err(error) => {
                    tracing::debug!(group = &*self.group, topic, %error, "metadata");
                    return true;
                }
            };
            if !is_there {
                missing.push(topic.clone());
            }
        }
        missing.extend(self.subscription.unmatched().map(str::to_owned));
        let mut board = self.shared.board();
        if !missing.is_empty() && board.missing_topics != missing {
            tracing::warn!(group = &*self.group, ?missing, "waiting for topics that do not exist; create them");
        }
        board.missing_topics = missing;
        !board.missing_topics.is_empty()
    }

    /// Starts a partition anew whose position the broker does not have. Its books were opened anew by the data thread.
    fn restart(&self, consumer: &BaseConsumer<Context>, restart: &Restart) {
        let name = &restart.partition;
        let mut list = TopicPartitionList::new();
        list.add_partition(&name.topic, name.partition);
        let is_ours =
            consumer.assignment().is_ok_and(|assigned| assigned.find_partition(&name.topic, name.partition).is_some());
        if !is_ours {
            return;
        }
        let context = consumer.context();
        let begin = match restart.had {
            Begin::Kept(_) | Begin::Fresh | Begin::Chosen(_) => Begin::Fresh,
            Begin::Unknown => {
                let chosen = context.choose(consumer, std::slice::from_ref(name));
                let Some((_, begin)) = chosen.and_then(|mut chosen| chosen.pop()) else {
                    return;
                };
                begin
            }
        };
        let offset = offset_of(begin);
        let restarted = consumer.incremental_unassign(&list).and_then(|()| {
            set_offset(&mut list, name, offset);
            context.take_over(consumer, vec![context.with_nothing_known(consumer, name.clone(), begin)]);
            // It may have come to stand still meanwhile. The new books know nothing of it, and the pause at the client would never end.
            consumer.resume(&list)?;
            consumer.incremental_assign(&list)
        });
        match restarted {
            Ok(()) => tracing::info!(partition = %name, ?offset, "started anew"),
            Err(error) => self.shared.fail(PoolError::Client(format!("{name} could not be started anew: {error}"))),
        }
    }

    /// Drains, commits, leaves the group. The data thread must be alive throughout.
    pub(crate) fn stop(&self, consumer: &BaseConsumer<Context>) -> Ending {
        self.shared.enter(Phase::Draining);
        let began = Instant::now();
        let deadline = began + self.options.drain_timeout;
        let (ack, acked) = sync_channel(1);
        if self.shared.command(Command::Stop { deadline, ack }) {
            // Polled meanwhile: a rebalance that waits for us would hold up the whole group.
            let patience = deadline + SAVE_TIMEOUT + COMMIT_GRACE;
            while acked.try_recv().is_err() && Instant::now() < patience && self.shared.failure().is_none() {
                self.poll(consumer, Duration::from_millis(5));
            }
        }
        let commit_failure = match self.shared.failure() {
            Some(_) => None,
            None => self.commit(consumer, deadline),
        };
        self.close(consumer, if commit_failure.is_some() { CLOSE_TIMEOUT_AWAY } else { CLOSE_TIMEOUT });
        match self.shared.failure() {
            Some(error) => Ending::Failed(error),
            None => Ending::Stopped { commit_failure },
        }
    }

    /// Tries until it succeeds. With a broker, through a join; without one, to the deadline of the stop.
    fn commit(&self, consumer: &BaseConsumer<Context>, stop_deadline: Instant) -> Option<String> {
        let session = Duration::from_millis(u64::from(self.options.session_timeout_ms));
        let join_deadline = stop_deadline.max(Instant::now() + session + COMMIT_GRACE);
        loop {
            let tried = committed(commit_stored(consumer, COMMIT_ANSWER));
            let deadline = if self.shared.board().is_connected { join_deadline } else { stop_deadline };
            match tried {
                // Of what was lost or let go meanwhile there is nothing left to commit.
                Ok(()) => return self.shared.commit_failure.get().cloned(),
                Err(error)
                    if error.code() == Some(RDKafkaErrorCode::OffsetMetadataTooLarge) && Instant::now() < deadline =>
                {
                    self.shared.note_failed_commit(error.code());
                }
                Err(error) if Instant::now() >= deadline || self.shared.failure().is_some() => {
                    return Some(error.to_string());
                }
                Err(error) => {
                    tracing::debug!(group = &*self.group, %error, "the last commit waits for a join to end");
                }
            }
            self.poll(consumer, POLL);
        }
    }

    fn close(&self, consumer: &BaseConsumer<Context>, timeout: Duration) {
        if let Err(error) = consumer.close_queue() {
            tracing::warn!(group = &*self.group, %error, "the consumer did not begin to close");
            return;
        }
        let deadline = Instant::now() + timeout;
        while !consumer.closed() {
            if Instant::now() >= deadline {
                tracing::error!(group = &*self.group, ?timeout, "the consumer did not close in time");
                return;
            }
            self.poll(consumer, Duration::from_millis(10));
        }
    }
}
