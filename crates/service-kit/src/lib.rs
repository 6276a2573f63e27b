//! What all four services share: configuration, telemetry, supervision, admin HTTP, the gRPC server, the database connection,
//! and the wiring of consumer and relay. Knows how a service is run; must not know any domain.

pub mod actor;
pub mod admin;
pub mod cli;
pub mod config;
pub mod consumer;
pub mod database;
pub mod grpc;
mod healthcheck;
pub mod page;
pub mod readiness;
pub mod relay;
pub mod retention;
mod sentence;
pub mod sockets;
pub mod status;
pub mod supervisor;
pub mod telemetry;

pub use config::{BaseArgs, ServiceConfig, ServiceInfo};
pub use consumer::Consumer;
pub use readiness::{Component, Readiness};
pub use sentence::sentence;
pub use sockets::Sockets;
pub use supervisor::{Phase, Supervisor};
