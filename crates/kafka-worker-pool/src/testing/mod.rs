//! Tests of handlers with no broker: the pool's own lanes, books and rules over topics in memory, on a clock that the test moves.
//!
//! A [`TestPool`] is made by the same builder as the pool, so keys, options, sinks and stores are those of the program. Run the test with
//! `#[tokio::test(start_paused = true)]`: time then passes only where nothing else can happen, an hour of backoff in a moment. The books look
//! a millisecond after each call, and every 50 ms of that clock.
//!
//! ```
//! use std::time::Duration;
//! use kafka_worker_pool::{KafkaWorkerPool, Record, Retry, TopicPartition, each};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let handler = each(|record: Record| async move {
//!     match record.value.as_deref() {
//!         Some(b"bad") => Err(Retry::new("always"))?,
//!         _ => Ok(()),
//!     }
//! });
//! let mut pool = KafkaWorkerPool::builder("", "billing").topics(["orders"]).handler(handler).start_in_memory()?;
//! let orders = TopicPartition::new("orders", 0);
//! pool.send(&orders, "ann", "1");
//! pool.send(&orders, "ben", "bad");
//! pool.send(&orders, "ann", "2");
//! pool.assign([orders.clone()]).await;
//! pool.until("ann is served", |pool| pool.handled() == 2).await;
//! pool.advance(Duration::from_millis(50)).await; // positions are passed on every 20 ms
//! assert_eq!(pool.committed(&orders), Some(1), "ben's record is not done");
//!
//! pool.until("ben's is given up", |pool| pool.dead_letters().len() == 1).await;
//! assert_eq!(pool.dead_letters()[0].attempts, 5);
//! pool.advance(Duration::from_millis(50)).await;
//! assert_eq!(pool.committed(&orders), Some(3));
//! assert_eq!(pool.stop().await.handled, 3);
//! # Ok::<(), kafka_worker_pool::StartError>(()) }).unwrap();
//! ```
//!
//! Not here: the group's protocol, brokers that fail, and threads (a [`blocking`](crate::blocking) handler is called on the test's own).

mod memory;
mod watched;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle as Runtime;
use tokio::time::{Instant, sleep, timeout};
use worker_pool::Pool;

use self::memory::Memory;
pub use self::watched::{Call, Letter};
use self::watched::{Diary, WatchedHandler, WatchedSink};
use crate::ahead::Known;
use crate::commits::{AnyStore, Commits};
use crate::data_thread::{DataThread, State};
use crate::dispatch::{KeyOf, KeyRule};
use crate::handle::Monitor;
use crate::handler::Handler;
use crate::meters::Meters;
use crate::options::Options;
use crate::partition::Tenure;
use crate::positions::EARLIEST;
use crate::record::{Headers, Record, TopicPartition};
use crate::report::{Ended, Phase, RunReport};
use crate::run::pool_options;
use crate::shared::{Assigned, Begin, Command, Shared};
use crate::work::{AnySink, KafkaWork};

/// Topics in memory have one life.
const LIFE: &str = "memory";
/// How long [`TestPool::until`] waits, by the pool's clock.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// How often the books look when nothing calls them.
const LOOK: Duration = Duration::from_millis(50);
/// How soon after a call has ended: the lane has told of it by then.
const TICK: Duration = Duration::from_millis(1);

/// What a builder gives.
pub(crate) struct TestParts<H> {
    pub(crate) group: String,
    pub(crate) options: Options,
    pub(crate) handler: Arc<H>,
    pub(crate) sink: Option<Arc<dyn AnySink>>,
    pub(crate) store: Option<Arc<dyn AnyStore>>,
    pub(crate) key_of: Option<KeyOf>,
}

/// A pool over topics in memory. See the [module](self).
pub struct TestPool<H: Handler> {
    books: DataThread<WatchedHandler<H>, Memory>,
    memory: Memory,
    diary: Diary,
    store: Option<Arc<dyn AnyStore>>,
}

