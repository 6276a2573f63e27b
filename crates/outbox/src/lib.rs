//! State and event in one transaction, the relay that publishes the events, and the gate that applies each of them once and in order.
//! It knows the envelope of the events and the pool's traits; it must not know what an event means.

pub mod db;
mod event;
mod facts;
mod gate;
pub mod ops;
mod relay;
pub mod requests;
mod schema;

pub use event::{AppendError, HeaderList, MAX_EVENT_BYTES, NewEvent, append, append_with};
pub use gate::{EffectError, Effects, Gate, GateOptions, GateReport, InboundEvent, KafkaIdentity, Place};
/// The gate's decisions as pure functions, for whoever explores them.
pub mod decision {
    pub use crate::gate::{Decision, Epoch, Kind, Repeated, Stream, repeated};
}
pub use relay::{Relay, RelayError, RelayHandle, RelayOptions, RelayStatus, TakeoverError};
pub use schema::{ColumnTypes, migrate, migrations, pending_migrations};
