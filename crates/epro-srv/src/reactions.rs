//! Events of projects to campaigns: what each event changes is decided in `domain::campaign`, how often it arrives is the gate's business.

use contracts::events::ProjectEvent;
use outbox::db::{self, DbErr, Tx};
use outbox::{EffectError, Effects, InboundEvent};
use time::OffsetDateTime;

use crate::domain::campaign::{self as rules, Lifecycle, Pushes};
use crate::domain::push::Channel;
use crate::generation;
use crate::store::campaign::{self, AppliedEvent, Campaign};
use crate::store::{assignment, notification};

/// The effects of project events on campaigns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reactions {
    channel: Channel,
}

impl Reactions {
    /// Pushes planned by these effects take `channel`.
    #[must_use]
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    async fn settle(&self, tx: &Tx, campaign: &Campaign, pushes: Pushes, now: OffsetDateTime) -> Result<(), DbErr> {
        let study = &campaign.study;
        match pushes {
            Pushes::Plan => {
                generation::for_all(tx, campaign, self.channel, now).await?;
            }
            Pushes::Hold => {
                notification::hold(tx, study).await?;
            }
            Pushes::Release => {
                assignment::miss_closed(tx, study, now.date()).await?;
                notification::cancel_needless(tx, study).await?;
                notification::release(tx, study, now).await?;
                generation::for_all(tx, campaign, self.channel, now).await?;
            }
            Pushes::Cancel => {
                assignment::cancel_open(tx, study).await?;
                notification::cancel_needless(tx, study).await?;
            }
        }
        Ok(())
    }
}

impl Effects for Reactions {
    async fn apply(&self, tx: &Tx, event: &InboundEvent) -> Result<(), EffectError> {
        // A type that this version does not know changes nothing here.
        let (inbound, Some(happened)) = (&event.inbound, &event.event) else { return Ok(()) };
        let now = db::now();
        let mut campaign = campaign::lock(tx, &inbound.stream_id, now).await?;
        let step =
            lifecycle(happened, inbound.time.unwrap_or(now)).and_then(|event| rules::react(campaign.state, event));
        if let Some(step) = &step {
            campaign::apply(tx, &mut campaign, step, &inbound.id, now).await?;
            self.settle(tx, &campaign, step.pushes, now).await?;
        }
        if step.is_some() || inbound.sequence.is_some() {
            let applied = AppliedEvent {
                event_id: inbound.id.clone(),
                event_type: inbound.event_type.clone(),
                sequence: inbound.sequence,
                applied_at: now,
            };
            campaign::note_event(tx, &campaign.study, &applied).await?;
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
