//! What a service gives the gate: the effect of an event, inside the gate's transaction. It must not know how the event came or whether it
//! came before.

use std::{any::Any, future::Future, sync::Arc};

use bytes::Bytes;
use contracts::{events::ProjectEvent, inbound::Inbound};

use crate::db::{DbErr, Tx};

/// The effects of events on a service's own state.
pub trait Effects: Send + Sync + 'static {
    /// Applies one event in `tx`, which also moves the gate: both commit or neither does. Called in the stream's order, for every type of
    /// event, and never again for one that was applied. A foreign start (`event.inbound.origin`) must not reopen what is suspended or
    /// closed.
    ///
    /// # Errors
    /// What is to become of the event; the transaction is rolled back in any case. A panic counts as an attempt, as [`EffectError::Retry`].
    fn apply(&self, tx: &Tx, event: &InboundEvent) -> impl Future<Output = Result<(), EffectError>> + Send;

    /// The most events that [`Effects::apply_all`] gets in one call. More than 1 for effects that read and write for many events in the
    /// statements that one event takes; the time that so many take should stay well below the transaction's: after one that ran out of it
    /// they get fewer.
    const AT_ONCE: usize = 1;

    /// Applies events in their order, all as [`Effects::apply`] would one after another; of one stream or of several. Where it fails the
    /// transaction is rolled back, and the events are tried again fewer at once until the one that fails is alone.
    ///
    /// # Errors
    /// As [`Effects::apply`]; of one event alone the error is that event's.
    fn apply_all(&self, tx: &Tx, events: &[InboundEvent]) -> impl Future<Output = Result<(), EffectError>> + Send {
        async move {
            for event in events {
                self.apply(tx, event).await?;
            }
            Ok(())
        }
    }
}

impl<E: Effects> Effects for Arc<E> {
    fn apply(&self, tx: &Tx, event: &InboundEvent) -> impl Future<Output = Result<(), EffectError>> + Send {
        E::apply(self, tx, event)
    }

    const AT_ONCE: usize = E::AT_ONCE;

    fn apply_all(&self, tx: &Tx, events: &[InboundEvent]) -> impl Future<Output = Result<(), EffectError>> + Send {
        E::apply_all(self, tx, events)
    }
}

/// An event whose turn it is.
#[derive(Clone, Debug)]
pub struct InboundEvent {
    /// Its envelope.
    pub inbound: Inbound,
    /// What happened; None for a type this version does not know (nothing to do).
    pub event: Option<ProjectEvent>,
    /// The record's value.
    pub data: Bytes,
    /// Where it was read.
    pub place: Place,
}

impl InboundEvent {
    /// The envelope with what happened; None for a type this version does not know, which changes nothing.
    #[must_use]
    pub fn known(&self) -> Option<(&Inbound, &ProjectEvent)> {
        Some((&self.inbound, self.event.as_ref()?))
    }
}

/// Where a record was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// Why an effect was not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EffectError {
    /// No attempt can succeed: to the dead letters, with this reason.
    #[error("{0}")]
    Reject(String),
    /// A later attempt may succeed; this one counts.
    #[error("{0}")]
    Retry(String),
    /// The database's: an error of the environment counts no attempt, any other counts one.
    #[error(transparent)]
    Database(#[from] DbErr),
}

impl EffectError {
    /// A panic counts as an attempt.
    pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self::Retry(format!("the effect panicked: {}", text.unwrap_or("without a message")))
    }
}
