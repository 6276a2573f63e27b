//! What rdkafka does not wrap, in safe types: queues that are drained in batches, native messages, topic ids, the question
//! which group protocol a broker speaks, commits with a time limit and what is written beside their offsets, errors for tests, and the broker that `ctms dev` hosts in its own process.
//!
//! This is the only crate with `unsafe`. Each block says why it is sound, and `tests/conformance.rs` holds the facts about
//! librdkafka that the blocks lean on against the library that is linked. It knows nothing of services, events or pools.
#![allow(unsafe_code, reason = "the one crate that calls librdkafka directly; every block carries a SAFETY comment")]

mod commit;
mod embedded;
mod fault;
mod fetch;
mod group_protocol;
mod identity;
mod message;
mod metadata;
mod owned;
mod queue;

pub use commit::{CommitError, commit_stored};
pub use embedded::{BrokerError, EmbeddedBroker, EmbeddedOptions, GroupProtocols};
pub use fault::{FaultError, test_fatal_error};
pub use fetch::wake_fetchers;
pub use group_protocol::{GroupProtocolSupport, probe_group_protocol};
pub use identity::{DescribeError, cluster_id, is_embedded_cluster, topic_ids};
pub use message::{Header, Headers, MessageError, NativeMessage, TopicPtr};
pub use metadata::commit_metadata;
pub use queue::{ForwardError, QueueError, QueueHandle, SharedQueue};
