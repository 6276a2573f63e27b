//! From the command line to an open, migrated database, and the task that keeps its readiness true.
//! Knows addresses, secrets and migrations; SQL belongs to `outbox::db` and the services' stores.

use std::time::Duration;

use anyhow::Context as _;
use outbox::db::{Database, Options};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use crate::config::{DatabaseArgs, ServiceConfig};
use crate::readiness::Component;

/// How often the database is asked whether it answers.
const PING_EVERY: Duration = Duration::from_secs(2);
/// An answer that takes longer counts as none.
const PING_DEADLINE: Duration = Duration::from_secs(2);

/// Connects, and brings the tables up to date unless `--database-migrate false`, in which case they must be.
///
/// # Errors
/// One sentence with the remedy: folder, server, password, or tables that are behind.
pub async fn open<C: ServiceConfig>(config: &C) -> anyhow::Result<Database> {
    let args = &config.base().database;
    let db = connect(args, C::INFO.name).await?;
    if args.database_migrate {
        migrate_tables::<C>(&db).await?;
    } else {
        let pending = outbox::pending_migrations(&db, C::migrations())
            .await
            .with_context(|| format!("cannot read which migrations {} has", db.shown()))?;
        anyhow::ensure!(
            pending.is_empty(),
            "the tables of {} are behind ({} missing); run `{} migrate`, or start with --database-migrate true",
            db.shown(),
            pending.join(", "),
            C::INFO.name,
        );
    }
    Ok(db)
}

/// Connects and brings the tables up to date; the `migrate` command.
///
/// # Errors
/// As [`open`].
pub async fn migrate<C: ServiceConfig>(config: &C) -> anyhow::Result<()> {
    let db = connect(&config.base().database, C::INFO.name).await?;
    let migrated = migrate_tables::<C>(&db).await;
    db.close().await;
    migrated
}

/// Keeps `component` true until `stop`: down while the database does not answer.
///
/// # Errors
/// None; the signature is a supervised task's.
pub async fn watch(db: Database, component: Component, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(PING_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        match db.ping(PING_DEADLINE).await {
            Ok(()) => component.set_ok(),
            Err(error) => component.set_down(format!("{} does not answer: {error}", db.shown())),
        }
    }
}

async fn connect(args: &DatabaseArgs, name: &str) -> anyhow::Result<Database> {
    let mut options = Options::default();
    options.max_connections = args.database_connections;
    options.connect_timeout = args.database_connect_timeout;
    options.acquire_timeout = args.database_connect_timeout;
    options.statement_timeout = args.database_statement_timeout;
    options.lock_timeout = options.lock_timeout.min(args.database_statement_timeout);
    options.transaction_timeout = args.database_transaction_timeout;
    name.clone_into(&mut options.application_name);
    let url = url_with_password(args)?;
    Ok(Database::connect(url.expose_secret(), &options).await?)
}

async fn migrate_tables<C: ServiceConfig>(db: &Database) -> anyhow::Result<()> {
    outbox::migrate(db, C::migrations()).await.with_context(|| {
        format!("cannot bring the tables of {} up to date; its role must be allowed to create tables", db.shown())
    })
}

/// The URL with the password of `--database-password-file` in its place.
fn url_with_password(args: &DatabaseArgs) -> anyhow::Result<SecretString> {
    let Some(path) = &args.database_password_file else { return Ok(args.database_url.clone()) };
    let shown = path.display();
    let password = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read the password file {shown} (--database-password-file); check path and permissions")
    })?;
    let password = password.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(
        !password.is_empty(),
        "the password file {shown} (--database-password-file) is empty; write the password into it"
    );
    insert_password(args.database_url.expose_secret(), password)
        .with_context(|| format!("--database-url {} with --database-password-file", args.shown_url()))
}

fn insert_password(url: &str, password: &str) -> anyhow::Result<SecretString> {
    let (scheme, rest) = url.split_once("://").context("the URL has no `://`")?;
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    let (user, host) = authority.rsplit_once('@').context("the URL names no user; write postgres://USER@HOST/NAME")?;
    anyhow::ensure!(!user.contains(':'), "the URL holds a password too; take it out of the URL");
    Ok(format!("{scheme}://{user}:{}@{host}{tail}", percent_encoded(password)).into())
}

/// Everything but the unreserved characters of RFC 3986 as `%XX`.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len() * 3), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_lands_in_the_url_whatever_it_holds() {
        let url = insert_password("postgres://epro@db:5432/epro?sslmode=disable", "a@b/c:d%").unwrap();
        assert_eq!(url.expose_secret(), "postgres://epro:a%40b%2Fc%3Ad%25@db:5432/epro?sslmode=disable");
    }

    #[test]
    fn two_passwords_or_no_user_are_refused() {
        assert!(insert_password("postgres://epro:x@db/epro", "y").unwrap_err().to_string().contains("take it out"));
        assert!(insert_password("postgres://db/epro", "y").unwrap_err().to_string().contains("USER"));
    }

    #[derive(clap::Args, Clone, Debug)]
    struct Config {
        #[command(flatten)]
        base: crate::BaseArgs,
    }

    impl ServiceConfig for Config {
        const INFO: crate::ServiceInfo =
            crate::ServiceInfo { name: "test-srv", version: "0", about: "", defaults: &[] };

        fn migrations() -> Vec<Box<dyn sea_orm_migration::MigrationTrait>> {
            Vec::new()
        }

        fn base(&self) -> &crate::BaseArgs {
            &self.base
        }
    }

    fn config(folder: &std::path::Path, flags: &[&str]) -> Config {
        let url = format!("sqlite://{}/test.db", folder.display());
        crate::config::from_flags(["--database-url", &url].iter().chain(flags)).unwrap()
    }

    #[tokio::test]
    async fn sqlite_tables_that_are_behind_stop_the_start_and_migrate_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let strict = config(folder.path(), &["--database-migrate", "false"]);
        let error = open(&strict).await.unwrap_err().to_string();
        assert!(error.contains("`test-srv migrate`"), "{error}");
        migrate(&strict).await.unwrap();
        let db = open(&strict).await.unwrap();
        let readiness = crate::Readiness::new(CancellationToken::new());
        let stop = CancellationToken::new();
        let watching = tokio::spawn(watch(db.clone(), readiness.component("database"), stop.clone()));
        tokio::time::timeout(Duration::from_secs(10), readiness.ready()).await.expect("it answers");
        stop.cancel();
        watching.await.unwrap().unwrap();
        db.close().await;
    }

    #[tokio::test]
    async fn a_sqlite_folder_that_cannot_be_made_is_named_with_the_remedy() {
        let folder = tempfile::NamedTempFile::new().unwrap();
        let error = open(&config(folder.path(), &[])).await.unwrap_err().to_string();
        assert!(
            error.contains(&folder.path().display().to_string()) && error.contains("choose another folder"),
            "{error}"
        );
    }
}
