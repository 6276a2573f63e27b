//! Who watches which project: tells watchers that a version was committed, by this instance or by another one.
//! It carries version numbers only; what happened is read from the audit trail, so nothing is lost when a signal is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contracts::ids::ProjectId;
use outbox::db::Database;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::store;

/// Watched projects asked about in one query of the poll.
const POLL_BATCH: usize = 500;

/// The watched projects of this instance; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Watches {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    topics: Mutex<Topics>,
}

#[derive(Debug, Default)]
struct Topics {
    watchers: usize,
    latest: HashMap<ProjectId, watch::Sender<i64>>,
}

/// As many watchers as this instance takes are here.
#[derive(Debug, thiserror::Error)]
#[error("{limit} watchers are here, the most this instance takes (--watch-limit); watch again later")]
pub(crate) struct Full {
    limit: usize,
}

/// One watcher's ear; leaving is dropping it.
#[derive(Debug)]
pub(crate) struct Watch {
    watches: Watches,
    id: ProjectId,
    latest: watch::Receiver<i64>,
}

impl Watches {
    pub(crate) fn new(limit: usize) -> Self {
        Self { shared: Arc::new(Shared { limit, topics: Mutex::default() }) }
    }

    /// Begins to listen. Read the project only afterwards: what commits in between is then announced.
    pub(crate) fn join(&self, id: &ProjectId) -> Result<Watch, Full> {
        let mut topics = self.lock();
        if topics.watchers >= self.shared.limit {
            return Err(Full { limit: self.shared.limit });
        }
        topics.watchers += 1;
        let sender = topics.latest.entry(id.clone()).or_insert_with(|| watch::Sender::new(0));
        Ok(Watch { watches: self.clone(), id: id.clone(), latest: sender.subscribe() })
    }

    /// Says that `version` of a project is committed. Late and repeated announcements change nothing.
    pub(crate) fn announce(&self, id: &ProjectId, version: i64) {
        if let Some(sender) = self.lock().latest.get(id) {
            sender.send_if_modified(|latest| {
                let newer = version > *latest;
                *latest = version.max(*latest);
                newer
            });
        }
    }

    /// Announces what other instances committed, until `stop`.
    pub(crate) async fn poll(self, db: Database, every: Duration, stop: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let watched: Vec<ProjectId> = self.lock().latest.keys().cloned().collect();
            for ids in watched.chunks(POLL_BATCH) {
                match store::versions(db.reader(), ids).await {
                    Ok(versions) => {
                        for (id, version) in versions {
                            self.announce(&id, version);
                        }
                    }
                    // The database's own readiness component reports the outage; the next tick asks again.
                    Err(error) => tracing::debug!(%error, "the poll for watchers failed"),
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        // Counts and senders are changed in single steps; a panic elsewhere leaves them whole.
        self.shared.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Waits until a version above `seen` is committed and returns the latest one. Cancel-safe.
    pub(crate) async fn above(&mut self, seen: i64) -> i64 {
        if let Ok(latest) = self.latest.wait_for(|latest| *latest > seen).await {
            return *latest;
        }
        // The sender lives in the registry for as long as this watcher is counted there.
        std::future::pending().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut topics = self.watches.lock();
        topics.watchers -= 1;
        if let Entry::Occupied(topic) = topics.latest.entry(self.id.clone())
            && topic.get().receiver_count() <= 1
        {
            // Ours is the last receiver and goes with us.
            topic.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn project(id: &str) -> ProjectId {
        id.parse().unwrap()
    }

    #[test]
    fn a_watcher_hears_of_newer_versions_of_its_project_only() {
        let watches = Watches::new(2);
        let mut watch = watches.join(&project("a")).unwrap();
        watches.announce(&project("b"), 9);
        assert_eq!(watch.above(3).now_or_never(), None);
        watches.announce(&project("a"), 4);
        watches.announce(&project("a"), 2);
        assert_eq!(watch.above(3).now_or_never(), Some(4));
        assert_eq!(watch.above(4).now_or_never(), None);
    }

    #[test]
    fn the_number_of_watchers_is_bounded_and_leaving_makes_room() {
        let watches = Watches::new(1);
        let watch = watches.join(&project("a")).unwrap();
        assert!(watches.join(&project("a")).unwrap_err().to_string().contains("--watch-limit"));
        drop(watch);
        assert!(watches.lock().latest.is_empty());
        watches.join(&project("b")).unwrap();
    }

    #[test]
    fn one_of_two_watchers_leaves_and_the_other_still_hears() {
        let watches = Watches::new(2);
        let first = watches.join(&project("a")).unwrap();
        let mut second = watches.join(&project("a")).unwrap();
        drop(first);
        watches.announce(&project("a"), 1);
        assert_eq!(second.above(0).now_or_never(), Some(1));
    }
}
