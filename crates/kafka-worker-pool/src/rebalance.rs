//! Partitions coming and going, on the event thread inside librdkafka's callback. The order of steps is the one that lost nothing: forward
//! every partition before the assign; on revoke drain, store and commit before letting go.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_ext::{CommitError, commit_metadata, commit_stored, wake_fetchers};
use tokio::time::Instant;

use crate::commits::SAVE_TIMEOUT;
use crate::context::Context;
use crate::errors::PoolError;
use crate::positions::EARLIEST;
use crate::record::TopicPartition;
use crate::report::Phase;
use crate::shared::{Assigned, Begin, Command};

/// How long the position store may take to answer once; it is asked again until it does.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause between two questions to the store.
const LOAD_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long Kafka may take to tell committed offsets, and how often it is asked before librdkafka is left to find them.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);
const COMMITTED_TRIES: u32 = 3;
/// How long a commit on a revoke is tried: every partition of the member stands still meanwhile.
const REVOKE_COMMIT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long one such commit waits for its answer.
const REVOKE_COMMIT_ANSWER: Duration = Duration::from_secs(2);
const REVOKE_COMMIT_PAUSE: Duration = Duration::from_millis(20);
/// On top of what a drain may take: the data thread answers within milliseconds after.
const ACK_GRACE: Duration = Duration::from_secs(30);

