//! Databases for tests, records as Kafka would give them, and effects that tests can look at and make fail.
#![allow(dead_code, reason = "every test file uses its own part of this")]

pub(crate) mod kafka;
pub(crate) mod proxy;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use contracts::{control::Decision, envelope::CloudEvent};
use kafka_worker_pool::{DeadLetter, DeadLetterSink, Handler, HandlerError, Headers, Record};
use outbox::{
    EffectError, Effects, Gate, GateOptions, InboundEvent, NewEvent,
    db::{self, Database, DbErr, Tx},
};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::ConnectionTrait as _};

pub(crate) const TOPIC: &str = "ctms.project.events.v1";
pub(crate) const GROUP: &str = "epro-srv";
pub(crate) const RETRY: &str = "ctms.project.events.v1.epro-srv.retry";
pub(crate) const DLQ: &str = "ctms.project.events.v1.epro-srv.dlq";

/// Makes two tests of one: on a SQLite file, and on PostgreSQL when there is one.
#[macro_export]
macro_rules! on_both {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let test = $crate::support::TestDatabase::sqlite().await;
                super::$name(test.db.clone()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(test) = $crate::support::TestDatabase::postgres().await else { return };
                super::$name(test.db.clone()).await;
            })*
        }
    };
}

pub(crate) struct TestDatabase {
    pub(crate) db: Database,
    pub(crate) url: String,
    _folder: Option<tempfile::TempDir>,
}

impl TestDatabase {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("deep/er/test.db").display());
        Self::migrated(url, Some(folder)).await
    }

    pub(crate) async fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var("CTMS_TEST_POSTGRES_URL") else {
            eprintln!("SKIPPED: CTMS_TEST_POSTGRES_URL is not set");
            return None;
        };
        let admin = Database::connect(&server, &db::Options::default()).await.unwrap();
        let name = format!("outbox_{}", uuid::Uuid::new_v4().simple());
        admin.writer().execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        admin.close().await;
        let (base, _) = server.rsplit_once('/').unwrap();
        Some(Self::migrated(format!("{base}/{name}"), None).await)
    }

    async fn migrated(url: String, folder: Option<tempfile::TempDir>) -> Self {
        let db = Database::connect(&url, &db::Options::default()).await.unwrap();
        outbox::migrate(&db, own_migrations()).await.unwrap();
        Self { db, url, _folder: folder }
    }
}

pub(crate) fn own_migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(EffectTable)]
}

struct EffectTable;

impl MigrationName for EffectTable {
    fn name(&self) -> &'static str {
        "m2026_test_0001_effects"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for EffectTable {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let identity = outbox::ColumnTypes::of(db::kind_of(manager.get_connection())).identity;
        let sql = format!("CREATE TABLE effect (id {identity}, event_id text NOT NULL, stream_id text NOT NULL)");
        manager.get_connection().execute_unprepared(&sql).await?;
        Ok(())
    }
}

/// What an effect does when its event comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    Reject,
    Retry,
    Environment,
    Panic,
}

/// Writes a row per event, unless it is told to fail.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    moods: Arc<Mutex<HashMap<String, (Mood, u32)>>>,
    slow: Arc<Mutex<HashMap<String, Duration>>>,
}

impl Recorder {
    /// Fails the next `times` attempts of this event.
    pub(crate) fn fail(&self, event_id: &str, mood: Mood, times: u32) {
        self.moods.lock().unwrap().insert(event_id.to_owned(), (mood, times));
    }

    /// Takes this long over each attempt of this event.
    pub(crate) fn slow(&self, event_id: &str, takes: Duration) {
        self.slow.lock().unwrap().insert(event_id.to_owned(), takes);
    }

    fn mood(&self, event_id: &str) -> Option<Mood> {
        let mut moods = self.moods.lock().unwrap();
        let (mood, times) = moods.get_mut(event_id)?;
        *times = times.checked_sub(1)?;
        Some(*mood)
    }
}

