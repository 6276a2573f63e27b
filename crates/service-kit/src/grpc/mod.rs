//! The gRPC server of a service: limits, reflection, health that follows readiness, and one layer around every call.
//! Knows calls and connections; must not know what a call means.

mod body;
mod call;
mod layer;
mod server;
#[cfg(test)]
mod tests;

pub use server::Server;
