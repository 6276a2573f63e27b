//! Threads for handlers that block: a bounded set, each started when the first call needs it, all ended and joined with the pool. Knows nothing
//! of jobs.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use metrics::{Gauge, gauge};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::meters::as_f64;

type Task = Box<dyn FnOnce() + Send>;

/// The threads of one pool.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    max: usize,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    /// Entered by every thread, so that a handler may use what needs a tokio runtime around it.
    runtime: Handle,
    state: Mutex<State>,
    more: Condvar,
    /// Told when the last thread has ended.
    ended: Notify,
    /// `worker_pool_blocking_threads`: threads alive.
    alive: Gauge,
}

#[derive(Default)]
struct State {
    /// Bounded by the handler calls in flight.
    tasks: VecDeque<Task>,
    idle: usize,
    alive: usize,
    is_closed: bool,
}

impl Threads {
    /// At most `max` threads, none of them started yet.
    pub(crate) fn new(pool: &str, max: usize, runtime: Handle) -> Self {
        let shared = Shared {
            runtime,
            state: Mutex::default(),
            more: Condvar::new(),
            ended: Notify::new(),
            alive: gauge!("worker_pool_blocking_threads", "pool" => pool.to_owned()),
        };
        Self { shared: Arc::new(shared), max, handles: Mutex::default() }
    }

    /// Runs a call on a thread and waits for it. A panic of the call goes on here. An error: there is no thread for it, and it did not
    /// begin. When the future is dropped, a call that has begun runs to its end and its result is dropped; one that has not never begins.
    pub(crate) async fn run<R: Send + 'static>(&self, call: impl FnOnce() -> R + Send + 'static) -> io::Result<R> {
        let (reply, answer) = oneshot::channel();
        self.give(Box::new(move || {
            if !reply.is_closed() {
                // What the call holds is dropped within, before its end is told.
                let result = catch_unwind(AssertUnwindSafe(call));
                reply.send(result).ok();
            }
        }))?;
        match answer.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(has_ended()),
        }
    }

    fn give(&self, task: Task) -> io::Result<()> {
        let mut state = self.shared.lock();
        if state.is_closed {
            return Err(has_ended());
        }
        state.tasks.push_back(task);
        if state.tasks.len() <= state.idle || state.alive >= self.max {
            drop(state);
            self.shared.more.notify_one();
            return Ok(());
        }
        let alive = Alive(Arc::clone(&self.shared));
        state.alive += 1;
        self.shared.alive.set(as_f64(state.alive));
        let has_others = state.alive > 1;
        drop(state);
        match Builder::new().name("pool-blocking".to_owned()).spawn(move || alive.0.work()) {
            Ok(handle) => self.handles.lock().unwrap_or_else(PoisonError::into_inner).push(handle),
            // The others take the task.
            Err(error) if has_others => tracing::warn!(%error, "no further thread for handlers that block"),
            Err(error) => {
                self.shared.lock().tasks.clear();
                return Err(error);
            }
        }
        Ok(())
    }

    /// No further calls; each thread ends when its call is over.
    pub(crate) fn close(&self) {
        self.shared.lock().is_closed = true;
        self.shared.more.notify_all();
    }

    /// Waits until all threads have ended: for as long as the calls take that are on them. Cancel safe.
    pub(crate) async fn join(&self) {
        while self.shared.lock().alive > 0 {
            self.shared.ended.notified().await;
        }
        let handles = std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in handles {
            // It has given its last sign of life: this takes microseconds. No call's panic gets that far.
            handle.join().ok();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let _runtime = self.runtime.enter();
        let mut state = self.lock();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                drop(state);
                task();
                state = self.lock();
            } else if state.is_closed {
                return;
            } else {
                state.idle += 1;
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

/// A thread's sign of life, which ends with it however it ends.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.alive -= 1;
        self.0.alive.set(as_f64(state.alive));
        if state.alive == 0 {
            self.0.ended.notify_one();
        }
    }
}

fn has_ended() -> io::Error {
    io::Error::other("the pool's threads have ended")
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread::{ThreadId, current};

    use super::*;

    fn alive(threads: &Threads) -> usize {
        threads.shared.lock().alive
    }

    #[tokio::test]
    async fn threads_start_on_demand_are_used_again_and_never_exceed_their_bound() {
        let threads = Threads::new("test", 3, Handle::current());
        assert_eq!(alive(&threads), 0);
        let first: ThreadId = threads.run(|| current().id()).await.unwrap();
        assert_ne!(first, current().id());
        let together = Arc::new(Barrier::new(3));
        let calls = (0..30).map(|number| {
            let together = Arc::clone(&together);
            // The first three only end if they run at once.
            threads.run(move || {
                if number < 3 {
                    together.wait();
                }
            })
        });
        futures_util::future::join_all(calls).await;
        assert_eq!(alive(&threads), 3);
        threads.close();
        threads.join().await;
        assert_eq!(alive(&threads), 0);
        assert!(threads.run(|| ()).await.is_err(), "nothing begins after the end");
    }

    #[tokio::test]
    async fn a_panic_goes_on_where_the_call_is_awaited_and_costs_no_thread() {
        let threads = Arc::new(Threads::new("test", 1, Handle::current()));
        let call = tokio::spawn({
            let threads = Arc::clone(&threads);
            async move { threads.run(|| resume_unwind(Box::new("as planned"))).await }
        });
        let panic: io::Result<()> = call.await.map_err(tokio::task::JoinError::into_panic).map_or_else(
            |panic| {
                assert_eq!(panic.downcast_ref::<&str>(), Some(&"as planned"));
                Ok(())
            },
            |_| panic!("must panic"),
        );
        panic.unwrap();
        assert_eq!(threads.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_does_not_begin() {
        let threads = Threads::new("test", 1, Handle::current());
        let (free, freed) = std::sync::mpsc::channel::<()>();
        let mut busy = Box::pin(threads.run(move || freed.recv().is_ok()));
        assert!(futures_util::poll!(&mut busy).is_pending());
        let (begun, has_begun) = std::sync::mpsc::channel::<()>();
        let mut waiting = Box::pin(threads.run(move || begun.send(()).is_ok()));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        free.send(()).unwrap();
        assert!(busy.await.unwrap());
        threads.close();
        threads.join().await;
        assert!(has_begun.recv().is_err());
    }

    #[tokio::test]
    async fn a_runtime_is_around_every_call() {
        let threads = Threads::new("test", 1, Handle::current());
        assert!(threads.run(|| Handle::try_current().is_ok()).await.unwrap());
    }
}
