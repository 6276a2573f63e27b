//! An intake as a service uses it: all or none, full and too large told apart, group commit, answers after the work, results that end only
//! after the workers did.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Semaphore;
use worker_pool::{HandlerError, Intake, IntakeHandler, IntakeOptions, JobError, SubmitError, WhenUnavailable};

/// Doubles numbers once it is let; remembers the size of each call. 13 panics, 66 is refused, 99 finds the environment away.
#[derive(Clone, Default)]
struct Doubler {
    calls: Arc<Mutex<Vec<usize>>>,
    gate: Option<Arc<Semaphore>>,
}

impl IntakeHandler<u64, u64> for Doubler {
    async fn handle(&self, jobs: &[u64]) -> Result<Vec<u64>, HandlerError> {
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        self.calls.lock().unwrap().push(jobs.len());
        if jobs.contains(&13) {
            panic!("thirteen");
        }
        if jobs.contains(&66) {
            return Err(HandlerError::reject("not 66"));
        }
        if jobs.contains(&99) {
            return Err(HandlerError::unavailable("database away"));
        }
        Ok(jobs.iter().map(|job| job * 2).collect())
    }
}

fn options(workers: usize, queue_capacity: usize, max_batch: usize) -> IntakeOptions {
    let mut options = IntakeOptions::new("test");
    options.workers = workers;
    options.queue_capacity = queue_capacity;
    options.max_batch = max_batch;
    options
}

#[tokio::test(start_paused = true)]
async fn every_job_gets_its_own_answer() {
    let intake = Intake::start(options(5, 100, 8), Doubler::default());
    let tickets = intake.try_submit_many((200..250).collect()).unwrap();
    for (job, ticket) in (200..250).zip(tickets) {
        assert_eq!(ticket.await, Ok(job * 2));
    }
    let report = intake.drain(Duration::from_secs(5)).await;
    assert_eq!((report.done, report.undone), (50, 0));
}

