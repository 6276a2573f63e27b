//! Events of projects to campaigns: what each event changes is decided in `domain::campaign`, how often it arrives is the gate's business.

use std::collections::BTreeMap;

use contracts::events::ProjectEvent;
use contracts::ids::ProjectId;
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

    /// Does what a move means for the pushes of a study.
    async fn settle(&self, tx: &Tx, campaign: &Campaign, pushes: Pushes, now: OffsetDateTime) -> Result<(), DbErr> {
        let study = &campaign.study;
        match pushes {
            Pushes::Plan => generation::of_starts(tx, std::slice::from_ref(campaign), self.channel, now).await?,
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
        self.apply_all(tx, std::slice::from_ref(event)).await
    }

    const AT_ONCE: usize = 256;

    async fn apply_all(&self, tx: &Tx, events: &[InboundEvent]) -> Result<(), EffectError> {
        let known: Vec<_> = events.iter().filter_map(InboundEvent::known).collect();
        if known.is_empty() {
            return Ok(());
        }
        let now = db::now();
        let mut campaigns =
            campaign::lock_all(tx, &known.iter().map(|(inbound, _)| &inbound.stream_id).collect(), now).await?;
        let mut moved: BTreeMap<&ProjectId, &str> = BTreeMap::new();
        let mut starts: Vec<Campaign> = Vec::new();
        let mut applied = Vec::with_capacity(known.len());
        for (inbound, happened) in known {
            let study = &inbound.stream_id;
            let campaign = campaigns
                .get_mut(study)
                .ok_or_else(|| DbErr::RecordNotFound(format!("campaign {study} vanished under its lock")))?;
            let step =
                lifecycle(happened, inbound.time.unwrap_or(now)).and_then(|event| rules::react(campaign.state, event));
            if let Some(step) = &step {
                campaign.make(step, &inbound.id);
                moved.insert(study, &inbound.id);
                if step.pushes == Pushes::Plan {
                    starts.push(campaign.clone());
                } else {
                    // What the study's start plans may be what this holds or cancels.
                    generation::of_starts(tx, &std::mem::take(&mut starts), self.channel, now).await?;
                    self.settle(tx, campaign, step.pushes, now).await?;
                }
            }
            if step.is_some() || inbound.sequence.is_some() {
                let event = AppliedEvent {
                    event_id: inbound.id.clone(),
                    event_type: inbound.event_type.clone(),
                    sequence: inbound.sequence,
                    applied_at: now,
                };
                applied.push((study, event));
            }
        }
        generation::of_starts(tx, &starts, self.channel, now).await?;
        let moved: Vec<_> =
            moved.iter().filter_map(|(study, event_id)| Some((campaigns.get(*study)?, *event_id))).collect();
        campaign::save(tx, &moved, now).await?;
        campaign::note_events(tx, &applied).await?;
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