impl<H: Handler> TestPool<H> {
    pub(crate) fn new(parts: TestParts<H>, runtime: &Runtime) -> Self {
        let TestParts { group, mut options, handler, sink, store, key_of } = parts;
        // Which lane is whose does not matter here, and one lane makes a test the same each time.
        options.lanes = 1;
        let (memory, diary) = (Memory::default(), Diary::new());
        let (commands, obey) = channel();
        let shared = Arc::new(Shared::new(commands));
        // Topics in memory are never away.
        shared.board().is_connected = true;
        let (tell, news) = channel();
        let work = KafkaWork {
            handler: Arc::new(WatchedHandler { handler, diary: diary.clone() }),
            sink: Arc::new(WatchedSink { sink, diary: diary.clone() }),
            group: group.as_str().into(),
            news: tell,
        };
        let pool = Pool::start(pool_options(&group, &options), Arc::new(work), runtime);
        let label = options.label(&group).to_owned();
        let books = DataThread {
            shared,
            queue: memory.clone(),
            state: State::new(pool.lanes()),
            // It goes by how long calls take, and here they take no time.
            direct: None,
            runtime: runtime.clone(),
            pool,
            keys: KeyRule::new(options.order, key_of),
            commands: obey,
            news,
            commits: Commits::new(store.clone(), runtime.clone(), &options, &label),
            meters: Meters::new(&label),
            options: Arc::new(options),
        };
        Self { books, memory, diary, store }
    }

    /// Writes a record and returns its offset.
    pub fn send(&self, to: &TopicPartition, key: impl Into<Bytes>, value: impl Into<Bytes>) -> i64 {
        self.send_record(to, Some(key.into()), Some(value.into()), Headers::default(), None)
    }

    /// Writes a record with everything it can have. `None` as key or value is Kafka's null.
    pub fn send_record(
        &self,
        to: &TopicPartition,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: Headers,
        timestamp_ms: Option<i64>,
    ) -> i64 {
        let (topic, partition) = (Arc::clone(&to.topic), to.partition);
        self.memory.append(Record { topic, partition, offset: 0, timestamp_ms, key, value, headers }, 0)
    }

    /// As [`send`](Self::send), behind so many offsets that hold nothing, as compaction and transactions leave them.
    pub fn send_after_gap(
        &self,
        offsets: u32,
        to: &TopicPartition,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> i64 {
        let (topic, partition) = (Arc::clone(&to.topic), to.partition);
        let (key, value) = (Some(key.into()), Some(value.into()));
        let record =
            Record { topic, partition, offset: 0, timestamp_ms: None, key, value, headers: Headers::default() };
        self.memory.append(record, i64::from(offsets))
    }

    /// Gives partitions to this member. They start where the store says, else at what is committed, else by the options.
    ///
    /// # Panics
    /// If the position store fails: a pool would ask it again.
    pub async fn assign(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        let names: Vec<TopicPartition> = partitions.into_iter().collect();
        let mut begins: Vec<(TopicPartition, Begin)> =
            names.iter().map(|name| (name.clone(), self.memory.begin(name, &self.books.options))).collect();
        if let Some(store) = &self.store {
            let kept = store.load_all(&names).await.unwrap_or_else(|error| panic!("the position store: {error}"));
            for (name, begin) in &mut begins {
                let found = kept.iter().find(|(kept, _)| kept == name).and_then(|(_, offset)| *offset);
                *begin = found.map_or(*begin, Begin::Kept);
            }
        }
        for (name, begin) in &begins {
            let offset = match begin {
                Begin::Kept(EARLIEST) | Begin::Fresh | Begin::Unknown => 0,
                Begin::Kept(offset) | Begin::Chosen(offset) => *offset,
            };
            self.memory.assign(name, offset);
        }
        let partitions = begins.into_iter().map(|(name, begin)| self.with_what_is_known(name, begin)).collect();
        let (ack, acked) = sync_channel(1);
        self.books.shared.command(Command::Assign { partitions, ack });
        self.books.shared.enter(Phase::Running);
        self.books.shared.counters.assignments.fetch_add(1, Ordering::Relaxed);
        self.wait_for(&acked).await;
    }

    fn with_what_is_known(&self, name: TopicPartition, begin: Begin) -> Assigned {
        let keeps = self.store.is_none() && self.books.options.commit_metadata_bytes > 0;
        let life = keeps.then(|| LIFE.into());
        let known = match begin {
            Begin::Kept(offset) => Known::read(&self.memory.metadata(&name).unwrap_or_default(), offset, life),
            Begin::Chosen(_) | Begin::Fresh | Begin::Unknown => Known::nothing(life),
        };
        Assigned { name, begin, known }
    }

    /// Takes partitions away, as a rebalance does: what is in hand is finished, up to `drain_timeout`, its positions are committed, and what
    /// ends later is ignored.
    pub async fn revoke(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        self.take_away(partitions.into_iter().collect(), false).await;
    }

    /// Takes partitions away without asking, as a broker does with a member that was silent for too long: nothing of them is committed.
    pub async fn lose(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        self.take_away(partitions.into_iter().collect(), true).await;
    }

    async fn take_away(&mut self, partitions: Vec<TopicPartition>, is_lost: bool) {
        let (ack, acked) = sync_channel(1);
        let deadline = Instant::now() + self.books.options.drain_timeout;
        self.books.shared.command(Command::Revoke { partitions: partitions.clone(), is_lost, deadline, ack });
        self.wait_for(&acked).await;
        for name in &partitions {
            self.memory.unassign(name);
        }
    }

    /// Lets so much time pass.
    pub async fn advance(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.tick((end - Instant::now()).min(LOOK)).await;
        }
        self.round();
    }

