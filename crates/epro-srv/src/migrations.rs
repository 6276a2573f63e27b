//! The tables of epro-srv. They come after outbox's own tables.

use sea_orm::ConnectionTrait;
use sea_orm_migration::prelude::*;

/// This service's own migrations in order; outbox's come before them.
#[must_use]
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(Questionnaires)]
}

/// Creates all tables of the first version.
struct Questionnaires;

impl MigrationName for Questionnaires {
    fn name(&self) -> &'static str {
        "epro_0001_questionnaires"
    }
}

/// Doubles are impossible here, whatever the code does: a subject is asked an instrument at a visit once, a push exists once per assignment,
/// kind and instant, an assignment has one response and a submission id one place.
const INDEXES: [&str; 12] = [
    "CREATE INDEX campaign_to_generate ON campaign (study_id) WHERE generate_after IS NOT NULL",
    "CREATE UNIQUE INDEX applied_event_once ON applied_event (study_id, event_id)",
    "CREATE UNIQUE INDEX assignment_once ON assignment (study_id, subject_id, visit_id, instrument_id)
     WHERE state <> 'CANCELLED'",
    "CREATE INDEX assignment_by_study ON assignment (study_id, id)",
    "CREATE INDEX assignment_to_close ON assignment (window_closes_on) WHERE state = 'OPEN'",
    "CREATE UNIQUE INDEX notification_once ON notification (assignment_id, kind, due_at)",
    "CREATE UNIQUE INDEX notification_by_id ON notification (id)",
    "CREATE INDEX notification_by_study ON notification (study_id, seq)",
    "CREATE INDEX notification_due ON notification (next_attempt_at) WHERE state = 'PENDING'",
    "CREATE INDEX notification_waiting ON notification (study_id) WHERE state IN ('PENDING', 'HELD')",
    "CREATE UNIQUE INDEX response_once_per_submission ON response (study_id, submission_id)",
    "CREATE UNIQUE INDEX response_once_per_assignment ON response (assignment_id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Questionnaires {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [campaign(), applied_event(), schedule(), subject(), assignment(), notification(), response()];
        for table in tables {
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

fn day(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).date().not_null().take()
}

/// One row per study, written on first sight: its lock guards everything of the study. `generate_after` is the subject after which assignments
/// are still to be generated; NULL when all are.
fn campaign() -> TableCreateStatement {
    Table::create()
        .table("campaign")
        .col(text("study_id").primary_key())
        .col(text("state"))
        .col(number("schedule_version"))
        .col(instant("started_at"))
        .col(ColumnDef::new("start_event_id").text())
        .col(ColumnDef::new("last_event_id").text())
        .col(instant("last_event_applied_at"))
        .col(ColumnDef::new("generate_after").text())
        .col(instant("created_at").not_null())
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

fn schedule() -> TableCreateStatement {
    Table::create()
        .table("schedule")
        .col(text("study_id"))
        .col(number("version"))
        .col(ColumnDef::new("body").json_binary().not_null())
        .col(instant("published_at").not_null())
        .primary_key(Index::create().col("study_id").col("version"))
        .to_owned()
}

fn subject() -> TableCreateStatement {
    Table::create()
        .table("subject")
        .col(text("study_id"))
        .col(text("subject_id"))
        .col(text("site_id"))
        .col(day("enrolled_on"))
        .col(instant("created_at").not_null())
        .primary_key(Index::create().col("study_id").col("subject_id"))
        .to_owned()
}

fn assignment() -> TableCreateStatement {
    Table::create()
        .table("assignment")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(text("study_id"))
        .col(text("subject_id"))
        .col(text("site_id"))
        .col(text("visit_id"))
        .col(text("instrument_id"))
        .col(number("schedule_version"))
        .col(text("state"))
        .col(day("window_opens_on"))
        .col(day("due_on"))
        .col(day("window_closes_on"))
        .col(text("event_id"))
        .col(instant("created_at").not_null())
        .col(instant("completed_at"))
        .to_owned()
}

/// `seq` is the order of creation. A row is being sent while `lease_until` lies ahead.
fn notification() -> TableCreateStatement {
    Table::create()
        .table("notification")
        .col(number("seq").auto_increment().primary_key())
        .col(ColumnDef::new("id").uuid().not_null())
        .col(text("study_id"))
        .col(ColumnDef::new("assignment_id").uuid().not_null())
        .col(text("subject_id"))
        .col(text("kind"))
        .col(text("channel"))
        .col(text("state"))
        .col(text("event_id"))
        .col(instant("due_at").not_null())
        .col(instant("created_at").not_null())
        .col(instant("next_attempt_at").not_null())
        .col(instant("sent_at"))
        .col(number("attempts"))
        .col(text("last_error").default(""))
        .col(ColumnDef::new("lease_owner").uuid())
        .col(instant("lease_until"))
        .to_owned()
}

fn response() -> TableCreateStatement {
    Table::create()
        .table("response")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(text("study_id"))
        .col(text("submission_id"))
        .col(ColumnDef::new("assignment_id").uuid().not_null())
        .col(text("subject_id"))
        .col(text("instrument_id"))
        .col(number("schedule_version"))
        .col(ColumnDef::new("answers").json_binary().not_null())
        .col(ColumnDef::new("body_hash").blob().not_null())
        .col(instant("accepted_at").not_null())
        .to_owned()
}
