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

impl Started {
    pub(super) fn new(project_ids: Vec<String>, began: Instant, last_answer_at: Instant) -> Self {
        let projects = u32::try_from(project_ids.len()).unwrap_or(u32::MAX);
        let starts_per_s = f64::from(projects) / (last_answer_at - began).as_secs_f64();
        Self { project_ids, starts_per_s, last_answer_at }
    }
}

/// Connects `clients` clients and prepares `projects` projects; returns the clients and the ids of the projects.
///
/// # Errors
/// A call failed.
pub(super) async fn prepare(urls: &Urls, projects: u32, clients: u32) -> anyhow::Result<(Vec<Clients>, Vec<String>)> {
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
    Ok((connected, project_ids))
}

/// Starts these projects as fast as the clients can.
///
/// # Errors
/// A call failed.
pub(super) async fn start_all(clients: Vec<Clients>, project_ids: Vec<String>) -> anyhow::Result<Started> {
    let queue = Arc::new(project_ids.clone());
    let next = Arc::new(AtomicU32::new(0));
    let began = Instant::now();
    let mut starting = JoinSet::new();
    for client in clients {
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
    Ok(Started::new(project_ids, began, Instant::now()))
}
