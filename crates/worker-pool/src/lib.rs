//! A bounded worker pool that keeps the order of each key, is fair between keys, and never loses a job in silence.
//!
//! Jobs go into lanes by the hash of their key. A lane is one task: it polls a handler call once in line and keeps it only if it is pending,
//! so a fast handler costs nanoseconds and a slow key costs one slot. Failures are retried while their key alone waits; a failing batch is
//! taken apart until the culprit stands alone; an error of the environment pauses the whole pool and counts as no attempt.
//!
//! Two faces: [`Intake`] is a queue with an answer for each job (HTTP, gRPC); [`Pool`] with [`Work`] is the engine under it, for sources
//! that keep books of their own (the Kafka source does). This crate knows neither Kafka nor SQL.
//!
//! Handlers must yield: a poll longer than 10 ms holds up its lane; it is counted and warned of. Handlers that block run on a bounded set of
//! threads of the pool's own, by the same rules: see [`blocking`].
#![warn(missing_docs)]

/// The README's examples, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod adaptive;
mod admit;
mod backoff;
mod batch;
mod blocking;
mod call;
mod calls;
mod circuit;
mod direct;
mod failing;
mod failure;
mod hash;
mod intake;
mod intake_errors;
mod intake_options;
mod intake_work;
mod job;
mod lane;
mod limit;
mod link;
mod meters;
mod options;
mod pace;
mod pool;
mod schedule;
mod settle;
mod start;
mod threads;
mod verdict;

use std::time::Duration;

pub use adaptive::AdaptiveConcurrency;
pub use backoff::Backoff;
pub use blocking::{Blocking, BlockingIntakeHandler, BlockingWork, blocking};
pub use circuit::CircuitState;
pub use direct::{BegunCall, Called, Direct};
pub use failing::FailingCircuit;
pub use failure::{BoxError, HandlerError};
pub use hash::{AsItIs, KeyMap, key_hash, lane_of, mix};
pub use intake::{Collected, DrainReport, Intake, IntakeStatus, Results, Ticket};
pub use intake_errors::{JobError, SubmitError};
pub use intake_options::IntakeOptions;
pub use intake_work::IntakeHandler;
pub use job::{Finished, GaveUp, GiveUpReason, Job, Tag, Work};
pub use options::{OnTimeout, PoolOptions, WhenUnavailable};
pub use pool::{Pool, Refused};
pub use verdict::{Hold, OrFail, Reject, Retry, Unavailable};

/// A poll of a handler longer than this is counted and warned of.
const LONG_POLL: Duration = Duration::from_millis(10);
