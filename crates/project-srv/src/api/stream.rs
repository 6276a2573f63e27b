//! The stream of WatchProject: the project as it is, then as it was after each of its events. The audit trail is replayed,
//! so that every event is seen, whichever instance made it; and only as fast as the client reads, so that nothing piles up.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use contracts::project::v1 as proto;
use futures_util::{Stream, stream};
use outbox::db::{Database, DbErr};
use service_kit::status::ApiError;
use tonic::Status;

use super::convert;
use crate::domain::{self, Fact, Occurrence, Project};
use crate::store;
use crate::watches::Watch;

/// When to watch again after a refusal.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Facts read at once.
const READ_FACTS: u64 = 64;
/// A watcher this many events behind is not watching: it starts again from the current state.
const MAX_BEHIND: i64 = 1_000;

pub(super) type WatchStream = Pin<Box<dyn Stream<Item = Result<proto::WatchProjectResponse, Status>> + Send>>;

/// Opens the stream. `watch` was joined before `project` was read. Dropping the stream leaves.
pub(super) fn open(db: Database, watch: Watch, project: Project) -> WatchStream {
    let watcher = Watcher { db, watch, project, unread: VecDeque::new(), greeted: false };
    Box::pin(stream::try_unfold(watcher, |mut watcher| async move {
        let message = watcher.next().await?;
        Ok(Some((message, watcher)))
    }))
}

struct Watcher {
    db: Database,
    watch: Watch,
    /// As the client knows it.
    project: Project,
    unread: VecDeque<(Fact, Occurrence)>,
    greeted: bool,
}

impl Watcher {
    async fn next(&mut self) -> Result<proto::WatchProjectResponse, ApiError> {
        if !self.greeted {
            self.greeted = true;
            return Ok(proto::WatchProjectResponse { project: Some(convert::project(&self.project)), event: None });
        }
        let (fact, occurrence) = self.next_fact().await?;
        self.project = domain::evolve(self.project.clone(), &fact, &occurrence);
        let event = convert::event_summary(&fact, self.project.event_seq, &occurrence);
        Ok(proto::WatchProjectResponse { project: Some(convert::project(&self.project)), event: Some(event) })
    }

    async fn next_fact(&mut self) -> Result<(Fact, Occurrence), ApiError> {
        loop {
            if let Some(next) = self.unread.pop_front() {
                return Ok(next);
            }
            let seen = self.project.version;
            let latest = self.watch.above(seen).await;
            if latest - seen > MAX_BEHIND {
                let message = format!("this watcher is {} events behind; watch again", latest - seen);
                return Err(ApiError::resource_exhausted(message, RETRY_AFTER));
            }
            self.unread = self.read(seen).await?;
            if self.unread.is_empty() {
                let id = &self.project.id;
                return Err(ApiError::internal(anyhow::anyhow!(
                    "project {id} is at {latest}, its audit trail ends at {seen}"
                )));
            }
        }
    }

    async fn read(&self, seen: i64) -> Result<VecDeque<(Fact, Occurrence)>, DbErr> {
        let facts = store::facts_after(self.db.reader(), &self.project.id, seen, READ_FACTS).await?;
        Ok(facts.into())
    }
}
