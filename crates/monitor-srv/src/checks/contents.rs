//! Texts of datasets in memory: checks that look at one dataset at the same time share one copy. Nothing is kept when nobody looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use contracts::ids::{DatasetName, ProjectId};
use outbox::db::{self, Database, DbErr};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::store::dataset;

/// How often a reader begins again because a new upload took the place of the one it wanted.
const MAX_ROUNDS: u32 = 5;

/// The text of one upload; `None` when it was replaced before it could be read.
type Cell = OnceCell<Option<Vec<u8>>>;

/// What is in memory; as many texts at most as there are workers.
#[derive(Debug)]
pub(super) struct Contents {
    db: Database,
    loaded: Mutex<HashMap<Uuid, Weak<Cell>>>,
}

/// A text, for as long as it is held.
#[derive(Debug, Clone)]
pub(super) struct Content(Arc<Cell>);

impl Content {
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.get().and_then(Option::as_deref).unwrap_or_default()
    }
}

impl Contents {
    pub(super) fn new(db: Database) -> Self {
        Self { db, loaded: Mutex::default() }
    }

    /// The text of a dataset as it is now; `None` when it was never uploaded.
    pub(super) async fn of(&self, study: &ProjectId, name: &DatasetName) -> Result<Option<Content>, DbErr> {
        let conn = self.db.reader();
        for _ in 0..MAX_ROUNDS {
            let Some(upload) = dataset::upload_id(conn, study, name).await? else { return Ok(None) };
            let cell = self.cell(upload);
            if cell.get_or_try_init(|| dataset::content(conn, study, name, upload)).await?.is_some() {
                return Ok(Some(Content(cell)));
            }
        }
        // A later attempt finds it at rest.
        Err(db::environment_error(format!(
            "dataset {name} of {study} was replaced {MAX_ROUNDS} times while it was read"
        )))
    }

    fn cell(&self, upload: Uuid) -> Arc<Cell> {
        // Entries are whole after each statement; a panic elsewhere leaves them so.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, cell| cell.strong_count() > 0);
        if let Some(cell) = loaded.get(&upload).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Arc::new(Cell::new());
        loaded.insert(upload, Arc::downgrade(&cell));
        cell
    }
}
