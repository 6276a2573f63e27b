//! A pool under test: jobs that behave as told, and a log of all that happened to them, on a paused clock.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses a part of this")]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;
use worker_pool::{
    Backoff, BlockingWork, BoxError, Finished, GaveUp, HandlerError, Job, Pool, PoolOptions, Tag, Work, lane_of, mix,
};

/// How a job fails, as often as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Retry,
    Panic,
    Hang,
    Reject,
    Unavailable,
    Hold,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub number: u64,
    pub key: u64,
    pub work: Duration,
    pub fault: Option<Fault>,
    /// How often the fault strikes when the job stands alone. In company it strikes as long as it has not struck out.
    pub times: u32,
}

/// What happened to one job, in the order of ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub number: u64,
    pub key: u64,
    pub tag: Tag,
    pub gave_up: Option<GaveUp>,
    pub at: Instant,
}

#[derive(Default)]
pub struct Log {
    pub ends: Vec<End>,
    pub calls: Vec<Vec<u64>>,
    pub held: Vec<Tag>,
    struck: HashMap<u64, u32>,
    running: HashSet<u64>,
    pub most_running: usize,
    pub overlaps: Vec<u64>,
    /// How often the giving up of any job still fails.
    pub letters_fail: u32,
    /// Strikes every call, whatever its jobs say.
    pub all_fail: Option<Fault>,
}

pub struct Rig {
    pub log: Arc<Mutex<Log>>,
    /// Told of every hand-over of ended jobs.
    ended: Arc<Notify>,
    /// Whether calls run on blocking threads. Then a job that hangs does so for [`HANGS`] and fails after.
    blocks: bool,
}

/// How long a job hangs that blocks.
pub const HANGS: Duration = Duration::from_millis(30);

struct Running<'a> {
    log: &'a Mutex<Log>,
    keys: Vec<u64>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for key in &self.keys {
            log.running.remove(key);
        }
    }
}

impl Rig {
    fn begin(&self, items: &[Item]) -> Running<'_> {
        let mut log = self.log.lock().unwrap();
        log.calls.push(items.iter().map(|item| item.number).collect());
        let mut keys: Vec<u64> = items.iter().map(|item| item.key).collect();
        keys.dedup();
        for &key in &keys {
            if !log.running.insert(key) {
                log.overlaps.push(key);
            }
        }
        log.most_running = log.most_running.max(log.running.len());
        Running { log: &self.log, keys }
    }

    /// The fault that strikes this call, if any.
    fn strike(&self, items: &[Item]) -> Option<Fault> {
        let mut log = self.log.lock().unwrap();
        if log.all_fail.is_some() {
            return log.all_fail;
        }
        for item in items {
            let struck = log.struck.entry(item.number).or_default();
            if item.fault.is_some() && *struck < item.times {
                // A batch that finds the environment away is not split, it comes back whole.
                if items.len() == 1 || item.fault == Some(Fault::Unavailable) {
                    *struck += 1;
                }
                return item.fault;
            }
        }
        None
    }
}

impl Work<Item> for Rig {
    type Output = u64;
    type Gathered = ();

    async fn run(&self, items: &[Item], tags: &[Tag]) -> Result<Vec<u64>, HandlerError> {
        assert_eq!(items.len(), tags.len());
        let _running = self.begin(items);
        let work = items.iter().map(|item| item.work).max().unwrap_or_default();
        if !work.is_zero() {
            tokio::time::sleep(work).await;
        }
        match self.strike(items) {
            Some(Fault::Hang) => std::future::pending().await,
            fault => outcome(items, fault),
        }
    }

    fn as_blocking(&self) -> Option<&dyn BlockingWork<Item, u64>> {
        self.blocks.then_some(self)
    }

    async fn give_up(&self, _item: &Item, _gave_up: &GaveUp) -> Result<(), BoxError> {
        let mut log = self.log.lock().unwrap();
        if log.letters_fail > 0 {
            log.letters_fail -= 1;
            return Err("no room for letters".into());
        }
        Ok(())
    }

    fn finished(&self, job: Finished<Item, u64>, _gathered: &mut ()) {
        if let Ok(number) = job.result {
            assert_eq!(number, job.item.number, "a result went to another job");
        }
        let mut log = self.log.lock().unwrap();
        log.ends.push(End {
            number: job.item.number,
            key: job.item.key,
            tag: job.tag,
            gave_up: job.result.err(),
            at: Instant::now(),
        });
    }

    fn hand_over(&self, _gathered: &mut ()) {
        self.ended.notify_one();
    }

    fn held(&self, tag: Tag, _cause: String) {
        self.log.lock().unwrap().held.push(tag);
    }
}

fn outcome(items: &[Item], fault: Option<Fault>) -> Result<Vec<u64>, HandlerError> {
    match fault {
        None => Ok(items.iter().map(|item| item.number).collect()),
        Some(Fault::Retry | Fault::Hang) => Err(HandlerError::retry("told to fail")),
        Some(Fault::Panic) => panic!("told to panic"),
        Some(Fault::Reject) => Err(HandlerError::reject("told to reject")),
        Some(Fault::Unavailable) => Err(HandlerError::unavailable("told to be away")),
        Some(Fault::Hold) => Err(HandlerError::hold("told to hold")),
    }
}

