//! A process with an embedded broker that is killed again and again, at any moment: the next one delivers what was accepted and not
//! applied, doubles nothing, and still has the letter that waits for a decision.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use std::{path::Path, time::Duration};

use contracts::topics::{dead_letter_topic, retry_topic};
use kafka_worker_pool::{Handle, KafkaWorkerPool, OnTimeout, Options};
use outbox::{
    Gate, GateOptions,
    db::{self, Database},
    ops,
};
use rdkafka_ext::{EmbeddedBroker, EmbeddedOptions};
use support::{
    kafka::{Running, options, read, until},
    *,
};
use tokio::runtime::Runtime;

const GROUPS: [&str; 2] = ["epro-srv", "finance-srv"];
const PROJECTS: [&str; 4] = ["P0", "P1", "P2", "P3"];
const LIVES: u64 = 12;
const PER_LIFE: i64 = 5;
/// The first group never takes this one.
const POISON: &str = "P2-7";

struct Life {
    producer: Database,
    consumers: Vec<Database>,
    broker: EmbeddedBroker,
    relays: Vec<Running>,
    pools: Vec<Handle>,
}

impl Life {
    async fn begin(folder: &Path) -> Self {
        let mut databases = Vec::new();
        for name in ["project", GROUPS[0], GROUPS[1]] {
            let url = format!("sqlite:{}", folder.join(name).display());
            let db = Database::connect(&url, &db::Options::default()).await.unwrap();
            outbox::migrate(&db, own_migrations()).await.unwrap();
            databases.push(db);
        }
        let topics = GROUPS.iter().flat_map(|group| [retry_topic(TOPIC, group), dead_letter_topic(TOPIC, group)]);
        let topics = topics.map(|topic| (topic, 1)).chain([(TOPIC.to_owned(), 3)]).collect();
        let broker = EmbeddedBroker::start(&EmbeddedOptions { topics, ..EmbeddedOptions::default() }).unwrap();
        ops::embedded_restart(&databases[0], &databases[1..]).await.unwrap();
        // All lives are in one process, so that a killed relay is known to be dead only by its lease.
        let mut options = options(&broker);
        options.lease = Duration::from_millis(500);
        let relays = databases.iter().map(|db| Running::start(db, options.clone())).collect();
        let consumers = databases.split_off(1);
        let pools = consumers.iter().zip(GROUPS).map(|(db, group)| pool(&broker, db, group)).collect();
        Self { producer: databases.remove(0), consumers, broker, relays, pools }
    }

    async fn accept(&self, life: u64) {
        let from = i64::try_from(life).unwrap() * PER_LIFE;
        for seq in from + 1..=from + PER_LIFE {
            append_all(&self.producer, PROJECTS.iter().map(|project| event(project, seq).new_event()).collect()).await;
        }
    }
}

fn pool(broker: &EmbeddedBroker, db: &Database, group: &str) -> Handle {
    let recorder = Recorder::default();
    if group == GROUPS[0] {
        recorder.fail(POISON, Mood::Reject, u32::MAX);
    }
    let gate = Gate::new(db.clone(), GateOptions::new(group), recorder);
    let mut options = Options::default();
    options.on_timeout = OnTimeout::Await;
    options.fetch_wait_max_ms = 10;
    KafkaWorkerPool::builder(broker.bootstrap(), group)
        .topics([TOPIC.to_owned(), retry_topic(TOPIC, group)])
        .options(options)
        .key(Gate::<Recorder>::key)
        .handler(gate.clone())
        .dead_letters(gate.clone())
        .positions(gate)
        .start()
        .unwrap()
}

fn of_project(effects: &[String], project: &str) -> Vec<String> {
    effects.iter().filter(|id| id.starts_with(&format!("{project}-"))).cloned().collect()
}

fn ids(project: &str, through: i64) -> Vec<String> {
    (1..=through).map(|seq| format!("{project}-{seq}")).collect()
}

#[test]
fn a_kill_at_any_moment_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = 0x2545_f491_4f6c_dd1d_u64 ^ u64::from(std::process::id());
    eprintln!("seed {random}");
    for life in 0..LIVES {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let this = Life::begin(folder.path()).await;
            this.accept(life).await;
            tokio::time::sleep(Duration::from_millis(random % 400)).await;
            // As far as a process can: nothing is drained, given up or closed.
            drop(this);
        });
        runtime.shutdown_background();
    }
    Runtime::new().unwrap().block_on(async {
        let last = Life::begin(folder.path()).await;
        let all = i64::try_from(LIVES).unwrap() * PER_LIFE;
        let enough = |projects: usize| projects * usize::try_from(all).unwrap();
        until("the second group has all", async || effects(&last.consumers[1]).await.len() >= enough(4)).await;
        until("the first has all but what waits", async || effects(&last.consumers[0]).await.len() >= enough(3) + 6)
            .await;
        let letter = read(&last.broker, "ctms.project.events.v1.epro-srv.dlq", 1).await.remove(0);
        assert_eq!(letter.headers.get("ce_id"), Some(POISON.as_bytes()), "this broker knows the letter too");
        for pool in last.pools {
            pool.stop().await.unwrap();
        }
        for relay in last.relays {
            relay.stop().await;
        }
        for (consumer, group) in last.consumers.iter().zip(GROUPS) {
            let effects = effects(consumer).await;
            for project in PROJECTS {
                let through = if group == GROUPS[0] && project == "P2" { 6 } else { all };
                assert_eq!(of_project(&effects, project), ids(project, through), "{group}");
            }
        }
        assert_eq!(ops::open_letters(&last.consumers[0]).await.unwrap().len(), 1);
    });
}
