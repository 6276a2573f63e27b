//! The data thread: alone owns the books. Takes records from the shared fetch queue, hands them to lanes, takes completions back, passes
//! positions on, and obeys the event thread on revoke and stop. It never blocks for longer than a few milliseconds. What a record goes
//! through is in `dispatch.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use rdkafka_ext::{NativeMessage, SharedQueue};
use tokio::runtime::Handle;
use tokio::time::Instant;
use worker_pool::{CircuitState, Direct, Job, Pool};

use crate::commits::Commits;
use crate::context::Context;
use crate::copy::Blocks;
use crate::dispatch::{Arrived, KeyRule};
use crate::drain::{Drain, Waits};
use crate::errors::PoolError;
use crate::handler::Handler;
use crate::meters::Meters;
use crate::options::Options;
use crate::partition::Tenure;
use crate::partitions::Partitions;
use crate::record::Record;
use crate::shared::{Assigned, Command, Shared};
use crate::source::Source;
use crate::work::{KafkaWork, News};

/// Most records taken from the fetch queue at once.
const QUANTUM: usize = 512;
/// Records taken when there is no room because partitions that stand still hold all of it: the others must go on. Each partition that comes
/// to stand still may so add as many to what is held.
const QUANTUM_WITHOUT_ROOM: usize = 64;
/// How often positions go to librdkafka.
const STORE_INTERVAL: Duration = Duration::from_millis(20);
/// How often the status and the gauges are renewed.
const SHOW_INTERVAL: Duration = Duration::from_millis(50);
/// How long the thread waits for records: with a drain under way, with work in flight, and with nothing at all.
const WAIT_DRAINING: Duration = Duration::from_millis(1);
const WAIT_BUSY: Duration = Duration::from_millis(5);
const WAIT_IDLE: Duration = Duration::from_millis(100);

/// The books and what they work with. `Q` is the client's queue in a pool, memory in the test driver.
pub(crate) struct DataThread<H: Handler, Q = SharedQueue<Context>> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Arc<Options>,
    pub(crate) queue: Q,
    pub(crate) pool: Pool<Record, KafkaWork<H>>,
    /// Calls short handlers; `None` where the pool cannot.
    pub(crate) direct: Option<Direct<Record, ()>>,
    /// Entered for calls made here.
    pub(crate) runtime: Handle,
    pub(crate) keys: KeyRule,
    pub(crate) commands: Receiver<Command>,
    pub(crate) news: Receiver<News>,
    pub(crate) commits: Commits,
    pub(crate) meters: Meters,
    pub(crate) state: State,
}

/// What the thread itself remembers.
pub(crate) struct State {
    pub(crate) partitions: Partitions,
    /// Jobs on their way to each lane.
    pub(crate) lanes: Vec<Vec<Job<Record>>>,
    /// Where the records of each lane are copied to.
    pub(crate) blocks: Vec<Blocks>,
    /// What the drain under way has brought.
    pub(crate) arrived: Vec<Arrived>,
    /// Since when the lanes have ended nothing while the thread waits for them, and what they have left.
    pub(crate) waits: Option<(Instant, usize)>,
    /// Records of the drain under way that were done here.
    pub(crate) done_directly: u64,
    /// Records taken in the drain under way.
    pub(crate) taken: u64,
    /// The slot of the last of them.
    pub(crate) last_slot: Option<u32>,
    natives: Vec<NativeMessage>,
    /// Bytes of the largest record of the last drain: how far the next may go.
    pub(crate) largest_bytes: usize,
    /// Shown in the status until a record comes.
    pub(crate) has_fetch_error: bool,
    drains: Vec<Drain>,
    /// The deadline of the stop under way.
    stopping: Option<Instant>,
    last_store: Instant,
    last_show: Instant,
}

impl State {
    pub(crate) fn new(lanes: usize) -> Self {
        Self {
            partitions: Partitions::default(),
            lanes: (0..lanes).map(|_| Vec::new()).collect(),
            blocks: (0..lanes).map(|_| Blocks::default()).collect(),
            arrived: Vec::with_capacity(QUANTUM),
            waits: None,
            done_directly: 0,
            taken: 0,
            last_slot: None,
            natives: Vec::with_capacity(QUANTUM),
            largest_bytes: 1,
            has_fetch_error: false,
            drains: Vec::new(),
            stopping: None,
            last_store: Instant::now(),
            last_show: Instant::now(),
        }
    }
}

impl<H: Handler> DataThread<H> {
    /// Runs until told to quit, or until the event thread has gone. Hands the pool back, so that its lanes can be ended after the books.
    pub(crate) fn run(mut self) -> Pool<Record, KafkaWork<H>> {
        let runtime = self.runtime.clone();
        let _runtime = runtime.enter();
        loop {
            if self.obey() {
                break;
            }
            self.turn();
            self.fetch();
        }
        self.count_undone();
        self.pool
    }