impl BlockingWork<Item, u64> for Rig {
    fn run_blocking(&self, items: &[Item], tags: &[Tag]) -> Result<Vec<u64>, HandlerError> {
        assert_eq!(items.len(), tags.len());
        let _running = self.begin(items);
        std::thread::sleep(items.iter().map(|item| item.work).max().unwrap_or_default());
        let fault = self.strike(items);
        if fault == Some(Fault::Hang) {
            std::thread::sleep(HANGS);
        }
        outcome(items, fault)
    }
}

pub struct Bench {
    pub pool: Pool<Item, Rig>,
    pub log: Arc<Mutex<Log>>,
    ended: Arc<Notify>,
}

pub fn options(lanes: usize, workers: usize, max_batch: usize) -> PoolOptions {
    let mut options = PoolOptions::new("test");
    options.lanes = lanes;
    options.workers = workers;
    options.max_batch = max_batch;
    options.max_attempts = 3;
    options.handler_timeout = Duration::from_secs(1);
    options.backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_millis(100) };
    options.circuit = Backoff { first: Duration::from_millis(10), max: Duration::from_millis(200) };
    options
}

pub fn start(options: PoolOptions) -> Bench {
    start_as(options, false)
}

/// A pool whose handler blocks. For a clock that is not paused: threads do not hold it back.
pub fn start_blocking(options: PoolOptions) -> Bench {
    start_as(options, true)
}

fn start_as(options: PoolOptions, blocks: bool) -> Bench {
    let log = Arc::new(Mutex::new(Log::default()));
    let ended = Arc::new(Notify::new());
    let rig = Rig { log: Arc::clone(&log), ended: Arc::clone(&ended), blocks };
    let pool = Pool::start(options, Arc::new(rig), &Handle::current());
    Bench { pool, log, ended }
}

/// A job without faults.
pub fn job(number: u64, key: u64) -> Item {
    Item { number, key, work: Duration::ZERO, fault: None, times: 0 }
}

/// Jobs as they were drawn: key, work in milliseconds, fault and how often it strikes.
pub fn items(drawn: Vec<(u64, u64, Option<Fault>, u32)>) -> Vec<Item> {
    (0..)
        .zip(drawn)
        .map(|(number, (key, work_ms, fault, times))| {
            let item = job(number, key).work_ms(work_ms);
            match fault {
                Some(fault) => item.fault(fault, times),
                None => item,
            }
        })
        .collect()
}

impl Item {
    pub fn work_ms(mut self, ms: u64) -> Self {
        self.work = Duration::from_millis(ms);
        self
    }

    pub fn fault(mut self, fault: Fault, times: u32) -> Self {
        self.fault = Some(fault);
        self.times = times;
        self
    }
}

impl Bench {
    /// Gives jobs to their lanes, as group 0 of generation 1.
    pub fn give(&self, items: impl IntoIterator<Item = Item>) {
        self.give_as(0, 1, items);
    }

    pub fn give_as(&self, group: u32, generation: u32, items: impl IntoIterator<Item = Item>) {
        let mut lanes: Vec<Vec<Job<Item>>> = (0..self.pool.lanes()).map(|_| Vec::new()).collect();
        for item in items {
            let tag = Tag { key: mix(item.key), group, generation, ticket: item.number, attempts: 0 };
            lanes[lane_of(tag.key, self.pool.lanes())].push(Job { tag, item });
        }
        for (lane, jobs) in lanes.into_iter().enumerate() {
            if !jobs.is_empty() {
                self.pool.offer(lane, jobs).expect("there is room");
            }
        }
    }

    /// Waits until `count` jobs have ended, at most two minutes of the runtime's clock.
    pub async fn until(&self, count: usize) {
        self.until_within(count, Duration::from_secs(120)).await;
    }

    /// As [`until`](Self::until), with a limit of the caller's. On a paused clock waiting costs nothing, and a job that never ends is
    /// found at once; for a lane that spins see [`within`].
    pub async fn until_within(&self, count: usize, limit: Duration) {
        let wait = async {
            while self.log.lock().unwrap().ends.len() < count {
                self.ended.notified().await;
            }
        };
        let in_time = tokio::time::timeout(limit, wait).await;
        assert!(in_time.is_ok(), "only {} of {count} jobs ended within {limit:?}", self.ends().len());
    }

    pub fn ends(&self) -> Vec<End> {
        self.log.lock().unwrap().ends.clone()
    }

    pub fn numbers(&self) -> Vec<u64> {
        self.ends().iter().map(|end| end.number).collect()
    }

    pub fn calls(&self) -> Vec<Vec<u64>> {
        self.log.lock().unwrap().calls.clone()
    }
}

/// Runs a test on a thread of its own and fails if it takes longer than `limit` of real time. A lane that spins never lets a paused clock
/// move, so no deadline inside the runtime would find it.
pub fn within<R: Send + 'static>(limit: Duration, test: impl FnOnce() -> R + Send + 'static) -> R {
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || tell.send(test()).ok());
    match told.recv_timeout(limit) {
        Ok(result) => result,
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
            panic!("no end after {limit:?} of real time: a lane spins or hangs")
        }
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => unreachable!("a thread that did not panic has told its result"),
        },
    }
}

/// Panics that jobs are told to have would fill the output.
pub fn hide_planned_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&"told to panic") {
                usual(panic);
            }
        }));
    });
}
