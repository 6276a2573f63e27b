//! The combinations of database and broker on which the services are tested.

use std::fmt;

/// Where the services keep their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// A file for each service.
    Sqlite,
    /// A database for each service on the test run's server.
    Postgres,
    /// A PostgreSQL that this cluster alone uses and may stop.
    OwnPostgres,
}

/// Which broker carries the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    /// The in-process broker of `ctms dev`, hosted by the test.
    Embedded,
    /// One `ctms dev` process: the four services and the in-process broker together.
    Dev,
    /// The test run's Kafka, with topics of this cluster's own.
    Kafka,
    /// A Kafka that this cluster alone uses and may stop.
    OwnKafka,
}

/// One combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    /// The database.
    pub database: Database,
    /// The broker.
    pub broker: Broker,
}

impl Stack {
    /// What runs on a laptop with nothing installed.
    pub const SQLITE_EMBEDDED: Self = Self { database: Database::Sqlite, broker: Broker::Embedded };
    /// `ctms dev`.
    pub const DEV: Self = Self { database: Database::Sqlite, broker: Broker::Dev };
    /// SQLite files and a real Kafka.
    pub const SQLITE_KAFKA: Self = Self { database: Database::Sqlite, broker: Broker::Kafka };
    /// What runs in production.
    pub const POSTGRES_KAFKA: Self = Self { database: Database::Postgres, broker: Broker::Kafka };
    /// [`Stack::POSTGRES_KAFKA`] with a PostgreSQL that the test may stop.
    pub const OWN_POSTGRES_KAFKA: Self = Self { database: Database::OwnPostgres, broker: Broker::Kafka };
    /// [`Stack::SQLITE_KAFKA`] with a Kafka that the test may stop.
    pub const SQLITE_OWN_KAFKA: Self = Self { database: Database::Sqlite, broker: Broker::OwnKafka };
    /// [`Stack::POSTGRES_KAFKA`] with a Kafka that the test may stop.
    pub const POSTGRES_OWN_KAFKA: Self = Self { database: Database::Postgres, broker: Broker::OwnKafka };
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = match self.database {
            Database::Sqlite => "sqlite",
            Database::Postgres => "postgres",
            Database::OwnPostgres => "own_postgres",
        };
        let broker = match self.broker {
            Broker::Embedded => "embedded",
            Broker::Dev => "dev",
            Broker::Kafka => "kafka",
            Broker::OwnKafka => "own_kafka",
        };
        write!(f, "{database}_{broker}")
    }
}