impl Context {
    pub(crate) fn assign(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) {
        let names = names_of(list);
        tracing::info!(group = &*self.group, partitions = ?names, "assigned");
        if let Some(begins) = self.begins(consumer, &names) {
            for assigned in &begins {
                set_offset(list, &assigned.name, offset_of(assigned.begin));
            }
            if self.take_over(consumer, begins) {
                // A pause outlives an assignment inside librdkafka; a partition that comes back must not stand still.
                if let Err(error) = consumer.resume(list) {
                    tracing::debug!(group = &*self.group, %error, "nothing to resume");
                }
            }
        } else {
            // Without books: the data thread drops what comes. Left in the consumer's own queue it would look like a record past the books.
            for name in &names {
                self.forward(consumer, name);
            }
        }
        let assigned = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
            _ => consumer.assign(list),
        };
        if let Err(error) = assigned {
            self.shared.fail(PoolError::Client(format!("assign: {error}")));
        }
        wake_kept(consumer, list);
        self.count("assign");
        self.shared.counters.assignments.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.shared.board().is_connected = true;
        if !self.shared.should_stop() {
            self.shared.enter(Phase::Running);
        }
    }

    /// Forwards partitions to the shared queue and has the data thread open their books.
    pub(crate) fn take_over(&self, consumer: &BaseConsumer<Self>, partitions: Vec<Assigned>) -> bool {
        for assigned in &partitions {
            if !self.forward(consumer, &assigned.name) {
                return false;
            }
        }
        let (ack, acked) = sync_channel(1);
        let asked = self.shared.command(Command::Assign { partitions, ack });
        let taken = asked && acked.recv_timeout(ACK_GRACE).is_ok();
        if !taken {
            self.shared.fail(PoolError::Invariant("the data thread did not take an assignment".to_owned()));
        }
        taken
    }

    pub(crate) fn forward(&self, consumer: &BaseConsumer<Self>, name: &TopicPartition) -> bool {
        let Some(queue) = self.shared.queue.get() else {
            return false;
        };
        match queue.forward_partition(consumer, &name.topic, name.partition) {
            Ok(()) => true,
            Err(error) => {
                // Its records would come from the consumer's own queue, past the books.
                self.shared.fail(PoolError::Invariant(error.to_string()));
                false
            }
        }
    }

    pub(crate) fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let names = names_of(list);
        let is_lost = consumer.assignment_lost();
        let began = Instant::now();
        let (ack, acked) = sync_channel(1);
        let asked = self.shared.command(Command::Revoke {
            partitions: names.clone(),
            is_lost,
            deadline: began + self.options.drain_timeout,
            ack,
        });
        let grace = self.options.drain_timeout + SAVE_TIMEOUT + ACK_GRACE;
        if !asked || acked.recv_timeout(grace).is_err() {
            self.shared.fail(PoolError::Invariant("the data thread did not answer a revoke".to_owned()));
        }
        self.shared.restarts.drop_of(&names);
        if is_lost {
            self.shared.commit_failed("the group had taken the partitions away".to_owned());
        } else {
            self.commit_before_letting_go(consumer);
        }
        let unassigned = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            _ => consumer.unassign(),
        };
        if let Err(error) = unassigned {
            self.shared.fail(PoolError::Client(format!("unassign: {error}")));
        }
        wake_kept(consumer, list);
        self.count(if is_lost { "lost" } else { "revoke" });
        tracing::info!(group = &*self.group, partitions = ?names, is_lost, took = ?began.elapsed(), "revoked");
    }

    /// Under classic a coordinator refuses commits until every member has its part of the new generation; a moment later it takes them.
    fn commit_before_letting_go(&self, consumer: &BaseConsumer<Self>) {
        let deadline = Instant::now() + REVOKE_COMMIT_TIMEOUT;
        loop {
            let Err(error) = committed(commit_stored(consumer, REVOKE_COMMIT_ANSWER)) else {
                return;
            };
            let may_pass = error.code() == Some(RDKafkaErrorCode::RebalanceInProgress);
            if !may_pass || Instant::now() >= deadline || consumer.assignment_lost() {
                tracing::info!(group = &*self.group, %error, "the commit on a revoke failed; some records will be read again");
                self.shared.note_failed_commit(error.code());
                self.shared.commit_failed(error.to_string());
                return;
            }
            std::thread::sleep(REVOKE_COMMIT_PAUSE);
        }
    }

    fn count(&self, kind: &'static str) {
        metrics::counter!("kafka_worker_pool_rebalances_total", "pool" => self.options.label(&self.group).to_owned(), "kind" => kind)
            .increment(1);
    }

    /// Where each partition begins. `None` when a stop or a loss of the assignment came before the store or the broker answered: then
    /// these partitions are never dispatched.
    fn begins(&self, consumer: &BaseConsumer<Self>, names: &[TopicPartition]) -> Option<Vec<Assigned>> {
        let mut begins = self.load(consumer, names)?;
        let unknown: Vec<TopicPartition> = names
            .iter()
            .zip(&begins)
            .filter(|(_, begin)| **begin == Begin::Unknown)
            .map(|(name, _)| name.clone())
            .collect();
        let mut metadata = Vec::new();
        if !unknown.is_empty() {
            let committed = self.ask_committed(consumer, &unknown);
            let fresh: Vec<TopicPartition> =
                committed.iter().filter(|one| one.begin == Begin::Fresh).map(|one| one.name.clone()).collect();
            let chosen = self.choose(consumer, &fresh)?;
            for (name, begin) in names.iter().zip(&mut begins) {
                let kept = committed.iter().find(|one| one.name == *name).map(|one| one.begin);
                let found = chosen.iter().find(|(found, _)| found == name).map(|(_, begin)| *begin);
                *begin = found.or(kept).unwrap_or(*begin);
            }
            metadata.extend(committed.into_iter().map(|one| (one.name, one.metadata)));
        }
        Some(self.with_what_is_known(consumer, names.iter().cloned().zip(begins).collect(), &metadata))
    }

    /// Asks the store until it answers: partitions of this assignment wait, others go on.
    fn load(&self, consumer: &BaseConsumer<Self>, names: &[TopicPartition]) -> Option<Vec<Begin>> {
        let Some(store) = self.store.as_ref().filter(|_| !names.is_empty()) else {
            return Some(vec![Begin::Unknown; names.len()]);
        };
        let mut pause = Duration::from_millis(100);
        loop {
            let ask =
                || self.runtime.block_on(async { tokio::time::timeout(LOAD_TIMEOUT, store.load_all(names)).await });
            let error = match catch_unwind(AssertUnwindSafe(ask)) {
                Ok(Ok(Ok(kept))) => {
                    self.shared.clear_error("position store");
                    let begin = |name: &TopicPartition| {
                        let found = kept.iter().find(|(kept, _)| kept == name);
                        found.and_then(|(_, offset)| *offset).map_or(Begin::Unknown, Begin::Kept)
                    };
                    return Some(names.iter().map(begin).collect());
                }
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) => format!("no answer within {LOAD_TIMEOUT:?}"),
                Err(_) => "it panicked, or the tokio runtime has ended; see the log".to_owned(),
            };
            tracing::warn!(group = &*self.group, error, "positions could not be loaded; asking again");
            self.shared.set_error("position store", &error);
            if self.shared.should_stop() || self.shared.failure().is_some() || consumer.assignment_lost() {
                return None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LOAD_PAUSE_MAX);
        }
    }

    /// Kafka's own commits. A partition that is not among the answers is left to librdkafka, which asks too; if it finds nothing it
    /// reports so, and the partition is started by `Options::start`.
    fn ask_committed(&self, consumer: &BaseConsumer<Self>, names: &[TopicPartition]) -> Vec<Committed> {
        for _ in 0..COMMITTED_TRIES {
            let mut list = TopicPartitionList::new();
            for name in names {
                list.add_partition(&name.topic, name.partition);
            }
            match consumer.committed_offsets(list, COMMITTED_TIMEOUT) {
                Ok(list) => {
                    let elements = list.elements();
                    let told =
                        elements.iter().zip(commit_metadata(&list)).filter(|(element, _)| element.error().is_ok());
                    let committed = told.map(|(element, metadata)| {
                        let begin = match element.offset() {
                            Offset::Offset(offset) => Begin::Kept(offset),
                            _ => Begin::Fresh,
                        };
                        Committed { name: TopicPartition::new(element.topic(), element.partition()), begin, metadata }
                    });
                    return committed.collect();
                }
                Err(error) => tracing::debug!(group = &*self.group, %error, "committed offsets"),
            }
            if self.shared.should_stop() {
                break;
            }
        }
        Vec::new()
    }
}

