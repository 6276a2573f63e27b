//! Events of projects to monitorings: what each event changes is decided in `domain::monitoring`, how often it arrives is the gate's business.

use contracts::events::ProjectEvent;
use outbox::db::{self, Tx};
use outbox::{EffectError, Effects, InboundEvent};
use time::OffsetDateTime;

use crate::checks::Claims;
use crate::consequence;
use crate::domain::monitoring::{Event, Lifecycle};
use crate::store::monitoring::{self as store, AppliedEvent};

/// The effects of project events on monitorings.
#[derive(Debug, Clone)]
pub(crate) struct Reactions {
    claims: Claims,
}

impl Reactions {
    /// Wakes the feeder of `claims` when a run may begin.
    pub(crate) fn new(claims: Claims) -> Self {
        Self { claims }
    }
}

impl Effects for Reactions {
    async fn apply(&self, tx: &Tx, event: &InboundEvent) -> Result<(), EffectError> {
        let inbound = &event.inbound;
        // A type that this version does not know changes nothing here.
        let Some(decoded) = &event.event else { return Ok(()) };
        let now = db::now();
        let monitoring = store::lock(tx, &inbound.stream_id).await?;
        let changed = lifecycle(decoded, inbound.time.unwrap_or(now))
            .and_then(|what| monitoring.after(Event { id: &inbound.id, what, applied_at: now }));
        if let Some((monitoring, consequence)) = &changed {
            store::save(tx, monitoring).await?;
            consequence::settle(tx, monitoring, *consequence, now).await?;
            // Also without a new run: a resume sets those free that wait.
            self.claims.wake();
        }
        // A plain record that changed nothing has no number that would leave a gap.
        if changed.is_some() || inbound.sequence.is_some() {
            let applied = AppliedEvent {
                event_id: inbound.id.clone(),
                event_type: inbound.event_type.clone(),
                sequence: inbound.sequence,
                applied_at: now,
            };
            store::note_event(tx, &inbound.stream_id, &applied).await?;
        }
        Ok(())
    }
}

fn lifecycle(event: &ProjectEvent, at: OffsetDateTime) -> Option<Lifecycle> {
    match event {
        ProjectEvent::ProjectStarted(started) => Some(Lifecycle::Started(started.start_time)),
        ProjectEvent::ProjectSuspended(_) => Some(Lifecycle::Suspended),
        ProjectEvent::ProjectResumed(_) => Some(Lifecycle::Resumed(at)),
        ProjectEvent::ProjectCompleted(_) | ProjectEvent::ProjectTerminated(_) => Some(Lifecycle::Ended),
        ProjectEvent::ProjectCreated(_) | ProjectEvent::StartupItemCompleted(_) | ProjectEvent::SiteActivated(_) => {
            None
        }
    }
}
