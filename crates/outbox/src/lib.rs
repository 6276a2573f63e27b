//! State and event in one transaction, the relay that publishes the events, and the gate that applies each of them once and in order.
//! It knows the envelope of the events and the pool's traits; it must not know what an event means.

pub mod db;
mod event;
pub mod requests;
mod schema;

pub use event::{AppendError, HeaderList, MAX_EVENT_BYTES, NewEvent, append};
pub use schema::{ColumnTypes, migrate, migrations, pending_migrations};