impl Effects for Recorder {
    async fn apply(&self, tx: &Tx, event: &InboundEvent) -> Result<(), EffectError> {
        let sql = "INSERT INTO effect (event_id, stream_id) VALUES ($1, $2)";
        db::exec(tx, sql, [event.inbound.id.clone().into(), event.inbound.stream_id.as_str().into()]).await?;
        let takes = self.slow.lock().unwrap().get(&event.inbound.id).copied();
        if let Some(takes) = takes {
            tokio::time::sleep(takes).await;
        }
        match self.mood(&event.inbound.id) {
            None => Ok(()),
            Some(Mood::Reject) => Err(EffectError::Reject("the rule says no".to_owned())),
            Some(Mood::Retry) => Err(EffectError::Retry("not now".to_owned())),
            Some(Mood::Environment) => Err(db::environment_error("the disk is full").into()),
            Some(Mood::Panic) => {
                hide_planned_panics();
                panic!("{PLANNED} {} panics", event.inbound.id)
            }
        }
    }
}

/// How a planned panic begins.
const PLANNED: &str = "the effect of";

/// To find out where a panic came from, where that is asked for, takes a slow machine seconds, in the midst of a transaction.
fn hide_planned_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let planned = panic.payload().downcast_ref::<String>().is_some_and(|said| said.starts_with(PLANNED));
            if !planned {
                usual(panic);
            }
        }));
    });
}

pub(crate) fn gate(db: &Database) -> (Gate<Recorder>, Recorder) {
    let recorder = Recorder::default();
    let mut options = GateOptions::new(GROUP);
    options.backoff = Duration::from_millis(1);
    (Gate::new(db.clone(), options, recorder.clone()), recorder)
}

/// The ids of the events whose effects are there, in the order of their effects.
pub(crate) async fn effects(db: &Database) -> Vec<String> {
    column(db, "SELECT event_id AS value FROM effect ORDER BY id").await
}

/// The text column `value` of a query.
pub(crate) async fn column(db: &Database, sql: &str) -> Vec<String> {
    db::query_all(db.reader(), sql, []).await.unwrap().iter().map(|row| row.try_get("", "value").unwrap()).collect()
}

pub(crate) async fn count(db: &Database, from: &str) -> i64 {
    let sql = format!("SELECT count(*) AS value FROM {from}");
    db::query_one(db.reader(), &sql, []).await.unwrap().unwrap().try_get("", "value").unwrap()
}

/// A record and how it is varied.
#[derive(Clone)]
pub(crate) struct Letterhead {
    pub(crate) event: CloudEvent,
    pub(crate) payload: Vec<u8>,
    pub(crate) topic: &'static str,
    pub(crate) offset: i64,
    pub(crate) marks: Vec<(String, String)>,
}

/// Event number `seq` of a stream, with the id `<stream>-<seq>`.
pub(crate) fn event(stream: &str, seq: i64) -> Letterhead {
    Letterhead {
        event: CloudEvent {
            id: format!("{stream}-{seq}"),
            source: "ctms/project-srv".to_owned(),
            event_type: "SomethingHappened".to_owned(),
            time: Some(db::now()),
            subject: stream.to_owned(),
            sequence: Some(seq),
            stream_epoch: 0,
            partition_key: stream.to_owned(),
            traceparent: None,
        },
        payload: b"{}".to_vec(),
        topic: TOPIC,
        offset: seq,
        marks: Vec::new(),
    }
}

impl Letterhead {
    pub(crate) fn id(mut self, id: &str) -> Self {
        self.event.id = id.to_owned();
        self
    }

    pub(crate) fn epoch(mut self, epoch: i64) -> Self {
        self.event.stream_epoch = epoch;
        self.event.id = format!("{}-e{epoch}", self.event.id);
        self
    }

    pub(crate) fn started(mut self) -> Self {
        self.event.event_type = "ProjectStarted".to_owned();
        self.payload = started_json(&self.event.subject);
        self
    }

