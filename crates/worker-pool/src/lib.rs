//! skeleton of the public face; the engine follows
mod backoff;
mod circuit;
mod failure;
mod hash;
mod intake;
mod intake_errors;
mod options;

pub use backoff::Backoff;
pub use circuit::CircuitState;
pub use failure::{BoxError, HandlerError};
pub use hash::{key_hash, lane_of};
pub use intake::{Collected, DrainReport, Intake, IntakeHandler, IntakeOptions, IntakeStatus, Results, Ticket, WhenUnavailable};
pub use intake_errors::{JobError, SubmitError};
pub use options::OnTimeout;
