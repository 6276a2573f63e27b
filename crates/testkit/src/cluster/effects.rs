//! What the services did about a project, read back through their public APIs, in one form for all three.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use contracts::{epro::v1 as epro, finance::v1 as finance, monitor::v1 as monitor, project::v1 as project};
use tonic::{Code, Status};

use super::{Cluster, Service, Study};
use crate::wait_until;

/// State of a study in a consumer. The three services number theirs alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifeState {
    /// Not started.
    Pending,
    /// Running.
    Active,
    /// Paused.
    Suspended,
    /// Over.
    Closed,
}

/// An event that a consumer says it applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// `ce_id`.
    pub event_id: String,
    /// `ce_type`.
    pub event_type: String,
    /// `ce_sequence`; 0 for a foreign record.
    pub sequence: i64,
}

/// What one consumer did about one study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// Its state.
    pub state: LifeState,
    /// Events in the order of application.
    pub applied: Vec<Applied>,
    /// One for each effect row (assignment, payable, check run): the event that caused it.
    pub effects: Vec<String>,
}

/// More than any test makes.
const PAGE: i32 = 1_000;
/// A killed member's partitions stand still for its session of 10 s.
const REACTION_DEADLINE: Duration = Duration::from_secs(60);

impl Cluster {
    /// What a consumer did; `None` while it knows nothing of the study.
    ///
    /// # Errors
    /// Whatever else it answers.
    pub async fn reaction(&self, service: Service, study_id: &str) -> Result<Option<Reaction>> {
        let answer = match service {
            Service::Epro => self.campaign(study_id).await,
            Service::Finance => self.account(study_id).await,
            Service::Monitor => self.monitoring(study_id).await,
            Service::Project => anyhow::bail!("{service} reacts to nothing"),
        };
        match answer {
            Ok(reaction) => Ok(Some(reaction)),
            Err(error) if error.downcast_ref::<Status>().is_some_and(|status| status.code() == Code::NotFound) => {
                Ok(None)
            }
            Err(error) => Err(error.context(format!("asking {service}"))),
        }
    }

    /// Waits until a consumer is in this state for the study.
    ///
    /// # Panics
    /// At the deadline.
    pub async fn wait_state(&self, service: Service, study_id: &str, state: LifeState) -> Reaction {
        let what = format!("{service} has {study_id} {state:?}");
        wait_until(&what, REACTION_DEADLINE, async || {
            // A service that is being restarted does not answer.
            let reaction = self.reaction(service, study_id).await.ok().flatten()?;
            (reaction.state == state).then_some(reaction)
        })
        .await
    }

    /// Waits for the reactions of all three services to a start, and holds them to: this one event applied, once, after
    /// the ones before it; each effect there, each once, each caused by it.
    ///
    /// # Errors
    /// What is doubled, missing or out of order.
    pub async fn expect_started_once(&self, study: &Study, started: &project::Project) -> Result<()> {
        let event = &started.last_event_id;
        for service in Service::CONSUMERS {
            let reaction = self.wait_state(service, &study.id, LifeState::Active).await;
            let starts: Vec<_> = reaction.applied.iter().filter(|one| one.event_type == "ProjectStarted").collect();
            ensure!(starts.len() == 1, "{service} applied {} starts: {starts:?}", starts.len());
            ensure!(starts[0].event_id == *event, "{service} applied {:?}, the project wrote {event}", starts[0]);
            expect_in_order(service, &reaction)?;
            let expected = match service {
                Service::Epro => study.shape.subjects,
                Service::Finance => study.shape.sites,
                _ => 1,
            };
            let found = reaction.effects.iter().filter(|cause| *cause == event).count();
            ensure!(found == expected, "{service}: {found} effects of {event}, expected {expected}");
            ensure!(reaction.effects.len() == expected, "{service}: effects of other events: {:?}", reaction.effects);
        }
        Ok(())
    }

