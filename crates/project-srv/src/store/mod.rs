//! The SQL of project-srv, the same texts on both databases. It must not decide anything.

mod audit;
mod project;

pub(crate) use audit::{AuditRow, NewEntry, facts_after, page as audit_page};
pub(crate) use project::{get, insert, latest_epoch, lock, page, save, versions};
