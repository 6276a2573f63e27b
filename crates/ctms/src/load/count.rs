//! Counts the effects of every project through the public APIs, until all are there.

use std::time::Duration;

use contracts::{epro::v1 as epro, events::PROJECT_STARTED, finance::v1 as finance, monitor::v1 as monitor};
use serde::Serialize;
use tokio::time::Instant;

use crate::clients::Clients;

/// Between two looks at a project whose effects are not there yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How often each service applied a start, and how many effects that had, over all projects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counted {
    epro_starts: u64,
    epro_assignments: u64,
    epro_pushes: u64,
    finance_starts: u64,
    finance_payables: u64,
    monitor_starts: u64,
    monitor_check_runs: u64,
    /// Projects that had an effect more than once in some service.
    doubled_projects: u64,
}

impl Counted {
    /// Whether each of `projects` projects had each effect once.
    pub(super) fn is_exactly_once(&self, projects: u32) -> bool {
        let wanted = u64::from(projects);
        let all = [
            self.epro_starts,
            self.epro_assignments,
            self.epro_pushes,
            self.finance_starts,
            self.finance_payables,
            self.monitor_starts,
            self.monitor_check_runs,
        ];
        self.doubled_projects == 0 && all.into_iter().all(|count| count == wanted)
    }

    fn is_complete(&self) -> bool {
        [
            self.epro_starts,
            self.epro_assignments,
            self.epro_pushes,
            self.finance_starts,
            self.finance_payables,
            self.monitor_starts,
            self.monitor_check_runs,
        ]
        .into_iter()
        .all(|count| count >= 1)
    }

    fn add(&mut self, one: &Self) {
        self.epro_starts += one.epro_starts;
        self.epro_assignments += one.epro_assignments;
        self.epro_pushes += one.epro_pushes;
        self.finance_starts += one.finance_starts;
        self.finance_payables += one.finance_payables;
        self.monitor_starts += one.monitor_starts;
        self.monitor_check_runs += one.monitor_check_runs;
        self.doubled_projects += u64::from(*one != Self::once());
    }

    fn once() -> Self {
        Self {
            epro_starts: 1,
            epro_assignments: 1,
            epro_pushes: 1,
            finance_starts: 1,
            finance_payables: 1,
            monitor_starts: 1,
            monitor_check_runs: 1,
            doubled_projects: 0,
        }
    }
}

/// Waits until every project has every effect, then counts.
///
/// # Errors
/// A call failed, or an effect was missing after `patience`.
pub(super) async fn settle(clients: &Clients, project_ids: &[String], patience: Duration) -> anyhow::Result<Counted> {
    let deadline = Instant::now() + patience;
    for id in project_ids {
        while !of_project(clients, id).await?.is_complete() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "the effects of {id} were not there after {} s",
                patience.as_secs()
            );
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    // All are there: counted only now, so that what comes late and double is seen.
    let mut counted = Counted::default();
    for id in project_ids {
        counted.add(&of_project(clients, id).await?);
    }
    Ok(counted)
}

/// Waits until every service has applied what came before the start of every project: it would delay the starts' own reactions.
///
/// # Errors
/// A call failed, or an event was missing after `patience`.
pub(super) async fn caught_up(clients: &Clients, project_ids: &[String], patience: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    for id in project_ids {
        while !is_ready_to_start(clients, id).await? {
            anyhow::ensure!(
                Instant::now() < deadline,
                "the events before the start of {id} were not applied after {} s",
                patience.as_secs()
            );
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    Ok(())
}

/// The activation of its site is the last event before a project's start.
const LAST_PREPARATION: &str = "SiteActivated";

async fn is_ready_to_start(clients: &Clients, id: &str) -> anyhow::Result<bool> {
    let (campaign, account, monitoring) = of_study(clients, id).await?;
    Ok(campaign.applied_events.iter().any(|event| event.event_type == LAST_PREPARATION)
        && account.applied_events.iter().any(|event| event.event_type == LAST_PREPARATION)
        && monitoring.applied_events.iter().any(|event| event.event_type == LAST_PREPARATION))
}

/// What the three services say of a study, asked at once.
async fn of_study(
    clients: &Clients,
    id: &str,
) -> Result<(epro::Campaign, finance::Account, monitor::Monitoring), tonic::Status> {
    let study_id = || id.to_owned();
    let (mut epro, mut finance, mut monitor) = (clients.epro.clone(), clients.finance.clone(), clients.monitor.clone());
    let (campaign, account, monitoring) = tokio::try_join!(
        epro.get_campaign(epro::GetCampaignRequest { study_id: study_id() }),
        finance.get_account(finance::GetAccountRequest { study_id: study_id() }),
        monitor.get_monitoring(monitor::GetMonitoringRequest { study_id: study_id() }),
    )?;
    Ok((
        campaign.into_inner().campaign.unwrap_or_default(),
        account.into_inner().account.unwrap_or_default(),
        monitoring.into_inner().monitoring.unwrap_or_default(),
    ))
}

async fn of_project(clients: &Clients, id: &str) -> anyhow::Result<Counted> {
    let ((campaign, account, monitoring), pushes) = tokio::try_join!(of_study(clients, id), async {
        let request = epro::ListNotificationsRequest { study_id: id.to_owned(), ..Default::default() };
        clients.epro.clone().list_notifications(request).await
    })?;
    let starts = |types: Vec<&str>| types.into_iter().filter(|kind| *kind == PROJECT_STARTED).count() as u64;
    Ok(Counted {
        epro_starts: starts(campaign.applied_events.iter().map(|event| event.event_type.as_str()).collect()),
        epro_assignments: campaign.assignment_count.unsigned_abs(),
        epro_pushes: pushes.into_inner().notifications.len() as u64,
        finance_starts: starts(account.applied_events.iter().map(|event| event.event_type.as_str()).collect()),
        finance_payables: account.payable_count.unsigned_abs(),
        monitor_starts: starts(monitoring.applied_events.iter().map(|event| event.event_type.as_str()).collect()),
        monitor_check_runs: monitoring.check_run_count.unsigned_abs(),
        doubled_projects: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_effect_too_many_is_seen() {
        let mut counted = Counted::default();
        counted.add(&Counted::once());
        assert!(counted.is_exactly_once(1));
        counted.add(&Counted { finance_payables: 2, ..Counted::once() });
        assert_eq!(counted.doubled_projects, 1);
        assert!(!counted.is_exactly_once(2));
    }
}
