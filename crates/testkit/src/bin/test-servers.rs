//! Starts a Kafka and a PostgreSQL, or takes those that the environment names, prints what a test run must put in its
//! environment, and keeps them until its stdin ends.
//!
//! One line per server on stdout: `NAME=value`, or `MISSING <why>`; then `READY`.

use std::io::{Read as _, Write as _};

use testkit::{
    kafka::{BROKERS_ENV, Kafka},
    postgres::{Postgres, URL_ENV},
};

fn main() -> anyhow::Result<()> {
    // Side by side: each takes seconds.
    let (kafka, postgres) = std::thread::scope(|scope| {
        let kafka = scope.spawn(|| Kafka::given().or_else(|_| Kafka::start()));
        let postgres = Postgres::given().or_else(|_| Postgres::start());
        (kafka.join(), postgres)
    });
    let kafka = kafka.map_err(|_| anyhow::anyhow!("starting Kafka panicked"))?;
    let line = |name: &str, found: Result<&str, String>| match found {
        Ok(value) => format!("{name}={value}"),
        Err(why) => format!("MISSING {why}"),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", line(BROKERS_ENV, kafka.as_ref().map(Kafka::brokers).map_err(ToString::to_string)))?;
    writeln!(out, "{}", line(URL_ENV, postgres.as_ref().map(Postgres::url).map_err(ToString::to_string)))?;
    writeln!(out, "READY")?;
    out.flush()?;
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}
