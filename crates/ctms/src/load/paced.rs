//! Starts projects at a steady rate and watches some of them: what a call and its reactions take while the services are busy.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use serde::Serialize;
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use crate::clients::Clients;

use super::{
    Reactions,
    figures::Quantiles,
    latency::{self, Latencies, Sample},
    project,
    throughput::Started,
};

/// Calls under way at once. Services that are slower than the rate hold the pace up here, and the rate that was reached tells.
const MAX_UNDER_WAY: usize = 256;
/// Projects watched per second: reading what the services show must stay a small part of their work.
const WATCHED_PER_S: u32 = 20;

/// The latencies at a steady rate of starts.
#[derive(Debug, Serialize)]
pub(super) struct Paced {
    /// Starts per second that were asked for.
    pub(super) asked_per_s: u32,
    /// Projects whose reactions were watched.
    pub(super) watched: usize,
    /// From the call to its OK, in milliseconds.
    pub(super) start_project_ms: Quantiles,
    /// From the OK to the first read that shows the effect, in milliseconds.
    pub(super) reaction_ms: Reactions,
}

/// Starts these projects, `per_s` a second, over the connections in turn.
///
/// # Errors
/// A call failed, or a reaction did not come within `patience`.
pub(super) async fn start(
    connections: &[Clients],
    project_ids: Vec<String>,
    per_s: u32,
    patience: Duration,
) -> anyhow::Result<(Started, Paced)> {
    let under_way = Arc::new(Semaphore::new(MAX_UNDER_WAY));
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for ((number, id), clients) in (0_u32..).zip(&project_ids).zip(connections.iter().cycle()) {
        tokio::time::sleep_until(began + due(number, per_s)).await;
        let permit = Arc::clone(&under_way).acquire_owned().await.context("the calls' semaphore was closed")?;
        let (id, clients) = (id.clone(), clients.clone());
        calls.spawn(async move {
            let called_at = Instant::now();
            let event_id = project::start(&clients, &id).await?;
            let answered_at = Instant::now();
            // A reaction that is waited for is no call under way.
            drop(permit);
            let sample = match is_watched(number, per_s) {
                true => Some(latency::sample(&clients, &id, &event_id, (called_at, answered_at), patience).await?),
                false => None,
            };
            anyhow::Ok((answered_at, sample))
        });
    }
    let mut last_answer_at = began;
    let mut samples: Vec<Sample> = Vec::new();
    while let Some(call) = calls.join_next().await {
        let (answered_at, sample) = call.context("a client panicked")??;
        last_answer_at = last_answer_at.max(answered_at);
        samples.extend(sample);
    }
    let watched = samples.len();
    let Latencies { start_project, reactions } = Latencies::of(&samples);
    let paced = Paced { asked_per_s: per_s, watched, start_project_ms: start_project, reaction_ms: reactions };
    Ok((Started::new(project_ids, began, last_answer_at), paced))
}

/// When a start is due, counted from the first one.
fn due(number: u32, per_s: u32) -> Duration {
    Duration::from_secs(u64::from(number)) / per_s.max(1)
}

fn is_watched(number: u32, per_s: u32) -> bool {
    number.is_multiple_of(per_s.div_ceil(WATCHED_PER_S).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_due_at_the_rate() {
        assert_eq!(due(0, 500), Duration::ZERO);
        assert_eq!(due(1, 500), Duration::from_millis(2));
        assert_eq!(due(1_500, 500), Duration::from_secs(3));
    }

    #[test]
    fn at_any_rate_no_more_than_the_allowed_are_watched() {
        let watched = |per_s| (0..per_s).filter(|number| is_watched(*number, per_s)).count();
        assert_eq!(watched(5), 5, "all of a slow one");
        assert_eq!(watched(500), 20);
        assert_eq!(watched(501), 20);
    }
}
