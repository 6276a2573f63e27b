//! A commit of stored offsets with a time limit. librdkafka's own synchronous commit has none: without a coordinator it waits for a session
//! timeout, which under KIP-848 nobody can set. It must not decide what is stored, or when to try again.

use std::ptr;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as rdsys;
use rdsys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

use crate::owned::Owned;

/// Why a commit did not go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// No answer in time. The commit may still go through later.
    #[error("no answer to a commit within {timeout_ms} ms; is the group's coordinator reachable?")]
    NoAnswer {
        /// How long we waited.
        timeout_ms: i32,
    },
    /// librdkafka or the coordinator refused; `NoOffset` if there was nothing to commit.
    #[error("commit refused: {0}")]
    Refused(RDKafkaErrorCode),
}

impl CommitError {
    /// The refusal's code.
    #[must_use]
    pub fn code(&self) -> Option<RDKafkaErrorCode> {
        match self {
            Self::Refused(code) => Some(*code),
            Self::NoAnswer { .. } => None,
        }
    }
}

/// Commits what is stored for the current assignment, and waits at most `timeout` for the coordinator's answer. May be called inside a
/// rebalance callback. Blocks: not for a runtime's thread.
///
/// # Errors
/// If the commit was refused, there was nothing to commit (`NoOffset`), or no answer came in time.
pub fn commit_stored<C: ConsumerContext>(consumer: &BaseConsumer<C>, timeout: Duration) -> Result<(), CommitError> {
    let client = consumer.client().native_ptr();
    // SAFETY: the client is alive, held by `consumer`, and outlives the queue, which is ours to destroy.
    let queue = unsafe { Owned::new(rdsys::rd_kafka_queue_new(client), rdsys::rd_kafka_queue_destroy) };
    let queue = queue.ok_or(CommitError::Refused(RDKafkaErrorCode::Fail))?;
    // SAFETY: the client and the queue are alive. No list means what is stored; no callback means an event in the queue. The request holds
    // a reference of its own to what is behind the queue, so an answer that comes too late finds it disabled, and is freed.
    let code = unsafe { rdsys::rd_kafka_commit_queue(client, ptr::null(), queue.as_ptr(), None, ptr::null_mut()) };
    if code != RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(CommitError::Refused(code.into()));
    }
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the queue is alive; the event, if any, is ours to destroy.
    let answer =
        unsafe { Owned::new(rdsys::rd_kafka_queue_poll(queue.as_ptr(), timeout_ms), rdsys::rd_kafka_event_destroy) };
    let answer = answer.ok_or(CommitError::NoAnswer { timeout_ms })?;
    // SAFETY: the event is alive, and the call only reads it.
    match unsafe { rdsys::rd_kafka_event_error(answer.as_ptr()) } {
        RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(CommitError::Refused(code.into())),
    }
}
