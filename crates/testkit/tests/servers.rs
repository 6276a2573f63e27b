//! The servers of the tests themselves: they keep their data over a kill, and leave no process behind. These need
//! what a Kafka or a PostgreSQL of our own needs.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use testkit::{
    Missing,
    kafka::{BROKERS_ENV, Kafka, Topics, produce, read_all},
    postgres::{Postgres, URL_ENV},
    skip, wait_until_blocking,
};

/// A server of our own, where the test run allows servers at all.
fn own<T>(given: Result<T, Missing>, start: fn() -> Result<T, Missing>) -> Option<T> {
    match given.and_then(|_| start()) {
        Ok(server) => Some(server),
        Err(missing) => {
            skip(missing);
            None
        }
    }
}

#[test]
fn a_killed_kafka_keeps_what_it_acknowledged() {
    let Some(mut kafka) = own(Kafka::given(), Kafka::start) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let topics = Topics::unique();
    runtime.block_on(topics.create(kafka.brokers())).unwrap();
    runtime.block_on(produce(kafka.brokers(), topics.events(), Some("key"), b"kept", &[("name", "value")])).unwrap();
    kafka.kill().unwrap();
    assert!(TcpStream::connect(kafka.brokers()).is_err(), "a killed Kafka still listens");
    kafka.restart().unwrap();
    let records = read_all(kafka.brokers(), topics.events()).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].value.as_slice(), records[0].headers["name"].as_str()), (b"kept".as_slice(), "value"));
    kafka.stop().unwrap();
}

#[test]
fn each_test_gets_an_empty_postgres_database_and_a_kill_keeps_it() {
    let Some(mut postgres) = own(Postgres::given(), Postgres::start) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let first = runtime.block_on(postgres.create_database()).unwrap();
    let second = runtime.block_on(postgres.create_database()).unwrap();
    assert_ne!(first, second);
    postgres.kill().unwrap();
    postgres.restart().unwrap();
    let answers = runtime.block_on(async {
        let connection = sea_orm::Database::connect(&first).await.unwrap();
        connection.ping().await.is_ok()
    });
    assert!(answers, "the database of before the kill is there");
    postgres.stop().unwrap();
}

#[test]
fn postgres_starts_again_though_a_session_outlived_its_kill() {
    let Some(mut postgres) = own(Postgres::given(), Postgres::start) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = postgres.url().to_owned();
    let connect = || async { sea_orm::Database::connect(&url).await.unwrap() };
    // A session that counts does not look whether its server lives.
    let session = runtime.block_on(connect());
    let counts = runtime.spawn(async move {
        session.execute_unprepared("SELECT count(*) FROM generate_series(1, 2000000) /* counts */").await
    });
    let watcher = runtime.block_on(connect());
    let running = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%/* counts */' AND pid <> pg_backend_pid()";
    let counting = wait_until_blocking(Duration::from_secs(30), || {
        let rows = runtime.block_on(watcher.query_all_raw(Statement::from_string(DbBackend::Postgres, running)));
        rows.is_ok_and(|rows| !rows.is_empty()).then_some(())
    });
    assert!(counting.is_some() && !counts.is_finished(), "the session counts");
    postgres.kill().unwrap();
    postgres.restart().unwrap();
    assert!(runtime.block_on(async { connect().await.ping().await.is_ok() }), "it answers again");
}

#[test]
fn servers_end_when_their_owner_is_killed() {
    if let Err(missing) = Kafka::given() {
        skip(missing);
        return;
    }
    let mut owner = Command::new(env!("CARGO_BIN_EXE_test-servers"))
        .env_remove(BROKERS_ENV)
        .env_remove(URL_ENV)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said: Vec<_> = lines.take_while(|line| line != "READY").collect();
    let broker = said.iter().find_map(|line| line.strip_prefix("KAFKA_BROKERS=")).map(str::to_owned);
    owner.kill().unwrap();
    owner.wait().unwrap();
    let Some(broker) = broker else {
        skip(format!("no Kafka of our own: {said:?}"));
        return;
    };
    let gone = wait_until_blocking(Duration::from_secs(10), || TcpStream::connect(&broker).is_err().then_some(()));
    assert!(gone.is_some(), "{broker} still listens though its owner is dead");
}
