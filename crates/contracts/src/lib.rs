//! The contracts between the services: gRPC types generated from `proto/`, the events of a project, and how they look in Kafka.
//! No I/O here, and no rules of any service.

pub mod answers;
pub mod control;
pub mod envelope;
pub mod events;
mod generated;
pub mod ids;
pub mod inbound;
mod malformed;
mod named;
pub mod reasons;
pub mod topics;

pub use generated::{FILE_DESCRIPTOR_SET, epro, finance, monitor, project};
pub use malformed::Malformed;
pub use named::UnknownName;
