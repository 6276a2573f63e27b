//! The three services that react.

use clap::ValueEnum;
use outbox::{Gate, GateOptions, db::Database};
use serde::Serialize;

use super::{prepare::Store, record};

/// A service that reacts to events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reacting {
    /// Questionnaires.
    Epro,
    /// Payables.
    Finance,
    /// Monitoring.
    Monitor,
}

impl Reacting {
    /// The name of its binary and of its group.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Epro => "epro-srv",
            Self::Finance => "finance-srv",
            Self::Monitor => "monitor-srv",
        }
    }

    /// Transactions that it runs at once: SQLite takes one after another.
    pub(super) fn at_once(store: Store) -> usize {
        match store {
            Store::Postgres => service_kit::config::POOL_WORKERS,
            Store::Sqlite => 1,
        }
    }

    /// Brings its tables up to date.
    pub(super) async fn migrate(self, database: &Database) -> anyhow::Result<()> {
        let own = match self {
            Self::Epro => epro_srv::migrations(),
            Self::Finance => finance_srv::migrations(),
            Self::Monitor => monitor_srv::migrations(),
        };
        Ok(outbox::migrate(database, own).await?)
    }

    /// Runs its gate and effects over batches of records, one after another; `after` is called after each.
    pub(super) async fn handle(
        self,
        database: Database,
        lanes: &record::Lanes,
        after: impl FnMut(),
    ) -> anyhow::Result<()> {
        let options = GateOptions::new(self.name());
        match self {
            Self::Epro => record::handle(&Gate::new(database, options, epro_srv::reactions()), lanes, after).await,
            Self::Finance => record::handle(&Gate::new(database, options, finance_srv::Reactions), lanes, after).await,
            Self::Monitor => {
                record::handle(&Gate::new(database, options, monitor_srv::reactions()), lanes, after).await
            }
        }
    }
}
