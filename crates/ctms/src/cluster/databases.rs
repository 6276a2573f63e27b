//! The four databases of a cluster: SQLite files in the data folder, or databases on one PostgreSQL server.

use std::path::Path;

use ::outbox::{
    TakeoverError,
    db::{self, Database},
};
use anyhow::Context as _;

/// In the order of the flow; also the names of the databases.
pub(super) const SERVICES: [&str; 4] = ["project", "epro", "finance", "monitor"];

/// Database URLs, one per service.
pub(super) struct Databases {
    urls: [String; 4],
}

impl Databases {
    /// Decides on the four databases and, on PostgreSQL, creates those that are missing.
    ///
    /// # Errors
    /// The server cannot be reached or refuses to create a database.
    pub(super) async fn prepare(server: Option<&str>, folder: &Path) -> anyhow::Result<Self> {
        let urls = match server {
            None => SERVICES
                .map(|service| format!("sqlite://{}", folder.join(service).join(format!("{service}.db")).display())),
            Some(server) => {
                anyhow::ensure!(
                    server.starts_with("postgres://") || server.starts_with("postgresql://"),
                    "--database (CTMS_DATABASE_URL) names a PostgreSQL server, like postgres://USER@HOST:PORT; without it SQLite files in --data are used"
                );
                let urls = SERVICES.map(|service| with_database(server, &format!("ctms_{service}")));
                create_missing(server).await?;
                urls
            }
        };
        Ok(Self { urls })
    }

    pub(super) fn urls(&self) -> &[String; 4] {
        &self.urls
    }

    /// Sets everything free for publishing again that a consumer has not applied, where the broker has forgotten it: the embedded one
    /// always, another one when the embedded one was used before it.
    ///
    /// # Errors
    /// Another process works on these databases, or the database's.
    pub(super) async fn publish_again(&self, broker_is_embedded: bool) -> anyhow::Result<()> {
        let migrations = [
            project_srv::migrations as fn() -> _,
            epro_srv::migrations,
            finance_srv::migrations,
            monitor_srv::migrations,
        ];
        let mut databases = Vec::with_capacity(self.urls.len());
        for (url, own) in self.urls.iter().zip(migrations) {
            let database = Database::connect(url, &db::Options::default()).await?;
            ::outbox::migrate(&database, own())
                .await
                .with_context(|| format!("cannot migrate {}", database.shown()))?;
            databases.push(database);
        }
        let (producer, consumers) = (&databases[0], &databases[1..]);
        let done = if broker_is_embedded {
            ::outbox::ops::embedded_restart(producer, consumers).await.map(drop)
        } else {
            ::outbox::ops::leave_embedded(producer, consumers).await.map(drop)
        };
        for database in databases {
            database.close().await;
        }
        done.map_err(|error| match error {
            TakeoverError::RelayRuns { .. } => anyhow::anyhow!(
                "{error}; an embedded broker and what follows one need the databases for themselves: stop that process, or name others with --data or --database"
            ),
            other => anyhow::Error::new(other).context("cannot set events free for publishing again"),
        })
    }
}

async fn create_missing(server: &str) -> anyhow::Result<()> {
    let server_url = if database_of(server).is_empty() { with_database(server, "postgres") } else { server.to_owned() };
    let database = Database::connect(&server_url, &db::Options::default()).await?;
    for service in SERVICES {
        let name = format!("ctms_{service}");
        let known = db::query_one(
            database.reader(),
            "SELECT 1 AS one FROM pg_database WHERE datname = $1",
            [name.clone().into()],
        )
        .await?;
        if known.is_none() {
            db::exec(database.writer(), &format!("CREATE DATABASE {name}"), []).await.with_context(|| {
                format!("cannot create the database {name}; give the role CREATEDB, or create it yourself")
            })?;
        }
    }
    database.close().await;
    Ok(())
}

/// The part of a PostgreSQL URL that names the database; empty where there is none.
fn database_of(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split('?').next().unwrap_or(rest);
    rest.split_once('/').map_or("", |(_, database)| database)
}

/// The same server and parameters, another database.
fn with_database(url: &str, database: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
    let (rest, parameters) = rest.split_once('?').map_or((rest, String::new()), |(rest, p)| (rest, format!("?{p}")));
    let server = rest.split('/').next().unwrap_or(rest);
    format!("{scheme}://{server}/{database}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_postgresql_server_can_replace_the_files() {
        for other in ["sqlite://project.db", "mysql://u:secret@h", "h"] {
            let refusal = Databases::prepare(Some(other), Path::new("unused")).await.err().unwrap().to_string();
            assert!(refusal.contains("postgres://") && !refusal.contains("secret"), "{refusal}");
        }
    }

    #[test]
    fn a_database_is_named_whatever_the_url_looks_like() {
        let cases = [
            ("postgres://u@h", "postgres://u@h/ctms_epro"),
            ("postgres://u:p@h:5432/", "postgres://u:p@h:5432/ctms_epro"),
            ("postgres://u@h/other?sslmode=require", "postgres://u@h/ctms_epro?sslmode=require"),
        ];
        for (url, expected) in cases {
            assert_eq!(with_database(url, "ctms_epro"), expected);
        }
        assert_eq!(database_of("postgres://u@h/other?x=1"), "other");
        assert_eq!(database_of("postgres://u@h"), "");
    }
}
