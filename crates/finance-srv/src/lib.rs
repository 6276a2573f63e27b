//! The finance service: accrues what a study owes its sites, and keeps the ledger of it.

pub mod domain;