/// What Kafka says of a partition.
struct Committed {
    name: TopicPartition,
    begin: Begin,
    metadata: String,
}

/// librdkafka pauses the partitions that stay for as long as the callback takes, and resumes them without waking what fetches them.
fn wake_kept(consumer: &BaseConsumer<Context>, changed: &TopicPartitionList) {
    // Asked of the thread that resumes, so that the answer comes after. A failure costs a second of silence at most.
    let Ok(assigned) = consumer.assignment() else {
        return;
    };
    let changed: HashSet<TopicPartition> = names_of(changed).into_iter().collect();
    let mut kept = TopicPartitionList::new();
    for name in names_of(&assigned).iter().filter(|name| !changed.contains(name)) {
        kept.add_partition(&name.topic, name.partition);
    }
    wake_fetchers(consumer, &kept);
}

fn names_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect()
}

pub(crate) fn set_offset(list: &mut TopicPartitionList, name: &TopicPartition, offset: Offset) {
    if let Err(error) = list.set_partition_offset(&name.topic, name.partition, offset) {
        // Then librdkafka starts from Kafka's commit, which is a lower bound as well.
        tracing::warn!(partition = %name, %error, "position not set");
    }
}

/// Where a partition begins, as librdkafka takes it.
pub(crate) fn offset_of(begin: Begin) -> Offset {
    match begin {
        Begin::Kept(EARLIEST) | Begin::Fresh => Offset::Beginning,
        Begin::Kept(offset) | Begin::Chosen(offset) => Offset::Offset(offset),
        Begin::Unknown => Offset::Invalid,
    }
}

/// A commit's result, where having nothing to commit is success.
pub(crate) fn committed(result: Result<(), CommitError>) -> Result<(), CommitError> {
    match result {
        Err(CommitError::Refused(RDKafkaErrorCode::NoOffset)) => Ok(()),
        other => other,
    }
}
