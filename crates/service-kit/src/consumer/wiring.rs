//! Puts pool and gate together, and keeps readiness true while they run.

use std::time::Duration;

use anyhow::Context as _;
use contracts::topics::retry_topic;
use kafka_worker_pool::{GroupProtocol, Handle, KafkaWorkerPool, Monitor, OnTimeout, Options};
use outbox::db::Database;
use outbox::{Effects, Gate, GateOptions, KafkaIdentity};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::health::judge;
use super::traced::Traced;
use crate::config::{BaseArgs, GroupProtocolArg, PoolArgs};
use crate::readiness::{Component, Readiness};
use crate::supervisor::{Phase, Supervisor};

/// How often the pool's state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the gate's state is read from the database, and partitions that stand still are tried again.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for the gate's report: the database may hang.
const REPORT_DEADLINE: Duration = Duration::from_secs(5);

/// What a consumer needs from its service.
#[derive(Clone, Copy, Debug)]
pub struct Consumer<'a> {
    /// The consumer group: the service's name.
    pub group: &'static str,
    /// Brokers, topic, protocol.
    pub base: &'a BaseArgs,
    /// Bounds.
    pub pool: &'a PoolArgs,
    /// The service's own database, migrated.
    pub db: &'a Database,
    /// Where it reports.
    pub readiness: &'a Readiness,
}

impl Consumer<'_> {
    /// Starts reading the events topic and the group's retry topic, supervised in [`Phase::Consume`]. Must run inside a tokio runtime.
    /// A broker that is away is waited for; the readiness tells.
    ///
    /// # Errors
    /// Client properties that librdkafka refuses, or options that cannot work.
    pub fn spawn<E: Effects>(&self, supervisor: &mut Supervisor, effects: E) -> anyhow::Result<Monitor> {
        let kafka = &self.base.kafka;
        let properties = kafka.properties().map_err(anyhow::Error::msg)?;
        let identity = KafkaIdentity::new(&kafka.kafka_brokers, &properties)
            .context("the Kafka client refuses its properties; check --kafka-property and --kafka-property-file")?;
        let mut options = GateOptions::new(self.group);
        options.max_attempts = self.pool.pool_max_attempts;
        options.identity = Some(identity.into());
        let gate = Gate::new(self.db.clone(), options, Traced::new(self.group, effects));
        let handle = KafkaWorkerPool::builder(&kafka.kafka_brokers, self.group)
            .topics([kafka.kafka_topic.clone(), retry_topic(&kafka.kafka_topic, self.group)])
            .options(self.options(properties))
            .key(Gate::<Traced<E>>::key)
            .handler(gate.clone())
            .dead_letters(gate.clone())
            .positions(gate.clone())
            .start()
            .context("the consumer cannot start")?;
        let monitor = handle.monitor();
        let look = Look {
            consumer: self.readiness.component("consumer"),
            gate: self.readiness.component("gate"),
            brokers: kafka.kafka_brokers.clone(),
            topic: kafka.kafka_topic.clone(),
            group: self.group,
        };
        supervisor.spawn(Phase::Consume, "consumer", move |stop| run(handle, gate, look, stop));
        Ok(monitor)
    }

    fn options(&self, properties: Vec<(String, String)>) -> Options {
        let mut options = Options::default();
        options.workers = self.pool.pool_workers;
        // Each lane has one worker at least.
        options.lanes = options.lanes.min(options.workers);
        options.queue_capacity = self.pool.pool_queue_capacity;
        options.buffer_bytes = self.pool.pool_buffer_bytes;
        options.max_batch = self.pool.pool_max_batch;
        options.max_attempts = self.pool.pool_max_attempts;
        options.handler_timeout = self.pool.pool_handler_timeout;
        options.drain_timeout = self.pool.pool_drain_timeout;
        // The gate owns a transaction: an attempt is over only when its outcome is known.
        options.on_timeout = OnTimeout::Await;
        options.protocol = match self.base.kafka.kafka_group_protocol {
            GroupProtocolArg::Auto => GroupProtocol::Auto,
            GroupProtocolArg::Consumer => GroupProtocol::Consumer,
            GroupProtocolArg::Classic => GroupProtocol::Classic,
        };
        options.client = properties.into_iter().collect();
        options
    }
}

/// What the task tells, and to whom.
struct Look {
    consumer: Component,
    gate: Component,
    brokers: String,
    topic: String,
    group: &'static str,
}

impl Look {
    fn at_pool(&self, handle: &Handle) {
        judge(&handle.status(), &self.brokers, &self.topic).tell(&self.consumer);
    }

    async fn at_gate<E: Effects>(&self, gate: &Gate<E>) {
        match tokio::time::timeout(REPORT_DEADLINE, gate.report()).await {
            Ok(Ok(report)) => match report.detail(self.group, outbox::db::now()) {
                None => self.gate.set_ok(),
                Some(detail) => self.gate.set_degraded(detail),
            },
            // The database has a component of its own, which says so.
            Ok(Err(error)) => self.gate.set_degraded(format!("its state cannot be read: {error}")),
            Err(_) => self.gate.set_degraded(format!("its state could not be read within {REPORT_DEADLINE:?}")),
        }
    }
}

async fn run<E: Effects>(handle: Handle, gate: Gate<E>, look: Look, stop: CancellationToken) -> anyhow::Result<()> {
    let watched = async {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_joined = false;
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                // Seen at once: who starts the service waits for it.
                _ = handle.ready(), if !has_joined => has_joined = true,
            }
            look.at_pool(&handle);
        }
    };
    let reported = async {
        let mut reports = interval(REPORT_EVERY);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            reports.tick().await;
            look.at_gate(&gate).await;
            // A partition held because too much was parked finds out by trying whether there is room again; if not, it is held again.
            if !handle.status().held.is_empty() {
                handle.release_all();
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ended = handle.finished() => {
            ended.context("the consumer ended by itself")?;
            anyhow::bail!("the consumer ended although nobody stopped it");
        }
        () = watched => {}
        () = reported => {}
    }
    look.consumer.set_down("stopping");
    let report = handle.stop().await.context("the consumer did not stop cleanly")?;
    tracing::info!(group = look.group, %report, "consumer stopped");
    Ok(())
}