    async fn campaign(&self, study_id: &str) -> Result<Reaction> {
        let mut client = self.epro()?;
        let study_id = study_id.to_owned();
        let request = epro::GetCampaignRequest { study_id: study_id.clone() };
        let campaign =
            client.get_campaign(request).await?.into_inner().campaign.context("no campaign in the answer")?;
        let request = epro::ListAssignmentsRequest { study_id, page_size: PAGE, ..Default::default() };
        let page = client.list_assignments(request).await?.into_inner();
        let assignments = page.assignments.into_iter().map(|one| (one.assignment_id, one.event_id));
        let applied = campaign.applied_events.into_iter().map(|one| (one.event_id, one.event_type, one.sequence));
        Reaction::new(campaign.state, applied, assignments, &page.next_page_token)
    }

    async fn account(&self, study_id: &str) -> Result<Reaction> {
        let mut client = self.finance()?;
        let study_id = study_id.to_owned();
        let request = finance::GetAccountRequest { study_id: study_id.clone() };
        let account = client.get_account(request).await?.into_inner().account.context("no account in the answer")?;
        let request = finance::ListPayablesRequest { study_id, page_size: PAGE, ..Default::default() };
        let page = client.list_payables(request).await?.into_inner();
        let payables = page.payables.into_iter().map(|one| (one.payable_id, one.event_id));
        let applied = account.applied_events.into_iter().map(|one| (one.event_id, one.event_type, one.sequence));
        Reaction::new(account.state, applied, payables, &page.next_page_token)
    }

    async fn monitoring(&self, study_id: &str) -> Result<Reaction> {
        let mut client = self.monitor()?;
        let study_id = study_id.to_owned();
        let request = monitor::GetMonitoringRequest { study_id: study_id.clone() };
        let answer = client.get_monitoring(request).await?.into_inner();
        let monitoring = answer.monitoring.context("no monitoring in the answer")?;
        let request = monitor::ListCheckRunsRequest { study_id, page_size: PAGE, ..Default::default() };
        let page = client.list_check_runs(request).await?.into_inner();
        let runs = page.check_runs.into_iter().map(|one| (one.check_run_id, one.event_id));
        let applied = monitoring.applied_events.into_iter().map(|one| (one.event_id, one.event_type, one.sequence));
        Reaction::new(monitoring.state, applied, runs, &page.next_page_token)
    }
}

impl Reaction {
    fn new(
        state: i32,
        applied: impl Iterator<Item = (String, String, i64)>,
        effects: impl Iterator<Item = (String, String)>,
        next_page: &str,
    ) -> Result<Self> {
        ensure!(next_page.is_empty(), "more than {PAGE} effects: a test must ask for fewer");
        let state = match state {
            1 => LifeState::Pending,
            2 => LifeState::Active,
            3 => LifeState::Suspended,
            4 => LifeState::Closed,
            other => anyhow::bail!("{other} is no state of a study"),
        };
        let applied =
            applied.map(|(event_id, event_type, sequence)| Applied { event_id, event_type, sequence }).collect();
        let mut seen = BTreeSet::new();
        let mut causes = Vec::new();
        for (id, cause) in effects {
            ensure!(seen.insert(id.clone()), "the effect {id} is listed twice");
            causes.push(cause);
        }
        Ok(Self { state, applied, effects: causes })
    }
}

/// Numbers only rise, and no event appears twice.
fn expect_in_order(service: Service, reaction: &Reaction) -> Result<()> {
    let numbers: Vec<_> = reaction.applied.iter().map(|one| one.sequence).filter(|number| *number > 0).collect();
    ensure!(numbers.is_sorted_by(|a, b| a < b), "{service} applied out of order or twice: {numbers:?}");
    let ids: BTreeSet<_> = reaction.applied.iter().map(|one| &one.event_id).collect();
    ensure!(ids.len() == reaction.applied.len(), "{service} applied an event twice: {:?}", reaction.applied);
    Ok(())
}
