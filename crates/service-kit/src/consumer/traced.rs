//! Puts each effect into the trace of the call that caused it, and measures how long after the event it came.

use std::time::Duration;

use contracts::inbound::Inbound;
use outbox::db::Tx;
use outbox::{EffectError, Effects, InboundEvent};
use tracing::{Instrument as _, Span};

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
        self.apply_all(tx, std::slice::from_ref(event)).await
    }

    const AT_ONCE: usize = E::AT_ONCE;

    async fn apply_all(&self, tx: &Tx, events: &[InboundEvent]) -> Result<(), EffectError> {
        // Of several at once each has a span of its own in its trace, as long as all of them take; what they do is told under the first. The
        // others' are only for a collector.
        let shown = if telemetry::exports() { events.len() } else { 1 };
        let spans: Vec<Span> = events.iter().take(shown).map(|event| span(&event.inbound)).collect();
        let first = spans.first().cloned().unwrap_or_else(Span::none);
        self.effects.apply_all(tx, events).instrument(first).await?;
        let now = outbox::db::now();
        let delays = metrics::histogram!("reaction_delay_seconds", "group" => self.group);
        for at in events.iter().filter_map(|event| event.inbound.time) {
            // Clocks of two machines may disagree; a reaction before its event counts as immediate.
            let delay = Duration::try_from(now - at).unwrap_or_default();
            delays.record(delay);
        }
        Ok(())
    }
}

fn span(inbound: &Inbound) -> Span {
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
    span
}
