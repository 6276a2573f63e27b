//! Puts each effect into the trace of the call that caused it, and measures how long after the event it came.

use std::time::Duration;

use outbox::db::Tx;
use outbox::{EffectError, Effects, InboundEvent};
use tracing::Instrument as _;

use crate::telemetry;

/// Effects with a span around each.
pub(super) struct Traced<E> {
    group: &'static str,
    effects: E,
}

impl<E> Traced<E> {
    pub(super) fn new(group: &'static str, effects: E) -> Self {
        Self { group, effects }
    }
}

impl<E: Effects> Effects for Traced<E> {
    async fn apply(&self, tx: &Tx, event: &InboundEvent) -> Result<(), EffectError> {
        let inbound = &event.inbound;
        let span = tracing::info_span!(
            "reaction",
            otel.kind = "consumer",
            event_type = inbound.event_type,
            event_id = inbound.id,
            project_id = inbound.stream_id.as_str(),
            sequence = inbound.sequence,
        );
        if let Some(traceparent) = &inbound.traceparent {
            telemetry::set_parent(&span, traceparent);
        }
        let applied = self.effects.apply(tx, event).instrument(span).await;
        if let (Ok(()), Some(at)) = (&applied, inbound.time) {
            // Clocks of two machines may disagree; a reaction before its event counts as immediate.
            let delay = Duration::try_from(outbox::db::now() - at).unwrap_or_default();
            metrics::histogram!("reaction_delay_seconds", "group" => self.group).record(delay);
        }
        applied
    }
}
