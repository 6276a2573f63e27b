//! A running pool, seen from outside.

use crate::errors::{PoolError, StopError};
use crate::record::TopicPartition;
use crate::report::{RunReport, Status};

/// A running pool. Dropping it stops the pool in the background, with nobody to hear how it ended: call [`Handle::stop`].
#[derive(Debug)]
pub struct Handle {
    monitor: Monitor,
}

/// A view of a running pool that can be cloned and outlives it: for readiness checks and operators' commands.
#[derive(Debug, Clone)]
pub struct Monitor {}

impl Handle {
    /// Waits for the first assignment. An error if the pool ends before.
    pub async fn ready(&self) -> Result<(), PoolError> {
        Ok(())
    }

    /// The pool now.
    pub fn status(&self) -> Status {
        self.monitor.status()
    }

    /// A view that can be cloned.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Stops dispatching, waits for what is in hand up to `drain_timeout`, commits, leaves the group. Not cancel safe in its answer:
    /// the stop goes on when the call is dropped, but nobody hears how it ended.
    pub async fn stop(self) -> Result<RunReport, StopError> {
        Ok(RunReport::default())
    }

    /// Waits until the pool has ended: `Ok` after a stop, an error when it ended by itself. Cancel safe; select on it.
    pub async fn finished(&self) -> Result<(), PoolError> {
        Ok(())
    }

    /// Lets a held partition go on: its held records are handed to the handler again.
    pub fn release(&self, partition: &TopicPartition) {
        self.monitor.release(partition);
    }

    /// Lets all held partitions go on.
    pub fn release_all(&self) {
        self.monitor.release_all();
    }

    /// Stops dispatching new records; those in hand go on, the group is not left.
    pub fn pause(&self) {
        self.monitor.pause();
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.monitor.resume();
    }
}

impl Monitor {
    /// The pool now.
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// See [`Handle::release`].
    pub fn release(&self, _partition: &TopicPartition) {}

    /// See [`Handle::release_all`].
    pub fn release_all(&self) {}

    /// See [`Handle::pause`].
    pub fn pause(&self) {}

    /// See [`Handle::resume`].
    pub fn resume(&self) {}
}
