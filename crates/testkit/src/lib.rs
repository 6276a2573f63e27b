//! What tests need from outside: a real Kafka and PostgreSQL, the real service binaries as processes, clients for
//! them, and a word said aloud when something is missing. Only tests use it; it knows no service's inside.
//!
//! `cargo xtask test` starts the servers once and names them in [`kafka::BROKERS_ENV`] and [`postgres::URL_ENV`].
//! A plain `cargo test` runs what needs no server; the other tests say `SKIPPED: <why>` on stderr and pass, except
//! under `CI=true`, where a skip is a failure.

mod child;
pub mod cluster;
mod container;
pub mod kafka;
mod paths;
mod port;
pub mod postgres;
pub mod scenario;
mod skip;
mod wait;

pub use child::Child;
pub use paths::{repository_root, target_dir};
pub use port::{free_port, free_ports};
pub use skip::{Missing, skip};
pub use wait::{wait_until, wait_until_blocking};
