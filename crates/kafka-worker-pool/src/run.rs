//! The life of a pool from connecting to its report: builds the parts in order, and takes them down in the order that does not hang.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka_ext::SharedQueue;
use tokio::time::timeout;
use worker_pool::{Pool, PoolOptions, WhenUnavailable};

use crate::commits::{AnyStore, Commits};
use crate::context::Context;
use crate::data_thread::{DataThread, State};
use crate::dispatch::{KeyOf, KeyRule};
use crate::errors::PoolError;
use crate::event_thread::EventThread;
use crate::handler::Handler;
use crate::lives::Lives;
use crate::meters::Meters;
use crate::options::Options;
use crate::record::Record;
use crate::report::Phase;
use crate::shared::{Command, Ending, Shared};
use crate::work::{AnySink, KafkaWork};

/// All that a pool is made of.
pub(crate) struct Parts<H> {
    pub(crate) events: EventThread,
    pub(crate) handler: Arc<H>,
    pub(crate) sink: Arc<dyn AnySink>,
    pub(crate) store: Option<Arc<dyn AnyStore>>,
    pub(crate) key_of: Option<KeyOf>,
    pub(crate) commands: Receiver<Command>,
}

/// How long lanes may take to end once the books are closed.
const LANES_TIMEOUT: Duration = Duration::from_secs(2);

type Lanes<H> = Pool<Record, KafkaWork<H>>;

/// Runs the pool on this thread until it has ended, and tells the handles how.
pub(crate) fn run<H: Handler>(parts: Parts<H>) {
    let shared = Arc::clone(&parts.events.shared);
    // Whatever happens, whoever waits for the end must hear of it. A runtime without a clock, or one that has ended, panics when it is used.
    let ending = catch_unwind(AssertUnwindSafe(|| live(parts))).unwrap_or_else(|_| {
        let panicked = || PoolError::Invariant("the pool's thread panicked; see the log".to_owned());
        Ending::Failed(shared.failure().unwrap_or_else(panicked))
    });
    shared.enter(Phase::Stopped);
    shared.ending.send_replace(Some(ending));
}

fn live<H: Handler>(parts: Parts<H>) -> Ending {
    let Parts { mut events, handler, sink, store, key_of, commands } = parts;
    let Some(protocol) = events.protocol() else {
        return Ending::Stopped { commit_failure: None };
    };
    let context = Context {
        shared: Arc::clone(&events.shared),
        options: Arc::clone(&events.options),
        group: Arc::clone(&events.group),
        store: store.clone(),
        runtime: events.runtime.clone(),
        lives: Lives::default(),
    };
    let consumer = match events.consumer(protocol, context) {
        Ok(consumer) => Arc::new(consumer),
        Err(error) => return Ending::Failed(error),
    };
    let queue = match SharedQueue::new(Arc::clone(&consumer)) {
        Ok(queue) => queue,
        Err(error) => return Ending::Failed(PoolError::Client(error.to_string())),
    };
    events.shared.queue.set(queue.handle()).ok();
    let (tell, news) = channel();
    let work = KafkaWork { handler, sink, group: Arc::clone(&events.group), news: tell };
    let pool = Pool::start(pool_options(&events.group, &events.options), Arc::new(work), &events.runtime);
    let data = DataThread {
        shared: Arc::clone(&events.shared),
        options: Arc::clone(&events.options),
        queue,
        state: State::new(pool.lanes()),
        direct: pool.direct(),
        runtime: events.runtime.clone(),
        pool,
        keys: KeyRule::new(events.options.order, key_of),
        commands,
        news,
        commits: Commits::new(store, events.runtime.clone(), &events.options, events.options.label(&events.group)),
        meters: Meters::new(events.options.label(&events.group)),
    };
    let alarm = Alarm(Arc::clone(&events.shared));
    let spawned = Builder::new().name("pool-data".to_owned()).spawn(move || {
        let _alarm = alarm;
        data.run()
    });
    let ending = match spawned {
        Err(error) => Ending::Failed(PoolError::Client(format!("no thread: {error}"))),
        Ok(data) => {
            // Nothing of the user's runs here unguarded; after a bug the group is left in order all the same.
            let panicked = || PoolError::Invariant("the event thread panicked; see the log".to_owned());
            if catch_unwind(AssertUnwindSafe(|| events.serve(&consumer))).is_err() {
                events.shared.fail(panicked());
            }
            let stopped = catch_unwind(AssertUnwindSafe(|| events.stop(&consumer)));
            let ending = stopped.unwrap_or_else(|_| Ending::Failed(panicked()));
            end_data(&events, data).map_or(ending, Ending::Failed)
        }
    };
    let_go(consumer);
    ending
}

/// Tells the event thread when the data thread dies of a panic: of a user's key function, or of a bug.
struct Alarm(Arc<Shared>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(PoolError::Invariant("the data thread panicked; see the log".to_owned()));
        }
    }
}

/// Joins the data thread, which drops the queue, then the lanes. A failure if the thread had panicked.
fn end_data<H: Handler>(events: &EventThread, data: JoinHandle<Lanes<H>>) -> Option<PoolError> {
    events.shared.command(Command::Quit);
    let Ok(pool) = data.join() else {
        return Some(PoolError::Invariant("the data thread panicked; see the log".to_owned()));
    };
    let is_clean = events.shared.counters.undone.load(Ordering::Relaxed) == 0 && events.shared.failure().is_none();
    let end_lanes = async {
        if is_clean {
            pool.close().await;
        } else {
            pool.abort().await;
        }
    };
    // A call of a partition that was taken away may run on, or hold its lane without yielding: its outcome is nobody's, so it is left.
    // A runtime that has ended has ended the lanes too.
    let ended =
        catch_unwind(AssertUnwindSafe(|| events.runtime.block_on(async { timeout(LANES_TIMEOUT, end_lanes).await })));
    if !matches!(ended, Ok(Ok(()))) {
        tracing::warn!(group = &*events.group, "handler calls were left behind");
    }
    None
}

/// Drops the consumer. If it did not close, its drop would wait for ever; leaking it is the lesser evil, the process is ending.
fn let_go(consumer: Arc<BaseConsumer<Context>>) {
    if consumer.closed() {
        drop(consumer);
    } else {
        tracing::error!("the consumer did not close and is left behind");
        std::mem::forget(consumer);
    }
}

pub(crate) fn pool_options(group: &str, options: &Options) -> PoolOptions {
    let mut pool = PoolOptions::new(options.label(group));
    pool.lanes = options.lanes;
    pool.workers = options.workers;
    pool.blocking_threads = options.blocking_threads;
    // Without room for its own, the pool still takes a little, so that stopped partitions cannot stop the others.
    pool.queue_capacity = options.queue_capacity.saturating_add(512);
    pool.max_batch = options.max_batch;
    pool.max_attempts = options.max_attempts;
    pool.backoff = options.backoff;
    pool.circuit = options.circuit;
    pool.adaptive = options.adaptive;
    pool.failing_circuit = options.failing_circuit;
    pool.direct_below = options.direct_below;
    pool.handler_timeout = options.handler_timeout;
    pool.on_timeout = options.on_timeout;
    pool.when_unavailable = WhenUnavailable::Wait;
    pool
}
