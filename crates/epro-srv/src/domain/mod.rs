//! The rules of questionnaire work, as functions from state and command to effects or refusals.
//! Pure: nothing here may know SQL, transport, async or the clock.

pub mod answers;
pub mod campaign;
pub mod plan;
pub mod push;
pub mod schedule;
pub mod submission;
mod violation;

pub use violation::Violation;
