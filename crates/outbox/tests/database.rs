//! Databases, tables, the request log, positions and operations, on both kinds.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where its world is not as it should be")]

mod support;

use std::time::Duration;

use kafka_worker_pool::{EARLIEST, Handler as _, PositionStore as _, TopicPartition};
use outbox::{
    AppendError,
    db::{self, Database, DbErr, Kind},
    ops,
    requests::{self, Lookup},
};
use support::*;

on_both! {
    migrations_run_once_from_many_processes
    a_cancelled_caller_leaves_no_harm
    an_error_rolls_everything_back
    values_read_back_as_they_were_written
    a_transaction_has_a_limit
    a_number_is_given_once
    what_no_topic_takes_is_refused
    a_request_is_answered_once
    positions_come_back
    positions_of_another_cluster_start_from_the_earliest
    a_new_epoch_restarts_the_numbers
    an_embedded_restart_sends_again_what_was_not_applied
    concurrent_transactions_on_one_stream_leave_no_gap
}

async fn migrations_run_once_from_many_processes(db: Database) {
    assert!(outbox::pending_migrations(&db, own_migrations()).await.unwrap().is_empty());
    for table in [
        "effect",
        "parked",
        "stream_pos",
        "applied",
        "applied_once",
        "dead_letter",
        "kafka_pos",
        "outbox",
        "outbox_fact",
        "relay_lease",
        "request_log",
    ] {
        let cascade = if db.kind() == Kind::Postgres { " CASCADE" } else { "" };
        db::exec(db.writer(), &format!("DROP TABLE {table}{cascade}"), []).await.unwrap();
    }
    db::exec(db.writer(), "DELETE FROM seaql_migrations", []).await.unwrap();
    assert_eq!(outbox::pending_migrations(&db, own_migrations()).await.unwrap().len(), 3);
    let at_once: Vec<_> = (0..4)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { outbox::migrate(&db, own_migrations()).await })
        })
        .collect();
    for task in at_once {
        task.await.unwrap().unwrap();
    }
    assert!(outbox::pending_migrations(&db, own_migrations()).await.unwrap().is_empty());
    assert_eq!(count(&db, "effect").await, 0);
}

async fn a_cancelled_caller_leaves_no_harm(db: Database) {
    for round in 0..200_u32 {
        let append = db.transaction(move |tx| {
            Box::pin(async move { outbox::append(tx, &event("P", i64::from(round) + 1).new_event()).await })
        });
        // Cut anywhere: during BEGIN, the insert, the COMMIT, or before anything happened.
        let _ = tokio::time::timeout(Duration::from_micros(u64::from(round) * 7), append).await;
    }
    db.transaction(|tx| Box::pin(async move { outbox::append(tx, &event("Q", 1).new_event()).await })).await.unwrap();
    // All that began have ended once a transaction behind them has: on PostgreSQL the pool is drained by as many.
    for _ in 0..20 {
        db.transaction(|tx| Box::pin(async move { db::exec(tx, "DELETE FROM request_log", []).await })).await.unwrap();
    }
    db::exec(db.writer(), "DELETE FROM outbox", []).await.unwrap();
}

async fn an_error_rolls_everything_back(db: Database) {
    let outcome: Result<(), AppendError> = db
        .transaction(|tx| {
            Box::pin(async move {
                outbox::append(tx, &event("P", 1).new_event()).await?;
                Err(DbErr::Custom("a rule".to_owned()).into())
            })
        })
        .await;
    assert!(matches!(outcome, Err(AppendError::Database(error)) if !db::is_environment(&error)));
    assert_eq!(count(&db, "outbox").await, 0);
}

async fn values_read_back_as_they_were_written(db: Database) {
    let types = outbox::ColumnTypes::of(db.kind());
    let table = format!(
        "CREATE TABLE odds (u {}, at {}, j {}, b {}, flag boolean)",
        types.uuid, types.instant, types.json, types.bytes
    );
    db::exec(db.writer(), &table, []).await.unwrap();
    let (uuid, at, json) = (uuid::Uuid::new_v4(), db::now(), serde_json::json!({ "a": [1, "ü"] }));
    let bytes = vec![0_u8, 255, 10];
    let sql = "INSERT INTO odds (u, at, j, b, flag) VALUES ($1, $2, $3, $4, $5)";
    db::exec(db.writer(), sql, [uuid.into(), at.into(), json.clone().into(), bytes.clone().into(), true.into()])
        .await
        .unwrap();
    let earlier = at - Duration::from_micros(1);
    let row = db::query_one(
        db.reader(),
        "SELECT u, at, j, b, flag FROM odds WHERE at > $1 AND flag = $2 AND u = $3",
        [earlier.into(), true.into(), uuid.into()],
    )
    .await
    .unwrap()
    .unwrap();
    assert_eq!(row.try_get::<uuid::Uuid>("", "u").unwrap(), uuid);
    assert_eq!(row.try_get::<time::OffsetDateTime>("", "at").unwrap(), at);
    assert_eq!(row.try_get::<serde_json::Value>("", "j").unwrap(), json);
    assert_eq!(row.try_get::<Vec<u8>>("", "b").unwrap(), bytes);
    assert!(row.try_get::<bool>("", "flag").unwrap());
}

