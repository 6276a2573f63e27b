//! What librdkafka calls back on the event thread: rebalances, errors, statistics, results of its own commits, log lines.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::{Partition, Statistics};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::runtime::Handle;

use crate::commits::AnyStore;
use crate::lives::Lives;
use crate::options::Options;
use crate::shared::Shared;

pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Arc<Options>,
    pub(crate) group: Arc<str>,
    pub(crate) store: Option<Arc<dyn AnyStore>>,
    pub(crate) runtime: Handle,
    /// Lives of topics that were asked for.
    pub(crate) lives: Lives,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let group = &*self.group;
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(group, facility, line, "Kafka client");
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                tracing::info!(group, facility, line, "Kafka client");
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(group, facility, line, "Kafka client");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(group = &*self.group, %error, reason, "Kafka client");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.shared.board().is_connected = false;
        }
        self.shared.set_error("Kafka client", &format!("{error}: {reason}"));
    }

    fn stats(&self, statistics: Statistics) {
        let mut lag = 0;
        for topic in statistics.topics.values() {
            let of_topic: i64 = topic
                .partitions
                .iter()
                // The client goes on telling of partitions that it had.
                .filter(|(number, partition)| **number >= 0 && partition.desired)
                .map(|(_, partition)| lag_of(partition))
                .sum();
            metrics::gauge!("kafka_worker_pool_lag", "pool" => self.options.label(&self.group).to_owned(), "topic" => topic.topic.clone())
                .set(f64::from(u32::try_from(of_topic).unwrap_or(u32::MAX)));
            lag += of_topic;
        }
        self.shared.counters.lag.store(lag, Ordering::Relaxed);
        let is_connected = statistics.brokers.values().any(|broker| broker.state == "UP");
        self.shared.board().is_connected = is_connected;
        if is_connected {
            self.shared.clear_error("Kafka client");
        }
    }
}

/// Records of one partition behind which this member is: by what is done, else by what is committed, else by what was taken.
fn lag_of(partition: &Partition) -> i64 {
    let taken = match partition.app_offset {
        offset if offset >= 0 => partition.hi_offset - offset,
        _ => 0,
    };
    [partition.consumer_lag_stored, partition.consumer_lag, taken].into_iter().find(|lag| *lag >= 0).unwrap_or(0)
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoke(consumer, list),
            _ => {
                tracing::warn!(group = &*self.group, code = ?RDKafkaErrorCode::from(event), "an unknown rebalance event");
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        let result = match result {
            Ok(()) => "ok",
            // There was nothing to commit.
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => return,
            Err(error) => {
                self.shared.note_failed_commit(error.rdkafka_error_code());
                tracing::debug!(group = &*self.group, %error, "a commit failed; the next one covers it");
                "error"
            }
        };
        metrics::counter!("kafka_worker_pool_commits_total", "pool" => self.options.label(&self.group).to_owned(), "result" => result)
            .increment(1);
    }
}
