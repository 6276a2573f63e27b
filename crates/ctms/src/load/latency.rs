//! Starts projects one after another and takes the time of each call and of each reaction.

use std::{future::Future, time::Duration};

use contracts::{epro::v1 as epro, finance::v1 as finance, monitor::v1 as monitor};
use tokio::time::Instant;

use crate::clients::Clients;

use super::{figures::Quantiles, project};

/// Between two looks at a service: the resolution of a reaction's latency.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Latencies of one sample after another.
pub(super) struct Latencies {
    pub(super) start_project: Quantiles,
    pub(super) epro: Quantiles,
    pub(super) finance: Quantiles,
    pub(super) monitor: Quantiles,
}

/// Takes `samples` samples.
///
/// # Errors
/// A call failed, or a reaction did not come within `patience`.
pub(super) async fn take(clients: &Clients, samples: u32, patience: Duration) -> anyhow::Result<Latencies> {
    let mut calls = Vec::new();
    let (mut epros, mut finances, mut monitors) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..samples {
        let id = project::prepare(clients).await?;
        let called_at = Instant::now();
        let event_id = project::start(clients, &id).await?;
        let answered_at = Instant::now();
        calls.push(answered_at - called_at);
        let (epro, finance, monitor) = tokio::try_join!(
            seen("epro", answered_at, patience, || epro_applied(clients, &id, &event_id)),
            seen("finance", answered_at, patience, || finance_applied(clients, &id, &event_id)),
            seen("monitor", answered_at, patience, || monitor_applied(clients, &id, &event_id)),
        )?;
        epros.push(epro);
        finances.push(finance);
        monitors.push(monitor);
    }
    Ok(Latencies {
        start_project: Quantiles::of(calls),
        epro: Quantiles::of(epros),
        finance: Quantiles::of(finances),
        monitor: Quantiles::of(monitors),
    })
}

async fn seen<F>(
    service: &str,
    since: Instant,
    patience: Duration,
    mut look: impl FnMut() -> F,
) -> anyhow::Result<Duration>
where
    F: Future<Output = Result<bool, tonic::Status>>,
{
    loop {
        if look().await? {
            return Ok(since.elapsed());
        }
        anyhow::ensure!(since.elapsed() < patience, "{service} did not react within {} s", patience.as_secs());
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

async fn epro_applied(clients: &Clients, study_id: &str, event_id: &str) -> Result<bool, tonic::Status> {
    let request = epro::GetCampaignRequest { study_id: study_id.to_owned() };
    let campaign = clients.epro.clone().get_campaign(request).await?.into_inner().campaign.unwrap_or_default();
    Ok(campaign.last_event_id == event_id)
}

async fn finance_applied(clients: &Clients, study_id: &str, event_id: &str) -> Result<bool, tonic::Status> {
    let request = finance::GetAccountRequest { study_id: study_id.to_owned() };
    let account = clients.finance.clone().get_account(request).await?.into_inner().account.unwrap_or_default();
    Ok(account.last_event_id == event_id)
}

async fn monitor_applied(clients: &Clients, study_id: &str, event_id: &str) -> Result<bool, tonic::Status> {
    let request = monitor::GetMonitoringRequest { study_id: study_id.to_owned() };
    let monitoring = clients.monitor.clone().get_monitoring(request).await?.into_inner().monitoring.unwrap_or_default();
    Ok(monitoring.last_event_id == event_id)
}
