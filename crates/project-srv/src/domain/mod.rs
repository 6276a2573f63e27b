//! What a project is and what may happen to it. Pure: no async, SQL, transport or clock anywhere below.

mod checklist;
mod events;
mod project;
mod rules;
mod state;

pub use checklist::Item;
pub use events::event;
pub use project::{Activation, Completion, MAX_SITES, MAX_SITES_BYTES, Profile, Project, Site, sites_fit};
pub use rules::{Command, Fact, Occurrence, Refusal, create, decide, evolve};
pub use state::{Action, State, UnknownState};
