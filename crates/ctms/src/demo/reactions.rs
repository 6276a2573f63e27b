//! Reads the effects of one event back through each service's public API, and takes the time.

use std::{future::Future, time::Duration};

use anyhow::Context as _;
use contracts::{epro::v1 as epro, finance::v1 as finance, monitor::v1 as monitor};
use tokio::{sync::mpsc, time::Instant};

use crate::clients::Clients;

use super::report::{Reaction, Report, millis};

/// Between two looks at a service. Short, because it is part of every latency shown.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// A change of the study's life that the services react to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Started,
    Suspended,
    Resumed,
}

/// The call whose effects are awaited.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) change: Change,
    pub(crate) study_id: String,
    pub(crate) event_id: String,
    /// When the client had its OK.
    pub(crate) answered_at: Instant,
}

/// Waits until every service shows its effects of the call, reporting each as it is seen.
///
/// # Errors
/// A service did not show an effect within `patience`, or answered with an error: the message names the service, the
/// effect and where to look.
pub(crate) async fn await_all(
    clients: &Clients,
    call: &Call,
    patience: Duration,
    report: &mut Report,
) -> anyhow::Result<Vec<Reaction>> {
    let (seen, mut reactions) = mpsc::channel(16);
    let observer = |service| Observer { service, call: call.clone(), patience, seen: seen.clone() };
    let mut observers = tokio::task::JoinSet::new();
    observers.spawn(observe_epro(clients.clone(), observer("epro")));
    observers.spawn(observe_finance(clients.clone(), observer("finance")));
    observers.spawn(observe_monitor(clients.clone(), observer("monitor")));
    drop(seen);
    report.waiting("waiting for epro, finance, monitor");
    let mut all = Vec::new();
    while let Some(reaction) = reactions.recv().await {
        report.reaction(&reaction);
        all.push(reaction);
        let quiet: Vec<_> =
            ["epro", "finance", "monitor"].into_iter().filter(|s| all.iter().all(|r| r.service != *s)).collect();
        report.still_waiting(&if quiet.is_empty() {
            "waiting for the remaining effects".to_owned()
        } else {
            format!("waiting for {}", quiet.join(", "))
        });
    }
    report.waited();
    while let Some(observed) = observers.join_next().await {
        observed.context("an observer panicked")??;
    }
    Ok(all)
}

struct Observer {
    service: &'static str,
    call: Call,
    patience: Duration,
    seen: mpsc::Sender<Reaction>,
}

