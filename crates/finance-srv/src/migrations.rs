//! The tables of finance-srv. They come after outbox's own tables.

use outbox::ColumnTypes;
use outbox::db::{self, ConnectionTrait, DbErr, Kind};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

/// This service's own migrations in order; outbox's come before them.
#[must_use]
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(Accounts), Box::new(BooksAreAppendOnly)]
}

/// Creates all tables of the first version.
struct Accounts;

impl MigrationName for Accounts {
    fn name(&self) -> &'static str {
        "m2026_finance_0001_accounts"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Accounts {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let conn = manager.get_connection();
        let kind = db::kind_of(conn);
        for statement in tables(kind).iter().map(String::as_str).chain(INDEXES) {
            conn.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}

/// The second wall behind the gate: a site has one payable per kind, a payable one entry in the journal, an event one place. And the
/// structure keeps the books balanced: an entry is one amount above 0 with a debit and a credit side, so none can be written that is not.
fn tables(kind: Kind) -> [String; 6] {
    let ColumnTypes { uuid, instant, json, identity, .. } = ColumnTypes::of(kind);
    // SeaORM's name for a day on SQLite.
    let day = match kind {
        Kind::Sqlite => "date_text",
        Kind::Postgres => "date",
    };
    [
        // One row per study, written on first sight: its lock guards everything of the study.
        format!(
            "CREATE TABLE account (
                study_id text NOT NULL PRIMARY KEY,
                state text NOT NULL CHECK (state IN ('PENDING', 'ACTIVE', 'SUSPENDED', 'CLOSED')),
                started_at {instant},
                start_event_id text,
                last_event_id text,
                last_event_applied_at {instant},
                created_at {instant} NOT NULL,
                CHECK ((started_at IS NULL) = (start_event_id IS NULL)),
                CHECK ((last_event_id IS NULL) = (last_event_applied_at IS NULL))
            )"
        ),
        // Which events of the project were applied, in order. `sequence` is NULL for a plain record.
        format!(
            "CREATE TABLE applied_event (
                position {identity},
                study_id text NOT NULL REFERENCES account (study_id),
                source text NOT NULL,
                event_id text NOT NULL,
                event_type text NOT NULL,
                sequence bigint,
                applied_at {instant} NOT NULL,
                UNIQUE (study_id, source, event_id)
            )"
        ),
        // The activated sites. `due_on` is NULL before the start.
        format!(
            "CREATE TABLE site (
                study_id text NOT NULL REFERENCES account (study_id),
                site_id text NOT NULL,
                activated_at {instant} NOT NULL,
                due_on {day},
                due_event_id text,
                PRIMARY KEY (study_id, site_id),
                CHECK ((due_on IS NULL) = (due_event_id IS NULL))
            )"
        ),
        // `site_fees`: an object of site id to minor units.
        format!(
            "CREATE TABLE fee_schedule (
                id {uuid} NOT NULL PRIMARY KEY,
                study_id text NOT NULL REFERENCES account (study_id),
                currency text NOT NULL,
                effective_from {day} NOT NULL,
                effective_to {day},
                startup_fee_minor bigint NOT NULL CHECK (startup_fee_minor >= 0),
                site_fees {json} NOT NULL,
                created_at {instant} NOT NULL,
                created_by text NOT NULL,
                UNIQUE (study_id, effective_from),
                CHECK (effective_to IS NULL OR effective_to >= effective_from)
            )"
        ),
        format!(
            "CREATE TABLE payable (
                id {uuid} NOT NULL PRIMARY KEY,
                study_id text NOT NULL,
                site_id text NOT NULL,
                kind text NOT NULL CHECK (kind IN ('STARTUP_FEE')),
                currency text NOT NULL,
                amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
                state text NOT NULL CHECK (state IN ('OPEN', 'ON_HOLD', 'CLOSED')),
                fee_schedule_id {uuid} NOT NULL REFERENCES fee_schedule (id),
                event_id text NOT NULL,
                last_event_id text NOT NULL,
                created_at {instant} NOT NULL,
                updated_at {instant} NOT NULL,
                UNIQUE (study_id, site_id, kind),
                FOREIGN KEY (study_id, site_id) REFERENCES site (study_id, site_id)
            )"
        ),
        format!(
            "CREATE TABLE journal_entry (
                id {identity},
                study_id text NOT NULL REFERENCES account (study_id),
                payable_id {uuid} NOT NULL UNIQUE REFERENCES payable (id),
                event_id text NOT NULL,
                description text NOT NULL,
                debit_account text NOT NULL,
                credit_account text NOT NULL,
                currency text NOT NULL,
                amount_minor bigint NOT NULL CHECK (amount_minor > 0),
                posted_at {instant} NOT NULL,
                CHECK (debit_account <> credit_account)
            )"
        ),
    ]
}

const INDEXES: [&str; 3] = [
    "CREATE INDEX applied_event_by_study ON applied_event (study_id, position)",
    "CREATE INDEX payable_by_study ON payable (study_id, id)",
    "CREATE INDEX journal_entry_by_study ON journal_entry (study_id, id)",
];

/// Has the database itself refuse to change or remove a journal entry or a fee schedule, whoever asks.
struct BooksAreAppendOnly;

impl MigrationName for BooksAreAppendOnly {
    fn name(&self) -> &'static str {
        "m2026_finance_0002_books_are_append_only"
    }
}

const APPEND_ONLY: [&str; 2] = ["journal_entry", "fee_schedule"];

#[async_trait::async_trait]
impl MigrationTrait for BooksAreAppendOnly {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let conn = manager.get_connection();
        for table in APPEND_ONLY {
            for statement in append_only(db::kind_of(conn), table) {
                conn.execute_unprepared(&statement).await?;
            }
        }
        Ok(())
    }
}

fn append_only(kind: Kind, table: &str) -> Vec<String> {
    match kind {
        Kind::Sqlite => ["UPDATE", "DELETE"]
            .map(|verb| {
                format!(
                    "CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
                     BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
            })
            .to_vec(),
        Kind::Postgres => vec![
            format!(
                "CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
            ),
            format!(
                "CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
                 FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()"
            ),
        ],
    }
}