    /// Lets time pass until this is true.
    ///
    /// # Panics
    /// If it is not within an hour of the pool's clock, or the pool ended by itself.
    pub async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "did not come true: {what}; {:?}", self.monitor().status());
            self.tick(LOOK).await;
        }
    }

    /// Stops as the pool does: drains up to `drain_timeout` and commits.
    pub async fn stop(mut self) -> RunReport {
        let asked = Instant::now();
        self.books.shared.stop_asked.store(true, Ordering::Release);
        self.books.shared.enter(Phase::Draining);
        let (ack, acked) = sync_channel(1);
        let deadline = asked + self.books.options.drain_timeout;
        self.books.shared.command(Command::Stop { deadline, ack });
        self.wait_for(&acked).await;
        self.books.count_undone();
        self.books.shared.enter(Phase::Stopped);
        let mut report = self.books.shared.report(asked);
        if report.undone > 0 {
            report.ended = Ended::AtDeadline;
        }
        report
    }

    /// The pool as its program sees it: status, pauses, releases.
    pub fn monitor(&self) -> Monitor {
        Monitor::new(Arc::clone(&self.books.shared))
    }

    /// What the group has committed: the next offset to read. It does not go back when partitions do.
    pub fn committed(&self, partition: &TopicPartition) -> Option<i64> {
        self.memory.committed(partition)
    }

    /// Resets what the group has committed, as an operator does while no member has the partition: what was done above it is forgotten.
    pub fn reset(&self, partition: &TopicPartition, offset: i64) {
        self.memory.reset(partition, offset);
    }

    /// Records done so far: handled, or durable as a dead letter.
    pub fn handled(&self) -> u64 {
        self.books.shared.counters.handled.load(Ordering::Relaxed)
    }

    /// Every call of the handler so far, in the order in which they began.
    pub fn calls(&self) -> Vec<Call> {
        self.diary.pages().calls.clone()
    }

    /// The dead letters stored so far.
    pub fn dead_letters(&self) -> Vec<Letter> {
        self.diary.pages().letters.clone()
    }

    /// Time since the start, by the pool's clock.
    pub fn elapsed(&self) -> Duration {
        self.diary.elapsed()
    }

    async fn wait_for(&mut self, acked: &Receiver<()>) {
        while acked.try_recv().is_err() {
            self.tick(LOOK).await;
        }
    }

    /// One round of the books, then it is everybody else's turn, for so long at most.
    async fn tick(&mut self, at_most: Duration) {
        self.round();
        if timeout(at_most, self.diary.changed.notified()).await.is_ok() {
            sleep(TICK).await;
        }
    }

    fn round(&mut self) {
        self.books.obey();
        self.books.turn();
        let room = self.books.quantum();
        for _ in 0..room {
            let Some(record) = self.memory.next() else {
                break;
            };
            let slot = self.books.state.partitions.slot_of(&record.topic_partition());
            let slot = slot.filter(|&slot| self.books.state.partitions.get(slot).tenure == Tenure::Owned);
            if let Some(slot) = slot {
                self.books.arrive(slot, record, None);
            }
        }
        self.books.enter_arrived(Instant::now());
        if let Some(error) = self.books.shared.failure() {
            panic!("the pool ended by itself: {error}");
        }
    }
}

impl<H: Handler> fmt::Debug for TestPool<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestPool").field("memory", &self.memory).finish_non_exhaustive()
    }
}