    /// Takes what there is room for, or waits. Not draining the fetch queue is all there is to back-pressure: librdkafka fills its queue
    /// to its bound and stops fetching.
    fn fetch(&mut self) {
        let waits_for_lanes = self.waits_for_lanes();
        let quantum = if waits_for_lanes { 0 } else { self.quantum() };
        if quantum == 0 {
            let is_hurried = waits_for_lanes || !self.state.drains.is_empty();
            let wait = if is_hurried { WAIT_DRAINING } else { WAIT_BUSY };
            match self.news.recv_timeout(wait) {
                Ok(news) => self.take(news),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            return;
        }
        let mut natives = std::mem::take(&mut self.state.natives);
        if self.queue.consume_batch(quantum, &mut natives) == 0 {
            let wait = match () {
                () if !self.state.drains.is_empty() => WAIT_DRAINING,
                () if self.state.partitions.in_flight() > 0 => WAIT_BUSY,
                () => WAIT_IDLE,
            };
            natives.extend(self.queue.consume_one(wait));
        }
        if !natives.is_empty() {
            self.state.largest_bytes = 1;
            self.state.last_slot = None;
            let now = Instant::now();
            for native in natives.drain(..) {
                self.receive(&native);
            }
            self.enter_arrived(now);
            self.meters.records.increment(std::mem::take(&mut self.state.taken));
        }
        self.state.natives = natives;
    }
}

impl<H: Handler, Q: Source> DataThread<H, Q> {
    /// One round of everything but taking records.
    pub(crate) fn turn(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            self.take(news);
        }
        self.resume_stopped();
        self.settle_drains();
        self.pass_positions_on();
        self.show();
    }

    /// What is in hand at the end stays undone.
    pub(crate) fn count_undone(&self) {
        let undone = self.state.partitions.taken().0 as u64;
        self.shared.counters.undone.fetch_add(undone, Ordering::Relaxed);
    }