    pub(crate) fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub(crate) fn at(mut self, topic: &'static str, offset: i64) -> Self {
        self.topic = topic;
        self.offset = offset;
        self
    }

    pub(crate) fn replay_of(self, letter_id: &str) -> Self {
        let marks = verdict(letter_id).replay_headers();
        Self { marks, topic: RETRY, ..self }
    }

    pub(crate) fn skip(self, letter_id: &str) -> Self {
        let marks = verdict(letter_id).skip_headers();
        Self { marks, topic: RETRY, ..self }
    }

    /// The number is given up: its event exists nowhere.
    pub(crate) fn gap(self, letter_id: &str) -> Self {
        let marks = verdict(letter_id).gap_headers();
        Self { marks, topic: RETRY, ..self }
    }

    pub(crate) fn record(&self) -> Record {
        let headers = self.event.to_headers().into_iter().chain(self.marks.clone());
        record(
            self.topic,
            self.offset,
            Some(&self.event.partition_key),
            Some(&self.payload),
            Headers::from_pairs(headers),
        )
    }

    pub(crate) fn new_event(&self) -> NewEvent {
        NewEvent::of(self.topic, &self.event, self.payload.clone())
    }
}

pub(crate) fn record(topic: &str, offset: i64, key: Option<&str>, value: Option<&[u8]>, headers: Headers) -> Record {
    Record {
        topic: topic.into(),
        partition: 0,
        offset,
        timestamp_ms: Some(1),
        key: key.map(|key| key.as_bytes().to_vec().into()),
        value: value.map(|value| value.to_vec().into()),
        headers,
    }
}

pub(crate) fn started_json(project: &str) -> Vec<u8> {
    format!(r#"{{"projectId":"{project}","startTime":1767225600}}"#).into_bytes()
}

/// A start as another producer's plain JSON.
pub(crate) fn foreign_start(project: &str, offset: i64) -> Record {
    record(TOPIC, offset, None, Some(&started_json(project)), Headers::default())
}

pub(crate) fn verdict(letter_id: &str) -> Decision {
    Decision { letter_id: letter_id.to_owned(), by: "ada".to_owned(), why: "seen to".to_owned() }
}

/// The same database for transactions that may last this long.
pub(crate) async fn hasty(db: &Database, transaction_timeout: Duration) -> Database {
    let mut options = db::Options::default();
    options.transaction_timeout = transaction_timeout;
    // A test's address is shown whole: there is no password in it.
    Database::connect(db.shown(), &options).await.unwrap()
}

/// What the pool does while the environment is away: the same batch again.
pub(crate) async fn until_taken<E: Effects>(gate: &Gate<E>, batch: &[Record]) {
    let deadline = Instant::now() + 3 * kafka::PATIENCE;
    loop {
        match gate.handle(batch).await {
            Ok(()) => return,
            Err(HandlerError::Unavailable { cause }) => {
                assert!(Instant::now() < deadline, "the same batch runs out of time again and again: {cause}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// What the pool does with one record: an attempt, then a dead letter when it is rejected.
pub(crate) async fn deliver<E: Effects>(gate: &Gate<E>, record: &Record) -> Result<(), HandlerError> {
    match gate.handle(std::slice::from_ref(record)).await {
        Err(HandlerError::Reject { cause }) => {
            let cause = cause.to_string();
            gate.dead_letter(DeadLetter { record, group: GROUP, cause: &cause, attempts: 1 }).await.unwrap();
            Ok(())
        }
        other => other,
    }
}

pub(crate) async fn deliver_all<E: Effects>(gate: &Gate<E>, records: &[Record]) {
    for record in records {
        deliver(gate, record).await.unwrap();
    }
}

/// Appends events in a transaction, as a service does.
pub(crate) async fn append_all(db: &Database, events: Vec<NewEvent>) {
    db.transaction(move |tx| {
        Box::pin(async move {
            for event in &events {
                outbox::append(tx, event).await?;
            }
            Ok::<_, outbox::AppendError>(())
        })
    })
    .await
    .unwrap();
}