#[tokio::test(start_paused = true)]
async fn full_and_too_large_are_told_apart_and_nothing_of_the_call_is_taken() {
    let gate = Arc::new(Semaphore::new(0));
    let doubler = Doubler { gate: Some(Arc::clone(&gate)), ..Doubler::default() };
    let intake = Intake::start(options(1, 10, 1), doubler);
    assert_eq!(intake.try_submit_many(vec![0; 11]).unwrap_err(), SubmitError::TooLarge { submitted: 11, limit: 10 });
    let taken = intake.try_submit_many(vec![1; 10]).unwrap();
    while intake.status().running == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(intake.status().in_queue, 9);
    assert_eq!(intake.try_submit_many(vec![1, 1]).unwrap_err(), SubmitError::Full { capacity: 10, in_queue: 9 });
    let last = intake.try_submit(1).expect("one place is left");
    assert!(matches!(intake.try_submit(1), Err(SubmitError::Full { .. })));
    gate.add_permits(100);
    for ticket in taken.into_iter().chain([last]) {
        assert_eq!(ticket.await, Ok(2));
    }
    assert_eq!(intake.drain(Duration::from_secs(1)).await.done, 11);
    assert_eq!(intake.try_submit(1).unwrap_err(), SubmitError::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_committed_in_groups() {
    let gate = Arc::new(Semaphore::new(0));
    let doubler = Doubler { gate: Some(Arc::clone(&gate)), ..Doubler::default() };
    let calls = Arc::clone(&doubler.calls);
    let intake = Intake::start(options(1, 100, 64), doubler);
    let first = intake.try_submit(1).unwrap();
    tokio::task::yield_now().await;
    let behind = intake.try_submit_many(vec![2; 70]).unwrap();
    gate.add_permits(100);
    first.await.unwrap();
    for ticket in behind {
        ticket.await.unwrap();
    }
    assert_eq!(*calls.lock().unwrap(), [1, 64, 6]);
}

#[tokio::test(start_paused = true)]
async fn one_bad_job_of_a_group_stands_alone() {
    let intake = Intake::start(options(1, 100, 64), Doubler::default());
    let tickets = intake.try_submit_many((60..70).chain([13]).collect()).unwrap();
    let mut answers = vec![];
    for ticket in tickets {
        answers.push(ticket.await);
    }
    let bad: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
    assert_eq!(bad.len(), 2, "{answers:?}");
    assert_eq!(answers[6], Err(JobError::Rejected { cause: "not 66".into() }));
    assert!(matches!(&answers[10], Err(JobError::Failed { attempts: 1, cause }) if cause.contains("thirteen")));
}

#[tokio::test(start_paused = true)]
async fn an_environment_that_is_away_is_answered_at_once_or_waited_for() {
    let mut wait = options(1, 10, 1);
    let intake = Intake::start(wait.clone(), Doubler::default());
    assert!(matches!(intake.try_submit(99).unwrap().await, Err(JobError::Unavailable { .. })));
    assert_eq!(intake.try_submit(1).unwrap().await, Ok(2), "the next one tries");

    wait.when_unavailable = WhenUnavailable::Wait;
    let intake = Intake::start(wait, Doubler::default());
    let waits = intake.try_submit(99).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(60), waits).await.is_err());
    let report = intake.drain(Duration::from_secs(1)).await;
    assert_eq!((report.done, report.undone), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn results_end_only_after_the_workers_did() {
    let (intake, mut results) = Intake::start_collecting(options(3, 20, 2), Doubler::default());
    let tickets = intake.try_submit_many((20..40).collect()).unwrap();
    let collector = tokio::spawn(async move {
        let mut seen = vec![];
        while let Some((job, result)) = results.next().await {
            assert_eq!(result, Ok(job * 2));
            seen.push(job);
        }
        seen.sort_unstable();
        seen
    });
    for ticket in tickets {
        ticket.await.unwrap();
    }
    intake.drain(Duration::from_secs(1)).await;
    assert_eq!(collector.await.unwrap(), (20..40).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_slow_collector_fills_the_queue_not_memory() {
    let (intake, mut results) = Intake::start_collecting(options(1, 4, 1), Doubler::default());
    let mut accepted = 0;
    while intake.submit_within(Duration::from_secs(1), 1).await {
        accepted += 1;
    }
    assert_eq!(accepted, 2 * 4 + 1);
    assert!(results.next().await.is_some());
    assert!(intake.submit_within(Duration::from_secs(1), 1).await);
}

#[tokio::test(start_paused = true)]
async fn what_a_drain_leaves_behind_is_told_to_its_submitter() {
    let doubler = Doubler { gate: Some(Arc::new(Semaphore::new(0))), ..Doubler::default() };
    let intake = Intake::start(options(1, 10, 1), doubler);
    let ticket = intake.try_submit(1).unwrap();
    let report = intake.drain(Duration::from_secs(1)).await;
    assert_eq!(report.undone, 1);
    assert_eq!(ticket.await, Err(JobError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_second_drain_waits_for_the_first_and_tells_the_same() {
    let gate = Arc::new(Semaphore::new(0));
    let intake = Intake::start(options(1, 10, 1), Doubler { gate: Some(Arc::clone(&gate)), ..Doubler::default() });
    let tickets = intake.try_submit_many(vec![1, 2, 3]).unwrap();
    let first = tokio::spawn({
        let intake = intake.clone();
        async move { intake.drain(Duration::from_secs(5)).await }
    });
    tokio::task::yield_now().await;
    let mut second = tokio::spawn({
        let intake = intake.clone();
        async move { intake.drain(Duration::from_secs(60)).await }
    });
    let waited = tokio::time::timeout(Duration::from_secs(1), &mut second).await;
    assert!(waited.is_err(), "the workers have not ended: {waited:?}");
    gate.add_permits(2);
    let report = first.await.unwrap();
    assert_eq!((report.done, report.undone), (2, 1), "the deadline is the first drain's");
    assert_eq!(second.await.unwrap(), report);
    assert_eq!(intake.drain(Duration::ZERO).await, report, "and so does one that comes after");
    drop(tickets);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_was_dropped_is_finished_by_the_next() {
    let gate = Arc::new(Semaphore::new(0));
    let intake = Intake::start(options(1, 10, 1), Doubler { gate: Some(Arc::clone(&gate)), ..Doubler::default() });
    let ticket = intake.try_submit(1).unwrap();
    let dropped = tokio::time::timeout(Duration::from_secs(1), intake.drain(Duration::from_secs(60))).await;
    assert!(dropped.is_err());
    let report = intake.drain(Duration::from_secs(60));
    tokio::pin!(report);
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut report).await.is_err(), "it waits for the workers");
    gate.add_permits(1);
    assert_eq!(ticket.await, Ok(2));
    let report = report.await;
    assert_eq!((report.done, report.undone), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn options_of_zero_and_of_the_largest_number_work() {
    for bound in [0, usize::MAX] {
        let mut options = options(4, bound, bound);
        if bound == 0 {
            options.workers = 0;
        }
        let (intake, mut results) = Intake::start_collecting(options, Doubler::default());
        intake.submit(2).await.unwrap();
        assert_eq!(results.next().await, Some((2, Ok(4))));
        assert_eq!(intake.drain(Duration::MAX).await.done, 1);
    }
}

trait SubmitWithin {
    async fn submit_within(&self, wait: Duration, job: u64) -> bool;
}

impl<R: Send + 'static> SubmitWithin for Intake<u64, R> {
    async fn submit_within(&self, wait: Duration, job: u64) -> bool {
        tokio::time::timeout(wait, self.submit(job)).await.is_ok_and(|submitted| submitted.is_ok())
    }
}

/// An error that cannot say what it is.
#[derive(Debug)]
struct Wordless;

impl std::fmt::Display for Wordless {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no words")
    }
}

impl std::error::Error for Wordless {}

#[tokio::test]
async fn an_error_whose_words_panic_fails_its_job_alone() {
    let handler = |jobs: &[u64]| match jobs {
        [0] => Err(HandlerError::reject(Wordless)),
        jobs => Ok(jobs.to_vec()),
    };
    let in_line = Intake::start(options(1, 10, 1), Plain(handler));
    let on_threads = Intake::start(options(1, 10, 1), worker_pool::blocking(handler));
    for intake in [in_line, on_threads] {
        let tickets = intake.try_submit_many(vec![0, 1]).unwrap();
        let mut answers = vec![];
        for ticket in tickets {
            answers.push(tokio::time::timeout(Duration::from_secs(60), ticket).await.expect("an answer"));
        }
        let cause = "the handler panicked: no words".to_owned();
        assert_eq!(answers, [Err(JobError::Failed { attempts: 1, cause }), Ok(1)]);
    }
}

/// A handler that needs no await.
struct Plain<F>(F);

impl<F: Fn(&[u64]) -> Result<Vec<u64>, HandlerError> + Send + Sync + 'static> IntakeHandler<u64, u64> for Plain<F> {
    async fn handle(&self, jobs: &[u64]) -> Result<Vec<u64>, HandlerError> {
        (self.0)(jobs)
    }
}