async fn a_transaction_has_a_limit(db: Database) {
    let hasty = hasty(&db, Duration::from_secs(2)).await;
    let held: Result<(), DbErr> = hasty
        .transaction(|tx| {
            Box::pin(async move {
                db::exec(tx, "DELETE FROM effect", []).await?;
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                Ok(())
            })
        })
        .await;
    let error = held.unwrap_err();
    assert!(db::is_environment(&error), "{error}");
    assert!(error.to_string().contains("took longer than"), "{error}");
    hasty.close().await;
    append_all(&db, vec![event("P", 1).new_event()]).await;
}

async fn a_number_is_given_once(db: Database) {
    append_all(&db, vec![event("P", 1).new_event()]).await;
    for twin in [event("P", 1).id("other"), event("P", 2).id("P-1")] {
        let outcome =
            db.transaction(move |tx| Box::pin(async move { outbox::append(tx, &twin.new_event()).await })).await;
        let Err(AppendError::Database(error)) = outcome else { panic!("{outcome:?}") };
        assert!(db::is_unique_violation(&error) && !db::is_environment(&error), "{error}");
    }
}

async fn what_no_topic_takes_is_refused(db: Database) {
    let large = event("P", 1).payload(&vec![b'x'; outbox::MAX_EVENT_BYTES]);
    let outcome = db.transaction(move |tx| Box::pin(async move { outbox::append(tx, &large.new_event()).await })).await;
    assert!(matches!(outcome, Err(AppendError::TooLarge { .. })), "{outcome:?}");
}

async fn a_request_is_answered_once(db: Database) {
    let ask = |id: &'static str, hash: &'static [u8]| {
        let db = db.clone();
        async move {
            db.transaction(move |tx| Box::pin(async move { requests::lookup(tx, "Start", id, hash).await }))
                .await
                .unwrap()
        }
    };
    let store = |id: &'static str| {
        let db = db.clone();
        async move {
            db.transaction(move |tx| {
                Box::pin(async move { requests::store(tx, "Start", id, b"hash", b"answer").await })
            })
            .await
        }
    };
    assert_eq!(ask("r-1", b"hash").await, Lookup::Fresh);
    store("r-1").await.unwrap();
    assert_eq!(ask("r-1", b"hash").await, Lookup::Replay(b"answer".to_vec()));
    assert_eq!(ask("r-1", b"else").await, Lookup::Conflict);
    assert!(db::is_unique_violation(&store("r-1").await.unwrap_err()));
    store("").await.unwrap();
    store("").await.unwrap();
    assert_eq!(ask("", b"hash").await, Lookup::Fresh);
    assert_eq!(requests::prune(&db, db::now() - Duration::from_secs(60)).await.unwrap(), 0);
    assert_eq!(requests::prune(&db, db::now() + Duration::from_secs(60)).await.unwrap(), 1);
    assert_eq!(ask("r-1", b"hash").await, Lookup::Fresh);
}

async fn positions_come_back(db: Database) {
    let (gate, _) = gate(&db);
    let (a, b) = (TopicPartition::new(TOPIC, 0), TopicPartition::new(TOPIC, 1));
    let nothing = [(a.clone(), Some(EARLIEST)), (b.clone(), Some(EARLIEST))];
    assert_eq!(gate.load(&[a.clone(), b.clone()]).await.unwrap(), nothing);
    gate.save(&[(a.clone(), 7), (b.clone(), 9)]).await.unwrap();
    gate.save(&[(a.clone(), 8)]).await.unwrap();
    assert_eq!(gate.load(&[b.clone(), a.clone()]).await.unwrap(), [(b, Some(9)), (a.clone(), Some(8))]);
    gate.save(&[(a.clone(), 3)]).await.unwrap();
    assert_eq!(gate.load(std::slice::from_ref(&a)).await.unwrap(), [(a, Some(3))], "it may go back");
}