    /// Carries out what the event thread and the handles asked. True to quit.
    pub(crate) fn obey(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Err(TryRecvError::Empty) => return false,
                // The event thread is gone, so nobody serves rebalances: going on would only double work.
                Err(TryRecvError::Disconnected) | Ok(Command::Quit) => return true,
                Ok(Command::Assign { partitions, ack }) => {
                    for Assigned { name, begin, known } in partitions {
                        let slot = self.state.partitions.assign(&name, begin);
                        self.state.partitions.get_mut(slot).known = known;
                    }
                    self.show_assigned();
                    ack.send(()).ok();
                }
                Ok(Command::Revoke { partitions, is_lost, deadline, ack }) => {
                    let slots: Vec<u32> = partitions
                        .iter()
                        .filter_map(|name| self.state.partitions.slot_of(name))
                        .filter(|slot| self.state.partitions.get(*slot).tenure == Tenure::Owned)
                        .collect();
                    if is_lost {
                        self.end(&slots);
                        ack.send(()).ok();
                        continue;
                    }
                    for &slot in &slots {
                        self.state.partitions.get_mut(slot).tenure = Tenure::Draining;
                    }
                    // After a stop, what is not done by its deadline stays undone.
                    let deadline = self.state.stopping.unwrap_or(deadline);
                    self.state.drains.push(Drain::new(slots, deadline, ack, true));
                }
                Ok(Command::Stop { deadline, ack }) => {
                    self.state.stopping = Some(deadline);
                    let slots = self.state.partitions.live().map(|(slot, _)| slot).collect();
                    self.state.drains.push(Drain::new(slots, deadline, ack, false));
                }
                Ok(Command::Release(name)) => self.release(name.as_ref()),
                Ok(Command::Pause(names)) => self.pause(&names),
                Ok(Command::Resume(names)) => names.iter().for_each(|name| self.state.partitions.unpause(name)),
            }
        }
    }

    fn end(&mut self, slots: &[u32]) {
        for &slot in slots {
            let generation = self.state.partitions.get(slot).generation;
            self.pool.forget(slot, generation);
            let undone = self.state.partitions.end(slot) as u64;
            if self.state.stopping.is_some() {
                self.shared.counters.undone.fetch_add(undone, Ordering::Relaxed);
            }
        }
        self.show_assigned();
    }

    fn take(&mut self, news: News) {
        match news {
            News::Done(records) => {
                let (mut handled, mut dead_lettered, mut retried) = (0, 0, 0);
                for done in &records {
                    if self.state.partitions.complete(done.slot, done.generation, done.ticket) {
                        handled += 1;
                        dead_lettered += u64::from(done.is_dead_letter);
                        retried += u64::from(done.attempts).saturating_sub(u64::from(done.is_dead_letter));
                    }
                }
                let counters = &self.shared.counters;
                counters.handled.fetch_add(handled, Ordering::Relaxed);
                counters.dead_lettered.fetch_add(dead_lettered, Ordering::Relaxed);
                counters.retried.fetch_add(retried, Ordering::Relaxed);
                self.meters.stale.increment(records.len() as u64 - handled);
            }
            News::Held { tag, cause } => self.hold(tag, cause),
        }
    }

    fn settle_drains(&mut self) {
        if self.state.drains.is_empty() {
            return;
        }
        let now = Instant::now();
        let circuit = match self.pool.circuit().0 {
            CircuitState::Closed => self.pool.failing_circuit().0,
            open => open,
        };
        let mut drains = std::mem::take(&mut self.state.drains);
        drains.retain_mut(|drain| {
            let commits = &self.commits;
            let partitions = &self.state.partitions;
            let waits = drain.waits(partitions, circuit, now, |slots| commits.is_behind(partitions, slots));
            match waits {
                Waits::ForRecords => true,
                Waits::ForTheStore => {
                    self.save(true);
                    true
                }
                Waits::NoMore => {
                    self.pass_on_to_kafka(true);
                    if drain.is_revoke {
                        self.end(&drain.slots);
                    }
                    drain.ack.send(()).ok();
                    false
                }
            }
        });
        self.state.drains.append(&mut drains);
    }

    fn pass_positions_on(&mut self) {
        self.save(false);
        if self.state.last_store.elapsed() >= STORE_INTERVAL {
            self.state.last_store = Instant::now();
            self.pass_on_to_kafka(false);
        }
    }

    fn pass_on_to_kafka(&mut self, hurry: bool) {
        let refuses = self.shared.is_metadata_refused.load(Ordering::Acquire);
        let bytes_max = if refuses { 0 } else { self.options.commit_metadata_bytes };
        let again = || self.shared.has_failed_commit.swap(false, Ordering::AcqRel);
        self.commits.store(&self.queue, &mut self.state.partitions, bytes_max);
        self.commits.note(&self.queue, &mut self.state.partitions, bytes_max, hurry, again);
    }

    fn save(&mut self, hurry: bool) {
        match self.commits.save(&mut self.state.partitions, hurry) {
            None => {}
            Some(Ok(())) => self.shared.clear_error("position store"),
            Some(Err(error)) => self.shared.set_error("position store", &error),
        }
    }

    fn show(&mut self) {
        if self.state.last_show.elapsed() < SHOW_INTERVAL {
            return;
        }
        self.state.last_show = Instant::now();
        self.renew_board();
        if !self.pool.is_whole() {
            self.shared.fail(PoolError::Invariant("a lane has ended; see the log for its panic".to_owned()));
        }
    }

    /// The names, which are many, change with an assignment only.
    fn show_assigned(&mut self) {
        let assigned = self.state.partitions.live().map(|(_, partition)| partition.name.clone()).collect();
        self.shared.board().assigned = assigned;
        self.renew_board();
    }

    fn renew_board(&mut self) {
        let partitions = &self.state.partitions;
        let (circuit, cause) = self.pool.circuit();
        let oldest = partitions.live().filter_map(|(_, partition)| partition.ledger.oldest()).min();
        let held = partitions.live().flat_map(|(_, partition)| partition.held.iter().cloned()).collect::<Vec<_>>();
        let paused = partitions.paused().cloned().collect();
        let (taken, bytes) = partitions.taken();
        self.meters.show(taken, bytes, oldest, partitions.live().count(), held.len());
        self.shared.counters.in_flight.store(taken, Ordering::Relaxed);
        let mut board = self.shared.board();
        board.held = held;
        board.paused = paused;
        board.oldest = oldest;
        board.circuit = circuit;
        board.circuit_cause = cause;
        (board.failing_circuit, board.failing_circuit_cause) = self.pool.failing_circuit();
        board.concurrency_limit = self.pool.concurrency_limit();
    }

    pub(crate) fn quantum(&self) -> usize {
        if self.state.stopping.is_some() || self.shared.is_paused.load(Ordering::Acquire) {
            return 0;
        }
        let (taken, bytes) = self.state.partitions.taken();
        let room = self.options.queue_capacity.saturating_sub(taken);
        let room_bytes = (self.options.buffer_bytes / 2).saturating_sub(bytes);
        if room == 0 || room_bytes == 0 {
            let by_bytes = self.options.buffer_bytes / 8 / self.state.largest_bytes;
            let a_little = by_bytes.clamp(1, QUANTUM_WITHOUT_ROOM);
            return if self.state.partitions.all_stand_still() { a_little } else { 0 };
        }
        room.min(QUANTUM).min((room_bytes / self.state.largest_bytes).max(1))
    }
}
