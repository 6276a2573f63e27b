//! Starts many projects from many clients, each client with a connection of its own.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use anyhow::Context as _;
use tokio::{task::JoinSet, time::Instant};

use crate::clients::{Clients, Urls};

use super::project;

/// What was started.
pub(super) struct Started {
    pub(super) project_ids: Vec<String>,
    pub(super) starts_per_s: f64,
    pub(super) last_answer_at: Instant,
}

/// Prepares `projects` projects, then starts all of them as fast as `clients` clients can.
///
/// # Errors
/// A call failed.
pub(super) async fn start_all(urls: &Urls, projects: u32, clients: u32) -> anyhow::Result<Started> {
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(Clients::connect(urls).await?);
    }
    let remaining = Arc::new(AtomicU32::new(projects));
    let mut preparing = JoinSet::new();
    for client in &connected {
        let (client, remaining) = (client.clone(), Arc::clone(&remaining));
        preparing.spawn(async move {
            let mut prepared = Vec::new();
            while remaining.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                prepared.push(project::prepare(&client).await?);
            }
            anyhow::Ok(prepared)
        });
    }
    let mut project_ids = Vec::new();
    while let Some(prepared) = preparing.join_next().await {
        project_ids.extend(prepared.context("a client panicked")??);
    }

    let queue = Arc::new(project_ids.clone());
    let next = Arc::new(AtomicU32::new(0));
    let began = Instant::now();
    let mut starting = JoinSet::new();
    for client in connected {
        let (queue, next) = (Arc::clone(&queue), Arc::clone(&next));
        starting.spawn(async move {
            while let Some(id) = queue.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                project::start(&client, id).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(started) = starting.join_next().await {
        started.context("a client panicked")??;
    }
    let last_answer_at = Instant::now();
    let starts_per_s = f64::from(projects) / (last_answer_at - began).as_secs_f64();
    Ok(Started { project_ids, starts_per_s, last_answer_at })
}