async fn positions_of_another_cluster_start_from_the_earliest(db: Database) {
    let broker = support::kafka::broker();
    let mut options = outbox::GateOptions::new(GROUP);
    options.identity = Some(outbox::KafkaIdentity::new(broker.bootstrap(), &[]).unwrap().into());
    let gate = outbox::Gate::new(db.clone(), options, Recorder::default());
    let partition = TopicPartition::new(TOPIC, 0);
    gate.save(&[(partition.clone(), 7)]).await.unwrap();
    assert_eq!(
        gate.load(std::slice::from_ref(&partition)).await.unwrap(),
        [(partition.clone(), Some(7))],
        "an embedded broker has no ids"
    );
    db::exec(db.writer(), "UPDATE kafka_pos SET cluster_id = 'A-real-one', topic_id = 'and-its-topic'", [])
        .await
        .unwrap();
    let loaded = gate.load(std::slice::from_ref(&partition)).await.unwrap();
    assert_eq!(loaded, [(partition, Some(EARLIEST))], "the embedded broker is another cluster");
}

async fn a_new_epoch_restarts_the_numbers(db: Database) {
    db::exec(db.writer(), "CREATE TABLE project (id text PRIMARY KEY, stream_epoch bigint, event_seq bigint)", [])
        .await
        .unwrap();
    db::exec(db.writer(), "INSERT INTO project VALUES ('P', 0, 7), ('Q', 9999999999, 3)", []).await.unwrap();
    let (streams, epoch) = ops::new_epoch(&db, "project").await.unwrap();
    assert_eq!(streams, 2);
    assert!(epoch > 1_700_000_000);
    let rows = db::query_all(db.reader(), "SELECT stream_epoch, event_seq FROM project ORDER BY id", []).await.unwrap();
    let read = |at: usize| {
        (rows[at].try_get::<i64>("", "stream_epoch").unwrap(), rows[at].try_get::<i64>("", "event_seq").unwrap())
    };
    assert_eq!((read(0), read(1)), ((epoch, 0), (10_000_000_000, 0)), "always a later one");
    assert_eq!(ops::begun_epoch(db.reader()).await.unwrap(), epoch);
    let (_, second) = ops::new_epoch(&db, "project").await.unwrap();
    assert!(second > epoch, "two restores within a second are two epochs");
}

/// One database plays all parts: what is in its outbox is what its gate reads.
async fn an_embedded_restart_sends_again_what_was_not_applied(db: Database) {
    let (gate, recorder) = gate(&db);
    append_all(
        &db,
        (1..=4)
            .map(|seq| event("P", seq).new_event())
            .chain([event("Q", 1).new_event(), event("R", 1).new_event()])
            .collect(),
    )
    .await;
    recorder.fail("P-3", Mood::Reject, 1);
    deliver_all(
        &gate,
        &[
            event("P", 1).record(),
            event("P", 2).record(),
            event("P", 3).record(),
            event("P", 4).record(),
            event("R", 1).record(),
        ],
    )
    .await;
    gate.save(&[(TopicPartition::new(TOPIC, 0), 4)]).await.unwrap();
    db::exec(db.writer(), "UPDATE outbox SET published_at = $1", [db::now().into()]).await.unwrap();

    let restart = ops::embedded_restart(&db, std::slice::from_ref(&db)).await.unwrap();
    assert_eq!((restart.events, restart.letters), (3, 1));
    let again = column(
        &db,
        "SELECT event_id AS value FROM outbox WHERE published_at IS NULL AND stream_id NOT LIKE 'letter/%' ORDER BY id",
    )
    .await;
    assert_eq!(again, ["P-3", "P-4", "Q-1"]);
    assert_eq!(count(&db, "kafka_pos").await, 0);
    gate.handle(&[event("P", 3).record(), event("P", 4).record(), event("Q", 1).record()]).await.unwrap();
    assert_eq!(effects(&db).await, ["P-1", "P-2", "R-1", "Q-1"], "nothing doubled, the letter still blocks");
}

