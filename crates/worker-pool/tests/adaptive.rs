//! The adaptive limit on a pool, on a paused clock: a database that slows down with every call at once is held where it does most.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;
use worker_pool::{
    AdaptiveConcurrency, Backoff, BoxError, Finished, GaveUp, HandlerError, Job, Pool, PoolOptions, Tag, Work, lane_of,
    mix,
};

/// A database that serves `KNEE` calls at once in `UNLOADED`. Beyond that they do not only wait for each other: they fight for locks and
/// caches, so that it does less the more they are.
struct Database {
    running: AtomicUsize,
    /// Sum of calls at once over calls, for the mean.
    seen: AtomicUsize,
    done: AtomicUsize,
    is_away: AtomicBool,
    told: Notify,
}

const KNEE: usize = 16;
const UNLOADED: Duration = Duration::from_millis(10);

impl Database {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            running: AtomicUsize::new(0),
            seen: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            is_away: AtomicBool::new(false),
            told: Notify::new(),
        })
    }

    async fn until(&self, done: usize) {
        let wait = async {
            while self.done.load(Ordering::Acquire) < done {
                self.told.notified().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(3_600), wait).await;
        assert!(in_time.is_ok(), "only {} of {done}", self.done.load(Ordering::Acquire));
    }
}

impl Work<u64> for Database {
    type Output = ();
    type Gathered = usize;

    async fn run(&self, items: &[u64], _tags: &[Tag]) -> Result<Vec<()>, HandlerError> {
        let running = self.running.fetch_add(1, Ordering::AcqRel) + 1;
        self.seen.fetch_add(running, Ordering::AcqRel);
        let load = f64::from(u32::try_from(running).unwrap()) / f64::from(u32::try_from(KNEE).unwrap());
        tokio::time::sleep(UNLOADED.mul_f64((load * load).max(1.0))).await;
        self.running.fetch_sub(1, Ordering::AcqRel);
        match self.is_away.load(Ordering::Acquire) {
            true => Err(HandlerError::unavailable("too many connections")),
            false => Ok(vec![(); items.len()]),
        }
    }

    async fn give_up(&self, _item: &u64, _gave_up: &GaveUp) -> Result<(), BoxError> {
        Ok(())
    }

    fn finished(&self, _job: Finished<u64, ()>, gathered: &mut usize) {
        *gathered += 1;
    }

    fn hand_over(&self, gathered: &mut usize) {
        self.done.fetch_add(std::mem::take(gathered), Ordering::AcqRel);
        self.told.notify_one();
    }

    fn held(&self, _tag: Tag, _cause: String) {}
}

fn options(adaptive: Option<AdaptiveConcurrency>) -> PoolOptions {
    let mut options = PoolOptions::new("test");
    options.lanes = 3;
    options.workers = 256;
    options.queue_capacity = 100_000;
    options.circuit = Backoff { first: Duration::from_millis(10), max: Duration::from_millis(100) };
    options.adaptive = adaptive;
    options
}

fn give(pool: &Pool<u64, Database>, numbers: std::ops::Range<u64>) {
    let mut lanes: Vec<Vec<Job<u64>>> = (0..pool.lanes()).map(|_| Vec::new()).collect();
    for item in numbers {
        let tag = Tag { key: mix(item), group: 0, generation: 1, ticket: item, attempts: 0 };
        lanes[lane_of(tag.key, pool.lanes())].push(Job { tag, item });
    }
    for (lane, jobs) in lanes.into_iter().enumerate() {
        pool.offer(lane, jobs).unwrap();
    }
}

/// How long so many jobs take, and how many calls the database saw at once on average.
async fn measured(adaptive: Option<AdaptiveConcurrency>, jobs: usize) -> (Duration, usize) {
    let database = Database::new();
    let pool = Pool::start(options(adaptive), Arc::clone(&database), &Handle::current());
    let began = Instant::now();
    give(&pool, 0..jobs as u64);
    database.until(jobs).await;
    let took = began.elapsed();
    pool.close().await;
    (took, database.seen.load(Ordering::Acquire) / jobs)
}

#[tokio::test(start_paused = true)]
async fn a_database_that_slows_down_is_held_near_its_knee_and_not_drowned() {
    const JOBS: usize = 20_000;
    let best = UNLOADED * u32::try_from(JOBS / KNEE).unwrap();
    let (drowned, all) = measured(None, JOBS).await;
    let (held, at_once) = measured(Some(AdaptiveConcurrency::between(1, 256)), JOBS).await;
    assert!(all > 200 && drowned > best * 8, "without a limit it is drowned: {all} at once, {drowned:?} of {best:?}");
    assert!((KNEE * 3 / 4..=KNEE * 7 / 4).contains(&at_once), "{at_once} at once, the knee is at {KNEE}");
    assert!(held < best * 2, "{held:?}, at best {best:?}, drowned {drowned:?}");
}

#[tokio::test(start_paused = true)]
async fn bounds_hold_and_every_lane_gets_its_share() {
    let (_, at_once) = measured(Some(AdaptiveConcurrency::between(2, 2)), 2_000).await;
    assert_eq!(at_once, 1, "a mean between 1 and 2, with three lanes");
    let (took, _) = measured(Some(AdaptiveConcurrency::between(8, 8)), 2_000).await;
    assert!(took <= UNLOADED * 2_000 / 8 * 11 / 10, "{took:?}: the places are used");
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_environment_lower_the_limit_and_success_raises_it_again() {
    let database = Database::new();
    let pool =
        Pool::start(options(Some(AdaptiveConcurrency::between(1, 256))), Arc::clone(&database), &Handle::current());
    assert_eq!(pool.concurrency_limit(), Some(1), "it begins low");
    give(&pool, 0..30_000);
    database.until(10_000).await;
    let before = pool.concurrency_limit().unwrap();
    database.is_away.store(true, Ordering::Release);
    while pool.concurrency_limit().unwrap() > before / 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    database.is_away.store(false, Ordering::Release);
    database.until(30_000).await;
    let after = pool.concurrency_limit().unwrap();
    assert!(after * 4 >= before * 3, "{before} before, {after} after");
    pool.close().await;
}
