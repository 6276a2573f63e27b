//! The consumer of a service: worker pool, gate, retry topic, positions and dead letters wired together, as one supervised task that keeps
//! its readiness true. The same for every service; what an event does is the service's [`Effects`].

mod health;
mod traced;
mod wiring;

pub use wiring::Consumer;
