//! The events of a project: what is in the value of a record. Each has a JSON Schema in `proto/events/`.
//!
//! Payloads only ever gain fields. Unknown fields are ignored, unknown types are `None`, so an old consumer outlives a new producer.

mod payload;
mod unix_seconds;

use serde::de::DeserializeOwned;

pub use payload::{
    LifecycleChange, PlannedSite, ProjectCreated, ProjectStarted, SiteActivated, StartedSite, StartupItem,
    StartupItemCompleted,
};

pub use crate::malformed::Malformed;

use crate::ids::ProjectId;

/// Type of the event that starts a study, the one that plain producers may send too.
pub const PROJECT_STARTED: &str = "ProjectStarted";

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident($payload:ty),)+) => {
        /// A fact about a project, as the services tell each other.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum ProjectEvent {
            $($(#[$doc])* $variant($payload),)+
        }

        /// The types of all events, in the order of [`ProjectEvent`].
        pub const EVENT_TYPES: &[&str] = &[$(stringify!($variant)),+];

        impl ProjectEvent {
            /// The type as `ce_type` says it, for example "ProjectStarted".
            pub fn event_type(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($variant),)+
                }
            }

            /// The project it is about.
            pub fn project_id(&self) -> &ProjectId {
                match self {
                    $(Self::$variant(payload) => &payload.project_id,)+
                }
            }

            /// The payload as JSON.
            pub fn to_json(&self) -> Vec<u8> {
                match self {
                    $(Self::$variant(payload) => serde_json::to_vec(payload),)+
                }
                .expect("payloads have string keys and write to memory")
            }

            /// Reads a payload. `None` for a type this version does not know.
            ///
            /// # Errors
            /// When the bytes are not the JSON of that type, with the place and the reason.
            pub fn decode(event_type: &str, data: &[u8]) -> Result<Option<Self>, Malformed> {
                match event_type {
                    $(stringify!($variant) => read(event_type, data).map(|payload| Some(Self::$variant(payload))),)+
                    _ => Ok(None),
                }
            }
        }
    };
}

events! {
    /// A project exists and is being prepared.
    ProjectCreated(ProjectCreated),
    /// An item of the start-up checklist is in place.
    StartupItemCompleted(StartupItemCompleted),
    /// A site may take part; after the start it is payable.
    SiteActivated(SiteActivated),
    /// The study runs.
    ProjectStarted(ProjectStarted),
    /// The study pauses.
    ProjectSuspended(LifecycleChange),
    /// The study runs again.
    ProjectResumed(LifecycleChange),
    /// The study ended as planned.
    ProjectCompleted(LifecycleChange),
    /// The study ended early.
    ProjectTerminated(LifecycleChange),
}

fn read<T: DeserializeOwned>(event_type: &str, data: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(data)
        .map_err(|cause| Malformed::new(format!("the value is not the JSON of a {event_type}: {cause}")))
}
