//! The user's handler and sink with somebody who writes down what they are asked and what they answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::handler::{BoxError, Handler, HandlerError};
use crate::letters::DeadLetter;
use crate::record::Record;
use crate::work::AnySink;

/// One call of the handler.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call {
    /// What it was given.
    pub records: Vec<Record>,
    /// When it began, since the start of the pool.
    pub began: Duration,
    /// When it ended; `None` while it runs, and for one that was dropped at its timeout or panicked.
    pub ended: Option<Duration>,
    /// The error in words, if it answered one.
    pub error: Option<String>,
}

/// A dead letter that was stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Letter {
    /// The record.
    pub record: Record,
    /// The last failure, in words.
    pub cause: String,
    /// How many times the handler tried it.
    pub attempts: u32,
    /// When it was stored, since the start of the pool.
    pub at: Duration,
}

/// What happened. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Diary {
    started: Instant,
    /// Told whenever a call is over, however, and whenever a letter is.
    pub(crate) changed: Arc<Notify>,
    pages: Arc<Mutex<Pages>>,
}

#[derive(Debug, Default)]
pub(crate) struct Pages {
    pub(crate) calls: Vec<Call>,
    pub(crate) letters: Vec<Letter>,
}

impl Diary {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), changed: Arc::default(), pages: Arc::default() }
    }

    pub(crate) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Tells of the end also where a call is dropped or panics.
struct Over<'a>(&'a Notify);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

pub(crate) struct WatchedHandler<H> {
    pub(crate) handler: Arc<H>,
    pub(crate) diary: Diary,
}

impl<H: Handler> Handler for WatchedHandler<H> {
    async fn handle(&self, batch: &[Record]) -> Result<(), HandlerError> {
        let call = Call { records: batch.to_vec(), began: self.diary.elapsed(), ended: None, error: None };
        let index = {
            let mut pages = self.diary.pages();
            pages.calls.push(call);
            pages.calls.len() - 1
        };
        let _over = Over(&self.diary.changed);
        // A handler that blocks does so here, on the test's one thread: so time stands still for it, and the test is the same each time.
        let answer = match self.handler.as_blocking() {
            Some(blocking) => blocking.handle_blocking(batch),
            None => self.handler.handle(batch).await,
        };
        let call = &mut self.diary.pages().calls[index];
        call.ended = Some(self.diary.elapsed());
        call.error = answer.as_ref().err().map(ToString::to_string);
        answer
    }
}

/// The user's sink, or none: then the diary is the place.
pub(crate) struct WatchedSink {
    pub(crate) sink: Option<Arc<dyn AnySink>>,
    pub(crate) diary: Diary,
}

impl AnySink for WatchedSink {
    fn store<'a>(&'a self, letter: DeadLetter<'a>) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>> {
        Box::pin(async move {
            let _over = Over(&self.diary.changed);
            if let Some(sink) = &self.sink {
                sink.store(letter).await?;
            }
            let (record, cause) = (letter.record.clone(), letter.cause.to_owned());
            let at = self.diary.elapsed();
            self.diary.pages().letters.push(Letter { record, cause, attempts: letter.attempts, at });
            Ok(())
        })
    }
}
