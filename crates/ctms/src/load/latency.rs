//! Takes the time of a start and of each reaction to it, of projects one after another or of one.

use std::{future::Future, time::Duration};

use contracts::{epro::v1 as epro, finance::v1 as finance, monitor::v1 as monitor};
use tokio::time::Instant;

use crate::clients::Clients;

use super::{Reactions, figures::Quantiles, project};

/// Between two looks at a service: the resolution of a reaction's latency.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Latencies over all samples.
pub(super) struct Latencies {
    pub(super) start_project: Quantiles,
    pub(super) reactions: Reactions,
}

/// What one start took.
pub(super) struct Sample {
    start_project: Duration,
    epro: Duration,
    finance: Duration,
    monitor: Duration,
}

impl Latencies {
    pub(super) fn of(samples: &[Sample]) -> Self {
        let of = |time: fn(&Sample) -> Duration| Quantiles::of(samples.iter().map(time).collect());
        Self {
            start_project: of(|sample| sample.start_project),
            reactions: Reactions {
                epro: of(|sample| sample.epro),
                finance: of(|sample| sample.finance),
                monitor: of(|sample| sample.monitor),
            },
        }
    }
}

/// Takes `samples` samples, each of a project of its own.
///
/// # Errors
/// A call failed, or a reaction did not come within `patience`.
pub(super) async fn take(clients: &Clients, samples: u32, patience: Duration) -> anyhow::Result<Latencies> {
    let mut taken = Vec::new();
    for _ in 0..samples {
        let id = project::prepare(clients).await?;
        let called_at = Instant::now();
        let event_id = project::start(clients, &id).await?;
        taken.push(sample(clients, &id, &event_id, (called_at, Instant::now()), patience).await?);
    }
    Ok(Latencies::of(&taken))
}

/// Waits for the reactions to a start that was called and answered at these times.
///
/// # Errors
/// As [`take`].
pub(super) async fn sample(
    clients: &Clients,
    id: &str,
    event_id: &str,
    (called_at, answered_at): (Instant, Instant),
    patience: Duration,
) -> anyhow::Result<Sample> {
    let (epro, finance, monitor) = tokio::try_join!(
        seen("epro", answered_at, patience, || epro_applied(clients, id, event_id)),
        seen("finance", answered_at, patience, || finance_applied(clients, id, event_id)),
        seen("monitor", answered_at, patience, || monitor_applied(clients, id, event_id)),
    )?;
    Ok(Sample { start_project: answered_at - called_at, epro, finance, monitor })
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
