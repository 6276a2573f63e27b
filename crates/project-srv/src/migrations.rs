//! The tables of project-srv: projects and their append-only audit trail. They come after outbox's own tables.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// The service's own tables, in order; outbox's come before them.
#[must_use]
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(Projects), Box::new(AuditIsAppendOnly)]
}

/// Creates `project` and `project_audit`.
struct Projects;

impl MigrationName for Projects {
    fn name(&self) -> &'static str {
        "m2026_project_0001_projects"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Projects {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(project()).await?;
        manager.create_table(project_audit()).await?;
        let by_state = Index::create().name("project_by_state").table("project").col("state").col("id").to_owned();
        manager.create_index(by_state).await?;
        let once_per_version = Index::create()
            .name("project_audit_once_per_version")
            .table("project_audit")
            .col("project_id")
            .col("version")
            .unique()
            .to_owned();
        manager.create_index(once_per_version).await
    }
}

/// The aggregate is one row, checklist and sites included: locking it reads all that a decision needs in one
/// statement, and as of the lock. (A join would read the sites as of the statement's start on PostgreSQL, before a
/// site that was activated while it waited for the lock.)
fn project() -> TableCreateStatement {
    Table::create()
        .table("project")
        .col(ColumnDef::new("id").text().not_null().primary_key())
        .col(ColumnDef::new("name").text().not_null())
        .col(ColumnDef::new("protocol_number").text().not_null())
        .col(ColumnDef::new("protocol_title").text().not_null())
        .col(ColumnDef::new("sponsor").text().not_null())
        .col(ColumnDef::new("state").text().not_null())
        .col(ColumnDef::new("version").big_integer().not_null())
        .col(ColumnDef::new("stream_epoch").big_integer().not_null())
        .col(ColumnDef::new("event_seq").big_integer().not_null())
        .col(ColumnDef::new("last_event_id").uuid().not_null())
        .col(ColumnDef::new("checklist").json_binary().not_null())
        .col(ColumnDef::new("sites").json_binary().not_null())
        .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("updated_at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("started_at").timestamp_with_time_zone())
        .col(ColumnDef::new("ended_at").timestamp_with_time_zone())
        .to_owned()
}

/// One row per version of a project: who did what and why, and the fact itself, which a watcher replays. `from_state` is NULL where the project came into being.
fn project_audit() -> TableCreateStatement {
    Table::create()
        .table("project_audit")
        .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new("project_id").text().not_null())
        .col(ColumnDef::new("version").big_integer().not_null())
        .col(ColumnDef::new("at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("actor").text().not_null())
        .col(ColumnDef::new("action").text().not_null())
        .col(ColumnDef::new("from_state").text())
        .col(ColumnDef::new("to_state").text().not_null())
        .col(ColumnDef::new("reason").text().not_null())
        .col(ColumnDef::new("fact").json_binary().not_null())
        .col(ColumnDef::new("event_id").uuid().not_null())
        .to_owned()
}

/// Has the database itself refuse to change or remove an audit row, whoever asks.
struct AuditIsAppendOnly;

impl MigrationName for AuditIsAppendOnly {
    fn name(&self) -> &'static str {
        "m2026_project_0002_audit_is_append_only"
    }
}

const APPEND_ONLY_SQLITE: [&str; 2] = [
    "CREATE TRIGGER project_audit_no_update BEFORE UPDATE ON project_audit
     BEGIN SELECT RAISE(ABORT, 'project_audit is append-only'); END",
    "CREATE TRIGGER project_audit_no_delete BEFORE DELETE ON project_audit
     BEGIN SELECT RAISE(ABORT, 'project_audit is append-only'); END",
];

const APPEND_ONLY_POSTGRES: [&str; 2] = [
    "CREATE FUNCTION project_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS
     $$ BEGIN RAISE EXCEPTION 'project_audit is append-only'; END $$",
    "CREATE TRIGGER project_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON project_audit
     FOR EACH STATEMENT EXECUTE FUNCTION project_audit_append_only()",
];

#[async_trait::async_trait]
impl MigrationTrait for AuditIsAppendOnly {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let statements = match manager.get_database_backend() {
            DbBackend::Sqlite => APPEND_ONLY_SQLITE,
            _ => APPEND_ONLY_POSTGRES,
        };
        for statement in statements {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
