//! Events of projects to accounts: what each event changes is decided in `domain`; that it comes once and in order is the gate's business.

use contracts::events::ProjectEvent;
use outbox::db::{self, Tx};
use outbox::{EffectError, Effects, InboundEvent};
use time::OffsetDateTime;

use crate::domain::{self, Change};
use crate::store;

/// The effects of project events on accounts.
#[derive(Debug, Clone, Copy)]
pub struct Reactions;

impl Effects for Reactions {
    async fn apply(&self, tx: &Tx, event: &InboundEvent) -> Result<(), EffectError> {
        // A type that this version does not know changes nothing here.
        let Some(known) = &event.event else { return Ok(()) };
        let inbound = &event.inbound;
        let now = db::now();
        let account = store::account::lock(tx, &inbound.stream_id, now).await?;
        let change = change(known, inbound.time.unwrap_or(now));
        let step = change.and_then(|change| domain::react(&account, &change, &inbound.id));
        if let Some(step) = &step {
            store::account::save(tx, step, &inbound.id, now).await?;
            if let Some(settlement) = step.settlement {
                store::payable::settle(tx, &account.study, settlement, &inbound.id, now).await?;
            }
            store::arise(tx, &account.study, &step.arising, now).await?;
        }
        // A plain start that changed nothing was not applied; a numbered event always was.
        if step.is_some() || inbound.sequence.is_some() {
            store::account::note_event(tx, inbound, now).await.map_err(|error| {
                if db::is_unique_violation(&error) {
                    let (id, source) = (&inbound.id, &inbound.source);
                    let study = &account.study;
                    return EffectError::Reject(format!(
                        "event {id:?} of {source:?} was applied to study {study} before; its producer gave the id twice"
                    ));
                }
                error.into()
            })?;
        }
        Ok(())
    }
}

/// What an event means for an account. `at` is when it happened, for events that do not say so themselves.
fn change(event: &ProjectEvent, at: OffsetDateTime) -> Option<Change> {
    match event {
        ProjectEvent::SiteActivated(site) => {
            Some(Change::SiteActivated { site_id: site.site_id.clone(), at: site.activated_at.unwrap_or(at) })
        }
        ProjectEvent::ProjectStarted(start) => Some(Change::Started {
            at: start.start_time,
            sites: start.sites.iter().map(|site| (site.site_id.clone(), site.activated_at)).collect(),
        }),
        ProjectEvent::ProjectSuspended(_) => Some(Change::Suspended),
        ProjectEvent::ProjectResumed(_) => Some(Change::Resumed { at }),
        ProjectEvent::ProjectCompleted(_) | ProjectEvent::ProjectTerminated(_) => Some(Change::Ended),
        ProjectEvent::ProjectCreated(_) | ProjectEvent::StartupItemCompleted(_) => None,
    }
}
