//! The tables of monitor-srv. They come after outbox's own tables.

use sea_orm::ConnectionTrait;
use sea_orm_migration::prelude::*;

/// The service's own tables, in order; outbox's come before them.
#[must_use]
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(Checks)]
}

/// Creates all tables of the first version.
struct Checks;

impl MigrationName for Checks {
    fn name(&self) -> &'static str {
        "m2026_monitor_0001_checks"
    }
}

/// Doubles are impossible here, whatever the code does: an event is noted once, and causes one run.
const INDEXES: [&str; 5] = [
    "CREATE UNIQUE INDEX applied_event_once ON applied_event (study_id, event_id)",
    "CREATE INDEX applied_event_by_study ON applied_event (study_id, position)",
    "CREATE UNIQUE INDEX check_run_once_per_event ON check_run (study_id, event_id) WHERE event_id <> ''",
    "CREATE INDEX check_run_by_study ON check_run (study_id, id)",
    "CREATE INDEX check_run_open ON check_run (id) WHERE state IN ('QUEUED', 'RUNNING')",
];

#[async_trait::async_trait]
impl MigrationTrait for Checks {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [monitoring(), applied_event(), monitoring_plan(), dataset(), check_run(), check_item()] {
            manager.create_table(table).await?;
        }
        for index in INDEXES {
            manager.get_connection().execute_unprepared(index).await?;
        }
        Ok(())
    }
}

fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).text().not_null().take()
}

fn number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

fn instant(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).timestamp_with_time_zone().take()
}

/// One row per study, written on first sight: its lock guards everything of the study but its datasets.
fn monitoring() -> TableCreateStatement {
    Table::create()
        .table("monitoring")
        .col(text("study_id").primary_key())
        .col(text("state"))
        .col(number("plan_version"))
        .col(instant("started_at"))
        .col(ColumnDef::new("start_event_id").text())
        .col(ColumnDef::new("is_first_run_queued").boolean().not_null())
        .col(ColumnDef::new("last_event_id").text())
        .col(instant("last_event_applied_at"))
        .to_owned()
}

/// Which events of the project were applied, in order. `sequence` is NULL for a plain record.
fn applied_event() -> TableCreateStatement {
    Table::create()
        .table("applied_event")
        .col(number("position").auto_increment().primary_key())
        .col(text("study_id"))
        .col(text("event_id"))
        .col(text("event_type"))
        .col(ColumnDef::new("sequence").big_integer())
        .col(instant("applied_at").not_null())
        .to_owned()
}

fn monitoring_plan() -> TableCreateStatement {
    Table::create()
        .table("monitoring_plan")
        .col(text("study_id"))
        .col(number("version"))
        .col(ColumnDef::new("checks").json_binary().not_null())
        .col(instant("created_at").not_null())
        .primary_key(Index::create().col("study_id").col("version"))
        .to_owned()
}

/// `upload_id` names one upload: contents in memory are known by it. Row and column counts are those of `content`.
fn dataset() -> TableCreateStatement {
    Table::create()
        .table("dataset")
        .col(text("study_id"))
        .col(text("name"))
        .col(ColumnDef::new("upload_id").uuid().not_null())
        .col(number("row_count"))
        .col(number("column_count"))
        .col(instant("uploaded_at").not_null())
        .col(ColumnDef::new("content").blob().not_null())
        .primary_key(Index::create().col("study_id").col("name"))
        .to_owned()
}

/// A run belongs to the instance `claimed_by` while `claimed_until` lies ahead. `event_id` is empty for one that was asked for over HTTP.
fn check_run() -> TableCreateStatement {
    Table::create()
        .table("check_run")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(text("study_id"))
        .col(number("plan_version"))
        .col(text("state"))
        .col(text("event_id"))
        .col(instant("created_at").not_null())
        .col(instant("started_at"))
        .col(instant("finished_at"))
        .col(ColumnDef::new("claimed_by").uuid())
        .col(instant("claimed_until"))
        .to_owned()
}

/// `outcome` is NULL until there is a result.
fn check_item() -> TableCreateStatement {
    Table::create()
        .table("check_item")
        .col(ColumnDef::new("run_id").uuid().not_null())
        .col(number("position"))
        .col(ColumnDef::new("body").json_binary().not_null())
        .col(ColumnDef::new("outcome").text())
        .col(number("observed"))
        .col(text("message"))
        .primary_key(Index::create().col("run_id").col("position"))
        .to_owned()
}
