//! A database of a service with studies that have something to react with: a schedule and a subject, or a fee schedule.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use epro_srv::domain::schedule::{Anchor, Instrument, Schedule, Visit};
use outbox::db::{self, Column, Database, Value};
use serde::Serialize;
use testkit::postgres::Postgres;
use time::macros::{date, datetime};
use uuid::Uuid;

use super::{events, service::Reacting};

/// Rows of one INSERT while a database is prepared.
const CHUNK: usize = 5_000;

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Store {
    /// A server.
    Postgres,
    /// A file.
    Sqlite,
}

impl Store {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Sqlite => "SQLite",
        }
    }
}

/// Where databases are made.
pub(super) struct Place<'a> {
    pub(super) store: Store,
    pub(super) postgres: &'a Postgres,
    pub(super) folder: &'a Path,
}

impl Place<'_> {
    /// A fresh database of this service with the studies of so many events; returns its URL.
    pub(super) async fn prepared(&self, service: Reacting, events: u32) -> Result<String> {
        let url = match self.store {
            Store::Postgres => self.postgres.create_database().await?,
            Store::Sqlite => format!("sqlite://{}/{}.db", self.folder.display(), Uuid::new_v4().simple()),
        };
        let database = Database::connect(&url, &db::Options::default()).await?;
        service.migrate(&database).await?;
        let studies: Vec<u32> = (0..events / events::OF_A_STUDY).collect();
        for chunk in studies.chunks(CHUNK) {
            let ids: Vec<String> = chunk.iter().map(|number| events::study_id(*number)).collect();
            let filled = match service {
                Reacting::Epro => questionnaires(&database, &ids).await,
                Reacting::Finance => fees(&database, &ids).await,
                Reacting::Monitor => Ok(()),
            };
            filled.context("cannot prepare the studies")?;
        }
        if self.store == Store::Postgres {
            db::exec(database.writer(), "ANALYZE", []).await.context("cannot analyse the database")?;
        }
        database.close().await;
        Ok(url)
    }
}

async fn fill<const N: usize>(
    database: &Database,
    table: &'static str,
    columns: [Column; N],
    rows: Vec<[Value; N]>,
) -> Result<(), db::DbErr> {
    let written =
        database.transaction(move |tx| Box::pin(async move { db::insert(tx, table, &columns, rows, "").await }));
    written.await.map(drop)
}

async fn questionnaires(database: &Database, studies: &[String]) -> Result<(), db::DbErr> {
    let now = Value::from(datetime!(2025-12-01 00:00 UTC));
    let schedule = Schedule {
        instruments: vec![Instrument {
            id: "NRS".to_owned(),
            version: "1.0".to_owned(),
            name: "Pain".to_owned(),
            items: Vec::new(),
        }],
        visits: vec![Visit {
            id: "V1".to_owned(),
            name: "Baseline".to_owned(),
            instrument_ids: vec!["NRS".to_owned()],
            anchor: Anchor::StudyStart,
            offset_days: 0,
            window_before_days: 0,
            // Open whenever this runs.
            window_after_days: 3_650,
        }],
        reminder_offsets_hours: Vec::new(),
    };
    let body = serde_json::to_value(schedule).map_err(|error| db::DbErr::Json(error.to_string()))?;
    let rows = studies.iter().map(|id| [id.as_str().into(), "PENDING".into(), 1_i64.into(), now.clone()]).collect();
    let columns =
        [("study_id", "text"), ("state", "text"), ("schedule_version", "bigint"), ("created_at", "timestamptz")];
    fill(database, "campaign", columns, rows).await?;
    let rows = studies.iter().map(|id| [id.as_str().into(), 1_i64.into(), body.clone().into(), now.clone()]).collect();
    let columns = [("study_id", "text"), ("version", "bigint"), ("body", "jsonb"), ("published_at", "timestamptz")];
    fill(database, "schedule", columns, rows).await?;
    let subject = |id: &String| -> [Value; 5] {
        [id.as_str().into(), "P1".into(), "S1".into(), date!(2025 - 12 - 01).into(), now.clone()]
    };
    let columns = [
        ("study_id", "text"),
        ("subject_id", "text"),
        ("site_id", "text"),
        ("enrolled_on", "date"),
        ("created_at", "timestamptz"),
    ];
    fill(database, "subject", columns, studies.iter().map(subject).collect()).await
}

async fn fees(database: &Database, studies: &[String]) -> Result<(), db::DbErr> {
    let now = Value::from(datetime!(2025-12-01 00:00 UTC));
    let rows = studies.iter().map(|id| [id.as_str().into(), "PENDING".into(), now.clone()]).collect();
    let columns = [("study_id", "text"), ("state", "text"), ("created_at", "timestamptz")];
    fill(database, "account", columns, rows).await?;
    let schedule = |id: &String| -> [Value; 8] {
        [
            // The same in every database: the recorded statements name it.
            Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes()).into(),
            id.as_str().into(),
            "EUR".into(),
            date!(2020 - 01 - 01).into(),
            100_000_i64.into(),
            serde_json::json!({}).into(),
            now.clone(),
            "bench".into(),
        ]
    };
    let columns = [
        ("id", "uuid"),
        ("study_id", "text"),
        ("currency", "text"),
        ("effective_from", "date"),
        ("startup_fee_minor", "bigint"),
        ("site_fees", "jsonb"),
        ("created_at", "timestamptz"),
        ("created_by", "text"),
    ];
    fill(database, "fee_schedule", columns, studies.iter().map(schedule).collect()).await
}
