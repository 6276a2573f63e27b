//! What follows from the outcome of a handler call: done, tried again, taken apart, given up, held, or the circuit. The table of the pool's
//! semantics in code.

use std::future::Future;
use std::sync::Arc;

use tokio::time::Instant;

use crate::backoff::later;
use crate::batch::{Batch, Jobs, Step, distinct_keys};
use crate::call::{Answer, Call};
use crate::calls::Panicked;
use crate::failure::{HandlerError, in_words};
use crate::job::{Finished, GaveUp, GiveUpReason, Tag, Work};
use crate::lane::Lane;
use crate::meters::as_f64;
use crate::options::WhenUnavailable;

impl<T, W, F, M> Lane<T, W, F, M>
where
    T: Send + Sync + 'static,
    W: Work<T>,
    F: Future<Output = Answer<W::Output>>,
    M: Fn(Arc<Jobs<T>>, &Step) -> F,
{
    /// Takes what a call ended with.
    pub(crate) fn settle(&mut self, call: Call<T>, answer: Result<Answer<W::Output>, Panicked>, now: Instant) {
        self.note_end(&call, &answer, now);
        let is_probe = call.is_probe;
        let is_away = matches!(answer, Ok(Answer::Handled(Err(HandlerError::Unavailable { .. }))));
        if is_probe && !is_away {
            self.shared.circuit.probe_succeeded();
            self.meters.circuit_open.set(0.0);
            tracing::info!(pool = self.shared.options.name, "the environment is back: the circuit is closed");
            self.shared.wake_all();
        }
        if call.step == Step::Handle {
            self.meters.handler.record((now - call.started).as_secs_f64());
            if self.shared.options.max_batch > 1 {
                self.meters.batch_jobs.record(as_f64(call.jobs.tags.len()));
            }
        }
        let batch = call.into_batch();
        match answer {
            Ok(Answer::Handled(Ok(outputs))) if outputs.len() == batch.jobs.tags.len() => {
                self.handled += batch.jobs.tags.len();
                self.finish(batch, outputs.into_iter().map(Ok));
            }
            Ok(Answer::Handled(Ok(outputs))) => {
                let cause =
                    format!("the handler returned {} results for {} jobs", outputs.len(), batch.jobs.tags.len());
                self.failed(batch, HandlerError::retry(cause), is_probe, now);
            }
            Ok(Answer::Handled(Err(error))) => self.failed(batch, error, is_probe, now),
            Ok(Answer::GivenUp(Ok(()))) => self.given_up(batch),
            Ok(Answer::GivenUp(Err(cause))) => self.not_given_up(batch, &in_words(&*cause), now),
            Err(Panicked(message)) => {
                self.meters.panics.increment(1);
                let cause = format!("the handler panicked: {message}");
                match batch.step {
                    Step::Handle => {
                        self.failed(batch, HandlerError::retry(cause), is_probe, now);
                    }
                    Step::GiveUp(_) => self.not_given_up(batch, &cause, now),
                }
            }
        }
    }

    /// A call whose future was dropped at its timeout.
    pub(crate) fn timed_out(&mut self, call: Call<T>) {
        let cause = format!("timed out after {:?}", self.shared.options.handler_timeout);
        let answer = Answer::Handled(Err(HandlerError::retry(cause)));
        self.settle(call, Ok(answer), Instant::now());
    }

    fn finish(&mut self, batch: Batch<T>, results: impl Iterator<Item = Result<W::Output, GaveUp>>) {
        let Jobs { items, tags } = batch.jobs;
        self.next_of_keys(&tags, batch.rest);
        self.ended += tags.len();
        for ((item, tag), result) in items.into_iter().zip(tags).zip(results) {
            self.shared.work.finished(Finished { tag, item, result }, &mut self.gathered);
        }
    }

    /// The jobs under these tags are over: their keys' next jobs may run.
    fn next_of_keys(&mut self, tags: &[Tag], rest: Vec<Jobs<T>>) {
        match Batch::next_chunk(rest) {
            Some(next) => self.schedule.push_again_first(next),
            None => {
                for key in distinct_keys(tags) {
                    self.schedule.release_key(key);
                }
            }
        }
    }

    fn failed(&mut self, mut batch: Batch<T>, error: HandlerError, is_probe: bool, now: Instant) {
        let call_was_stale = self.schedule.drop_stale(&mut batch);
        if batch.is_empty() {
            return;
        }
        match error {
            HandlerError::Unavailable { cause } => {
                self.unavailable(batch, &in_words(&*cause), is_probe, now);
            }
            // Who failed may be among those that have gone: whoever is left is not judged by it.
            _ if call_was_stale => self.schedule.push_again_first(batch),
            _ if batch.jobs.tags.len() > 1 => {
                self.meters.splits.increment(1);
                tracing::debug!(pool = self.shared.options.name, jobs = batch.jobs.tags.len(), %error, "splitting a failing batch");
                let (first, second) = batch.split();
                if let Some(second) = second {
                    self.schedule.push_again_first(second);
                }
                self.schedule.push_again_first(first);
            }
            HandlerError::Hold { cause } => {
                self.meters.holds.increment(1);
                self.shared.work.held(batch.jobs.tags[0], in_words(&*cause));
                batch.items_mut().for_each(|item| self.shared.work.keep(item));
                self.held.push(batch);
            }
            HandlerError::Reject { cause } => {
                let Some(mut batch) = self.charge(batch, &cause.to_string(), now) else {
                    return;
                };
                batch.jobs.tags[0].attempts += 1;
                self.give_up(batch, GiveUpReason::Rejected, in_words(&*cause));
            }
            HandlerError::Retry { cause, after } => {
                let Some(mut batch) = self.charge(batch, &cause.to_string(), now) else {
                    return;
                };
                batch.jobs.tags[0].attempts += 1;
                let attempts = batch.jobs.tags[0].attempts;
                if attempts >= self.shared.options.max_attempts {
                    self.give_up(batch, GiveUpReason::Exhausted, in_words(&*cause));
                    return;
                }
                self.meters.retries.increment(1);
                let wait = after.unwrap_or_else(|| {
                    let random = self.jitter.draw();
                    self.shared.options.backoff.wait(attempts, random)
                });
                tracing::debug!(pool = self.shared.options.name, attempts, ?wait, %cause, "an attempt failed; its key waits");
                self.delay(later(now, wait), batch);
            }
        }
    }

    fn unavailable(&mut self, batch: Batch<T>, cause: &str, is_probe: bool, now: Instant) {
        self.meters.unavailable.increment(1);
        match self.shared.options.when_unavailable {
            WhenUnavailable::Wait => {
                let random = self.jitter.draw();
                if self.shared.circuit.failed(cause, is_probe, now, random) {
                    self.meters.circuit_open.set(1.0);
                    tracing::warn!(
                        pool = self.shared.options.name,
                        cause,
                        "the environment failed: the circuit is open, the pool waits"
                    );
                }
                self.schedule.push_again_first(batch);
                self.shared.wake_all();
            }
            WhenUnavailable::Answer => {
                let gave_up = GaveUp { reason: GiveUpReason::Unavailable, cause: cause.to_owned(), attempts: 1 };
                self.finish(batch, std::iter::repeat_with(move || Err(gave_up.clone())));
            }
        }
    }

    fn give_up(&mut self, mut batch: Batch<T>, reason: GiveUpReason, cause: String) {
        let attempts = batch.jobs.tags[0].attempts;
        batch.step = Step::GiveUp(GaveUp { reason, cause, attempts });
        self.schedule.push_again_first(batch);
    }

    fn given_up(&mut self, mut batch: Batch<T>) {
        if let Step::GiveUp(gave_up) = std::mem::replace(&mut batch.step, Step::Handle) {
            self.meters.dead_letters.increment(1);
            self.finish(batch, std::iter::once(Err(gave_up)));
        }
    }

    fn not_given_up(&mut self, mut batch: Batch<T>, cause: &str, now: Instant) {
        self.meters.dead_letter_failures.increment(1);
        self.schedule.drop_stale(&mut batch);
        if batch.is_empty() {
            return;
        }
        batch.give_up_failures = batch.give_up_failures.saturating_add(1);
        tracing::warn!(
            pool = self.shared.options.name,
            failures = batch.give_up_failures,
            cause,
            "a dead letter could not be stored; its key waits"
        );
        let random = self.jitter.draw();
        let wait = self.shared.options.backoff.wait(batch.give_up_failures, random);
        self.delay(later(now, wait), batch);
    }
}
