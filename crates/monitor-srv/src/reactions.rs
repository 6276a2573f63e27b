//! Events of projects to monitorings: what each event changes is decided in `domain::monitoring`, how often it arrives is the gate's business.

use std::collections::BTreeSet;

use contracts::events::ProjectEvent;
use contracts::ids::ProjectId;
use outbox::db::{self, Tx};
use outbox::{EffectError, Effects, InboundEvent};
use time::OffsetDateTime;

use crate::checks::Claims;
use crate::consequence::Queue;
use crate::domain::monitoring::{Event, Lifecycle, Monitoring};
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
        self.apply_all(tx, std::slice::from_ref(event)).await
    }

    const AT_ONCE: usize = 256;

    async fn apply_all(&self, tx: &Tx, events: &[InboundEvent]) -> Result<(), EffectError> {
        let known: Vec<_> = events.iter().filter_map(InboundEvent::known).collect();
        if known.is_empty() {
            return Ok(());
        }
        let now = db::now();
        let mut monitorings =
            store::lock_all(tx, &known.iter().map(|(inbound, _)| &inbound.stream_id).collect()).await?;
        let mut changed: BTreeSet<&ProjectId> = BTreeSet::new();
        let mut queue = Queue::default();
        let mut applied = Vec::with_capacity(known.len());
        for (inbound, decoded) in known {
            let study = &inbound.stream_id;
            let monitoring = monitorings.entry(study.clone()).or_insert_with(|| Monitoring::new(study.clone()));
            let after = lifecycle(decoded, inbound.time.unwrap_or(now))
                .and_then(|what| monitoring.clone().after(Event { id: &inbound.id, what, applied_at: now }));
            let is_changed = after.is_some();
            if let Some((after, consequence)) = after {
                queue.settle(tx, &after, consequence, now).await?;
                *monitoring = after;
                changed.insert(study);
            }
            // A plain record that changed nothing has no number that would leave a gap.
            if is_changed || inbound.sequence.is_some() {
                let event = AppliedEvent {
                    event_id: inbound.id.clone(),
                    event_type: inbound.event_type.clone(),
                    sequence: inbound.sequence,
                    applied_at: now,
                };
                applied.push((study, event));
            }
        }
        queue.write(tx, now).await?;
        if !changed.is_empty() {
            let changed: Vec<&Monitoring> = changed.iter().filter_map(|study| monitorings.get(*study)).collect();
            store::save(tx, &changed).await?;
            // Also without a new run: a resume sets those free that wait.
            self.claims.wake();
        }
        store::note_events(tx, &applied).await?;
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
