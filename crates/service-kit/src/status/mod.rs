//! The one place that turns what a service refuses or cannot do into gRPC status and HTTP codes.
//! Domain crates keep their own error types and convert them into [`ApiError`] here, at the boundary.

mod database;
mod error;
mod grpc;
mod http;
mod violations;

pub use error::{ApiError, DEFAULT_RETRY_AFTER, Precondition};
pub use violations::FieldViolations;