/// Forty writers number one stream under its row's lock.
async fn concurrent_transactions_on_one_stream_leave_no_gap(db: Database) {
    db::exec(db.writer(), "CREATE TABLE project (id text PRIMARY KEY, event_seq bigint NOT NULL)", []).await.unwrap();
    db::exec(db.writer(), "INSERT INTO project VALUES ('P', 0)", []).await.unwrap();
    let writers: Vec<_> = (0..40)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                db.transaction(|tx| {
                    Box::pin(async move {
                        let sql =
                            format!("SELECT event_seq FROM project WHERE id = 'P'{}", db::lock_suffix(db::kind_of(tx)));
                        let row = db::query_one(tx, &sql, []).await?.unwrap();
                        let seq = row.try_get::<i64>("", "event_seq")? + 1;
                        db::exec(tx, "UPDATE project SET event_seq = $1 WHERE id = 'P'", [seq.into()]).await?;
                        outbox::append(tx, &event("P", seq).new_event()).await
                    })
                })
                .await
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    let ids = column(&db, "SELECT event_id AS value FROM outbox ORDER BY id").await;
    let expected: Vec<_> = (1..=40).map(|seq| format!("P-{seq}")).collect();
    assert_eq!(ids, expected, "the order of the rows is the order of the numbers");
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    for (url, expected) in [
        ("mysql://root@localhost/x".to_owned(), "give `sqlite:PATH` or `postgres://"),
        ("sqlite::memory:".to_owned(), "a database in memory would not survive"),
        (format!("sqlite:{}/x.db", file.display()), "choose another folder"),
        ("sqlite:/proc/x.db".to_owned(), "did not open"),
        ("postgres://ctms:secret@127.0.0.1:1/ctms".to_owned(), "check that PostgreSQL runs at this address"),
        (format!("sqlite:{}", file.display()), "check that the path is a SQLite file"),
    ] {
        let mut options = db::Options::default();
        options.connect_timeout = Duration::from_secs(2);
        let error = Database::connect(&url, &options).await.map(|db| db.shown().to_owned()).unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

/// Two processes on one SQLite file: who finds it busy waits, then says so as the environment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_busy_is_the_environment() {
    let test = TestDatabase::sqlite().await;
    let mut options = db::Options::default();
    options.lock_timeout = Duration::from_millis(100);
    let other = Database::connect(&test.url, &options).await.unwrap();
    let (locked, wait) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let holder = tokio::spawn({
        let db = test.db.clone();
        async move {
            db.transaction(|tx| {
                Box::pin(async move {
                    db::exec(tx, "DELETE FROM effect", []).await?;
                    locked.send(()).unwrap();
                    released.await.unwrap();
                    Ok::<_, DbErr>(())
                })
            })
            .await
        }
    });
    wait.await.unwrap();
    let busy = other
        .transaction(|tx| Box::pin(async move { db::exec(tx, "DELETE FROM effect", []).await }))
        .await
        .unwrap_err();
    assert!(db::is_environment(&busy), "{busy}");
    assert_eq!(count(&other, "effect").await, 0, "readers do not wait for a writer");
    release.send(()).unwrap();
    holder.await.unwrap().unwrap();
    other.transaction(|tx| Box::pin(async move { db::exec(tx, "DELETE FROM effect", []).await })).await.unwrap();
}

/// On a real broker, whose ids change with the cluster and with each life of a topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_of_another_life_of_a_topic_start_from_the_earliest_on_real_kafka() {
    let Ok(brokers) = std::env::var("KAFKA_BROKERS") else {
        eprintln!("SKIPPED: KAFKA_BROKERS is not set");
        return;
    };
    let test = TestDatabase::sqlite().await;
    let topic = format!("outbox-{}", uuid::Uuid::new_v4().simple());
    let partition = TopicPartition::new(topic.as_str(), 0);
    let admin = support::kafka::Topics::at(&brokers);
    admin.create(&topic).await;
    let gate = || {
        let mut options = outbox::GateOptions::new(GROUP);
        options.identity = Some(outbox::KafkaIdentity::new(&brokers, &[]).unwrap().into());
        outbox::Gate::new(test.db.clone(), options, Recorder::default())
    };
    let position = async || gate().load(std::slice::from_ref(&partition)).await.unwrap()[0].1;

    let first = gate();
    assert_eq!(first.load(std::slice::from_ref(&partition)).await.unwrap()[0].1, Some(EARLIEST));
    first.save(&[(partition.clone(), 7)]).await.unwrap();
    assert_eq!(count(&test.db, "kafka_pos WHERE cluster_id IS NOT NULL AND topic_id IS NOT NULL").await, 1);
    assert_eq!(position().await, Some(7));
    db::exec(test.db.writer(), "UPDATE kafka_pos SET cluster_id = 'another'", []).await.unwrap();
    assert_eq!(position().await, Some(EARLIEST), "another cluster");

    first.save(&[(partition.clone(), 7)]).await.unwrap();
    assert_eq!(position().await, Some(7));
    admin.delete(&topic).await;
    admin.create(&topic).await;
    assert_eq!(position().await, Some(EARLIEST), "the topic was made anew");
}

/// Its plans are made while tables are new and seem empty, and stay: a table that has grown meanwhile must not be read whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_finds_rows_by_an_index_in_a_table_that_seems_empty() {
    let Some(test) = TestDatabase::postgres().await else { return };
    db::exec(test.db.writer(), "ANALYZE applied_once", []).await.unwrap();
    let (found, values) = db::among(db::Kind::Postgres, 1, "text", vec!["P".into(), "Q".into()]).unwrap();
    let sql =
        format!("EXPLAIN SELECT stream_id FROM applied_once WHERE event_type = 'ProjectStarted' AND stream_id {found}");
    let plan = db::query_all(test.db.reader(), &sql, values).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.try_get("", "QUERY PLAN").unwrap()).collect();
    assert!(plan.iter().any(|line| line.contains("applied_once_pkey")), "{plan:#?}");
    assert!(!plan.iter().any(|line| line.contains("Seq Scan")), "{plan:#?}");
}
