//! Events of projects to accounts: what each event changes is decided in `domain`; that it comes once and in order is the gate's business.

use std::collections::BTreeMap;

use contracts::events::ProjectEvent;
use contracts::ids::ProjectId;
use outbox::db::{self, DbErr, Tx};
use outbox::{EffectError, Effects, InboundEvent};
use time::OffsetDateTime;

use crate::domain::{self, Account, Change, NewPayable, Step};
use crate::store::{self, account::Changed};

/// The effects of project events on accounts.
#[derive(Debug, Clone, Copy)]
pub struct Reactions;

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
        let studies = known.iter().map(|(inbound, _)| &inbound.stream_id).collect();
        let mut accounts = store::account::lock_all(tx, &studies, now).await?;
        let mut steps = Steps::default();
        let mut applied = Vec::with_capacity(known.len());
        for (inbound, known) in known {
            let study = &inbound.stream_id;
            let account = accounts.entry(study.clone()).or_insert_with(|| Account::new(study.clone()));
            let change = change(known, inbound.time.unwrap_or(now));
            let step = change.and_then(|change| domain::react(account, &change, &inbound.id));
            // A plain start that changed nothing was not applied; a numbered event always was.
            if step.is_some() || inbound.sequence.is_some() {
                applied.push(inbound);
            }
            if let Some(step) = step {
                account.clone_from(&step.account);
                steps.take(tx, step, &inbound.id, now).await?;
            }
        }
        steps.write(tx, now).await?;
        store::account::note_events(tx, &applied, now).await.map_err(|error| {
            if db::is_unique_violation(&error) {
                let events = applied.iter().map(|inbound| format!("{:?} of {:?}", inbound.id, inbound.source));
                let events = events.collect::<Vec<_>>().join(", ");
                return EffectError::Reject(format!(
                    "event {events} was applied to its study before; its producer gave the id twice"
                ));
            }
            error.into()
        })
    }
}

/// What events did, gathered so that it is written in few statements.
#[derive(Default)]
struct Steps {
    /// By study: the account after the last step, all sites that were touched, and the last event.
    changed: BTreeMap<ProjectId, (Step, String)>,
    arising: Vec<(ProjectId, NewPayable)>,
}

impl Steps {
    async fn take(&mut self, tx: &Tx, mut step: Step, event_id: &str, now: OffsetDateTime) -> Result<(), DbErr> {
        let study = step.account.study.clone();
        if let Some(settlement) = step.settlement {
            // The payables that it settles may be among those that are not written yet.
            self.write(tx, now).await?;
            store::payable::settle(tx, &study, settlement, event_id, now).await?;
        }
        self.arising.extend(step.arising.drain(..).map(|payable| (study.clone(), payable)));
        if let Some((before, _)) = self.changed.get_mut(&study) {
            step.touched.append(&mut before.touched);
        }
        self.changed.insert(study, (step, event_id.to_owned()));
        Ok(())
    }

    async fn write(&mut self, tx: &Tx, now: OffsetDateTime) -> Result<(), DbErr> {
        let (changed, arising) = (std::mem::take(&mut self.changed), std::mem::take(&mut self.arising));
        let changed: Vec<Changed<'_>> = changed
            .values()
            .map(|(step, event_id)| Changed { account: &step.account, touched: &step.touched, event_id })
            .collect();
        store::account::save(tx, &changed, now).await?;
        let arising: Vec<_> = arising.iter().map(|(study, payable)| (study, payable)).collect();
        store::arise(tx, &arising, now).await
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
