//! The engine's side of the pool: hands records to the user's handler, letters to the sink, and news to the data thread. Runs on lanes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use tracing::Instrument;
use worker_pool::{BlockingWork, Finished, GaveUp, HandlerError, Tag, Work};

use crate::copy::keep;
use crate::handler::{BoxError, Handler};
use crate::letters::{DeadLetter, DeadLetterSink};
use crate::record::Record;
use crate::trace::batch_span;

/// What lanes tell the data thread. The channel is bounded by the records in flight.
#[derive(Debug)]
pub(crate) enum News {
    /// These records are over.
    Done(Vec<Done>),
    /// This record waits for a release.
    Held { tag: Tag, cause: String },
}

/// A record that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) ticket: u64,
    pub(crate) attempts: u32,
    pub(crate) is_dead_letter: bool,
}

impl Done {
    fn of(tag: &Tag, is_dead_letter: bool) -> Self {
        let &Tag { group: slot, generation, ticket, attempts, .. } = tag;
        Self { slot, generation, ticket, attempts, is_dead_letter }
    }
}

/// A [`DeadLetterSink`] of any type.
pub(crate) trait AnySink: Send + Sync {
    fn store<'a>(&'a self, letter: DeadLetter<'a>) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>>;
}

impl<S: DeadLetterSink> AnySink for S {
    fn store<'a>(&'a self, letter: DeadLetter<'a>) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>> {
        Box::pin(self.dead_letter(letter))
    }
}

pub(crate) struct KafkaWork<H> {
    pub(crate) handler: Arc<H>,
    pub(crate) sink: Arc<dyn AnySink>,
    pub(crate) group: Arc<str>,
    pub(crate) news: Sender<News>,
}

impl<H: Handler> Work<Record> for KafkaWork<H> {
    type Output = ();
    type Gathered = Vec<Done>;

    async fn run(&self, items: &[Record], tags: &[Tag]) -> Result<Vec<()>, HandlerError> {
        self.handler.handle(items).instrument(self.span(items, tags)).await?;
        // A Vec of units takes no memory.
        Ok(vec![(); items.len()])
    }

    fn as_blocking(&self) -> Option<&dyn BlockingWork<Record, ()>> {
        self.handler.as_blocking().map(|_| self as &dyn BlockingWork<Record, ()>)
    }

    async fn give_up(&self, item: &Record, gave_up: &GaveUp) -> Result<(), BoxError> {
        let letter = DeadLetter { record: item, group: &self.group, cause: &gave_up.cause, attempts: gave_up.attempts };
        self.sink.store(letter).await?;
        tracing::warn!(
            group = &*self.group,
            topic = &*item.topic,
            partition = item.partition,
            offset = item.offset,
            attempts = gave_up.attempts,
            cause = gave_up.cause,
            "a record became a dead letter"
        );
        Ok(())
    }

    fn keep(&self, item: &mut Record) {
        keep(item);
    }

    fn finished(&self, job: Finished<Record, ()>, gathered: &mut Vec<Done>) {
        gathered.push(Done::of(&job.tag, job.result.is_err()));
    }

    fn done(&self, _items: &mut Vec<Record>, tags: &mut Vec<Tag>, _outputs: Vec<()>, gathered: &mut Vec<Done>) {
        gathered.extend(tags.iter().map(|tag| Done::of(tag, false)));
    }

    fn hand_over(&self, gathered: &mut Vec<Done>) {
        let next = Vec::with_capacity(gathered.capacity());
        self.tell(News::Done(std::mem::replace(gathered, next)));
    }

    fn held(&self, tag: Tag, cause: String) {
        self.tell(News::Held { tag, cause });
    }
}

impl<H: Handler> BlockingWork<Record, ()> for KafkaWork<H> {
    fn run_blocking(&self, items: &[Record], tags: &[Tag]) -> Result<Vec<()>, HandlerError> {
        let handler = self.handler.as_blocking().expect("a handler that blocks does so for good");
        self.span(items, tags).in_scope(|| handler.handle_blocking(items))?;
        Ok(vec![(); items.len()])
    }
}

impl<H> KafkaWork<H> {
    fn span(&self, items: &[Record], tags: &[Tag]) -> tracing::Span {
        batch_span(&self.group, items, tags[0].attempts + 1)
    }

    fn tell(&self, news: News) {
        if self.news.send(news).is_err() {
            tracing::debug!(
                group = &*self.group,
                "news after the data thread has ended: the records will be read again"
            );
        }
    }
}
