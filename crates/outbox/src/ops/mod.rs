//! What operators and the doctor do with an outbox and a gate: look, refill a topic, set failed rows free, start a new epoch. It must not
//! know the services.

mod embedded;
mod forgotten;
mod looks;
mod mends;
mod prune;

pub use embedded::{EmbeddedRestart, embedded_restart, leave_embedded};
pub use forgotten::send_forgotten_again;
pub use looks::{
    FailedRow, Gap, OpenLetter, Unpublished, failed_rows, gaps, gaps_of, holds_event, open_letters, unpublished,
};
pub use mends::{Refill, Republish, begun_epoch, new_epoch, republish, retry_failed};
pub use prune::prune_ended;
