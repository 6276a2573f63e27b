//! The contracts between the services: gRPC types generated from `proto/`, the events of a project, and how they look in Kafka.
//! No I/O here, and no rules of any service.

mod generated;

pub use generated::{FILE_DESCRIPTOR_SET, epro, finance, monitor, project};