impl Observer {
    /// Looks until `look` shows the effect, then reports it.
    async fn until<F, L>(&self, awaited: &str, mut look: L) -> anyhow::Result<()>
    where
        L: FnMut() -> F,
        F: Future<Output = Result<Option<String>, tonic::Status>>,
    {
        let deadline = self.call.answered_at + self.patience;
        loop {
            let answer = look().await;
            let now = Instant::now();
            let problem = match answer {
                Ok(Some(effect)) => {
                    let reaction = Reaction {
                        service: self.service,
                        event_id: self.call.event_id.clone(),
                        effect,
                        latency_ms: millis(now - self.call.answered_at),
                    };
                    let _ = self.seen.send(reaction).await;
                    return Ok(());
                }
                // The service has not heard of the study yet, or is on its way up.
                Ok(None) => None,
                Err(status) if matches!(status.code(), tonic::Code::NotFound | tonic::Code::Unavailable) => {
                    Some(status)
                }
                Err(status) => {
                    return Err(status).with_context(|| format!("{} could not be read", self.service));
                }
            };
            if now >= deadline {
                let last = problem.map(|status| format!(" (last answer: {status})")).unwrap_or_default();
                anyhow::bail!(
                    "{} did not show {awaited} within {:.0} s of the call{last}; see its /readyz and its log, or run `ctms doctor`",
                    self.service,
                    self.patience.as_secs_f64()
                );
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn study(&self) -> String {
        self.call.study_id.clone()
    }
}

async fn observe_epro(clients: Clients, observer: Observer) -> anyhow::Result<()> {
    let call = &observer.call;
    let wanted = match call.change {
        Change::Started | Change::Resumed => epro::CampaignState::Active,
        Change::Suspended => epro::CampaignState::Suspended,
    };
    observer
        .until("the campaign's new state", || async {
            let campaign = campaign(&clients, observer.study()).await?;
            Ok((campaign.last_event_id == call.event_id && campaign.state() == wanted).then(|| match call.change {
                Change::Started => format!("campaign ACTIVE, {} assignments generated", campaign.assignment_count),
                Change::Suspended => "campaign SUSPENDED, pushes stopped".to_owned(),
                Change::Resumed => format!("campaign ACTIVE again, still {} assignments", campaign.assignment_count),
            }))
        })
        .await?;
    if call.change == Change::Started {
        observer
            .until("the first pushes", || async {
                let request = epro::ListNotificationsRequest {
                    study_id: observer.study(),
                    state: epro::NotificationState::Sent.into(),
                    ..Default::default()
                };
                let sent = clients.epro.clone().list_notifications(request).await?.into_inner().notifications;
                let caused = sent.iter().filter(|push| push.event_id == call.event_id).count();
                Ok((caused > 0).then(|| format!("first pushes sent: {caused}")))
            })
            .await?;
    }
    Ok(())
}

async fn campaign(clients: &Clients, study_id: String) -> Result<epro::Campaign, tonic::Status> {
    let answer = clients.epro.clone().get_campaign(epro::GetCampaignRequest { study_id }).await?.into_inner();
    Ok(answer.campaign.unwrap_or_default())
}

async fn observe_finance(clients: Clients, observer: Observer) -> anyhow::Result<()> {
    let call = &observer.call;
    let wanted = match call.change {
        Change::Started | Change::Resumed => finance::PayableState::Open,
        Change::Suspended => finance::PayableState::OnHold,
    };
    observer
        .until("its payables", || async {
            let request = finance::ListPayablesRequest { study_id: observer.study(), ..Default::default() };
            let payables = clients.finance.clone().list_payables(request).await?.into_inner().payables;
            let touched = payables.iter().filter(|p| p.last_event_id == call.event_id && p.state() == wanted).count();
            let total: i64 = payables.iter().map(|payable| payable.amount_minor).sum();
            let currency = payables.first().map(|payable| payable.currency_code.clone()).unwrap_or_default();
            Ok((touched > 0 && touched == payables.len()).then(|| {
                let what = match call.change {
                    Change::Started => "start-up payables OPEN",
                    Change::Suspended => "payables ON HOLD",
                    Change::Resumed => "payables OPEN again",
                };
                format!("{touched} {what}, {currency} {}.{:02}", total / 100, total % 100)
            }))
        })
        .await?;
    if call.change == Change::Started {
        observer
            .until("a balanced trial balance", || async {
                let request = finance::GetTrialBalanceRequest { study_id: observer.study() };
                let totals = clients.finance.clone().get_trial_balance(request).await?.into_inner().totals;
                let balanced = !totals.is_empty() && totals.iter().all(|total| total.debit_minor == total.credit_minor);
                Ok(balanced.then(|| "trial balance: debits = credits".to_owned()))
            })
            .await?;
    }
    Ok(())
}

async fn observe_monitor(clients: Clients, observer: Observer) -> anyhow::Result<()> {
    let call = &observer.call;
    let wanted = match call.change {
        Change::Started | Change::Resumed => monitor::MonitoringState::Active,
        Change::Suspended => monitor::MonitoringState::Suspended,
    };
    observer
        .until("monitoring's new state", || async {
            let monitoring = monitoring(&clients, observer.study()).await?;
            Ok((monitoring.last_event_id == call.event_id && monitoring.state() == wanted).then(|| match call.change {
                Change::Started => format!("monitoring ACTIVE with plan version {}", monitoring.plan_version),
                Change::Suspended => "monitoring SUSPENDED".to_owned(),
                Change::Resumed => "monitoring ACTIVE again".to_owned(),
            }))
        })
        .await?;
    if call.change == Change::Started {
        observer
            .until("a finished first check run", || async {
                let runs = monitoring(&clients, observer.study()).await?.check_runs;
                let finished = runs
                    .iter()
                    .find(|run| run.event_id == call.event_id && run.state() == monitor::CheckRunState::Finished);
                Ok(finished.map(|run| {
                    let passed =
                        run.items.iter().filter(|item| item.outcome() == monitor::CheckOutcome::Passed).count();
                    let found = run.items.len() - passed;
                    format!("first check run FINISHED: {passed} passed, {found} with findings")
                }))
            })
            .await?;
    }
    Ok(())
}

async fn monitoring(clients: &Clients, study_id: String) -> Result<monitor::Monitoring, tonic::Status> {
    let answer = clients.monitor.clone().get_monitoring(monitor::GetMonitoringRequest { study_id }).await?.into_inner();
    Ok(answer.monitoring.unwrap_or_default())
}
