//! Clients that call StartProject, each with one call under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use contracts::project::v1::{StartProjectRequest, project_service_client::ProjectServiceClient};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use super::Reading;
use crate::statistics::quantile;

/// Calls before the clock starts: connections, statements and caches are warm then.
const WARM_UP: Duration = Duration::from_millis(500);

impl Reading {
    /// Of the sorted times of all starts, in microseconds.
    pub(super) fn of(sorted_us: &[u64], starts_per_s: f64) -> Self {
        let ms = |thousandths| quantile(sorted_us, thousandths) as f64 / 1_000.0;
        Self { starts_per_s, p50_ms: ms(500), p99_ms: ms(990) }
    }
}

/// Starts projects `bench-N`, N from `next` on, for this long.
pub(super) async fn call(
    url: &str,
    clients: usize,
    length: Duration,
    next: &Arc<AtomicU32>,
    projects: u32,
) -> Result<Reading> {
    let mut calling = JoinSet::new();
    let measured_from = Instant::now() + WARM_UP;
    let until = measured_from + length;
    for _ in 0..clients {
        let channel = connect(url).await?;
        let next = Arc::clone(next);
        calling.spawn(async move { client(channel, (measured_from, until), &next, projects).await });
    }
    let mut took_us = Vec::new();
    while let Some(ended) = calling.join_next().await {
        took_us.extend(ended.context("a client panicked")??);
    }
    took_us.sort_unstable();
    let starts_per_s = took_us.len() as f64 / length.as_secs_f64();
    Ok(Reading::of(&took_us, starts_per_s))
}

async fn client(
    channel: Channel,
    (measured_from, until): (Instant, Instant),
    next: &AtomicU32,
    projects: u32,
) -> Result<Vec<u64>> {
    let mut service = ProjectServiceClient::new(channel);
    let mut took_us = Vec::new();
    while Instant::now() < until {
        let number = next.fetch_add(1, Ordering::Relaxed);
        anyhow::ensure!(number <= projects, "all {projects} projects are started; prepare more with --projects");
        let request = StartProjectRequest {
            project_id: format!("bench-{number}"),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let began = Instant::now();
        service.start_project(request).await.with_context(|| format!("StartProject of bench-{number}"))?;
        let answered = Instant::now();
        if began >= measured_from && answered < until {
            took_us.push(u64::try_from((answered - began).as_micros()).unwrap_or(u64::MAX));
        }
    }
    Ok(took_us)
}

async fn connect(url: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned()).context("the server's address is no URL")?;
    endpoint.tcp_nodelay(true).connect().await.with_context(|| format!("cannot connect to {url}"))
}
