//! The rules as sentences: given a monitoring, when something happens, then it stands there and brings that.

use proptest::prelude::*;
use time::macros::datetime;

use super::Lifecycle::{Ended, Resumed, Started, Suspended};
use super::*;

const AT: OffsetDateTime = datetime!(2026-03-02 09:00 UTC);
const ALL: [Lifecycle; 4] = [Started(AT), Suspended, Resumed(AT), Ended];

/// One thing that happens to a monitoring.
#[derive(Debug, Clone, Copy)]
enum Step {
    Event(Lifecycle),
    Plan,
}

fn new() -> Monitoring {
    Monitoring::new("P-1".parse().unwrap())
}

fn event(id: &str, what: Lifecycle) -> Event<'_> {
    Event { id, what, applied_at: AT }
}

/// The monitoring after `steps`, and what each brought.
fn after(steps: &[Step]) -> (Monitoring, Vec<Consequence>) {
    let mut monitoring = new();
    let mut brought = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let next = match step {
            Step::Event(what) => monitoring.clone().after(event(&format!("e-{number}"), *what)),
            Step::Plan => monitoring.clone().with_next_plan().ok(),
        };
        let (changed, consequence) = next.unwrap_or((monitoring, Consequence::None));
        monitoring = changed;
        brought.push(consequence);
    }
    (monitoring, brought)
}

#[test]
fn every_state_meets_every_event() {
    let expected = [
        (State::Pending, [Some(State::Active), Some(State::Suspended), Some(State::Active), Some(State::Closed)]),
        (State::Active, [None, Some(State::Suspended), None, Some(State::Closed)]),
        (State::Suspended, [None, None, Some(State::Active), Some(State::Closed)]),
        (State::Closed, [None, None, None, None]),
    ];
    for (state, row) in expected {
        for (what, to) in ALL.into_iter().zip(row) {
            let monitoring = Monitoring { state, ..new() };
            let found = monitoring.after(event("e", what)).map(|(monitoring, _)| monitoring.state);
            assert_eq!(found, to, "{state:?} meets {what:?}");
        }
    }
}

#[test]
fn a_start_with_a_plan_brings_the_first_run_and_one_without_brings_nothing() {
    let (started, brought) = after(&[Step::Plan, Step::Event(Started(AT))]);
    assert_eq!(brought, [Consequence::None, Consequence::QueueFirstRun]);
    assert_eq!(started.start, Some(Start { at: AT, event_id: "e-1".into() }));
    let (started, brought) = after(&[Step::Event(Started(AT))]);
    assert_eq!((started.state, brought), (State::Active, vec![Consequence::None]));
}

#[test]
fn a_plan_that_comes_after_the_start_catches_up_once() {
    let (_, brought) = after(&[Step::Event(Started(AT)), Step::Plan, Step::Plan]);
    assert_eq!(brought, [Consequence::None, Consequence::QueueFirstRun, Consequence::None]);
}

#[test]
fn a_plan_that_comes_during_a_pause_waits_for_the_resume() {
    let (resumed, brought) = after(&[
        Step::Event(Started(AT)),
        Step::Event(Suspended),
        Step::Plan,
        Step::Event(Resumed(AT)),
        Step::Event(Suspended),
        Step::Event(Resumed(AT)),
    ]);
    let expected = [0, 0, 0, 1, 0, 0].map(|n| if n == 1 { Consequence::QueueFirstRun } else { Consequence::None });
    assert_eq!(brought, expected);
    assert_eq!(resumed.start.unwrap().event_id, "e-0", "the start causes the run, not the resume");
}

#[test]
fn an_end_cancels_and_a_closed_monitoring_takes_no_plan() {
    let (closed, brought) = after(&[Step::Plan, Step::Event(Started(AT)), Step::Event(Ended)]);
    assert_eq!(brought[2], Consequence::CancelRuns);
    let refused = closed.with_next_plan().unwrap_err();
    assert_eq!(refused.to_string(), "the monitoring of study P-1 is CLOSED; SetMonitoringPlan needs it to be open");
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![(0..4_usize).prop_map(|event| Step::Event(ALL[event])), Just(Step::Plan)]
}

proptest! {
    #[test]
    fn whatever_happens_there_is_one_first_run_at_most(steps in proptest::collection::vec(any_step(), 0..30)) {
        let (monitoring, brought) = after(&steps);
        let first_runs = brought.iter().filter(|one| **one == Consequence::QueueFirstRun).count();
        prop_assert_eq!(first_runs, usize::from(monitoring.is_first_run_queued));
        if monitoring.state == State::Active && monitoring.plan_version > 0 {
            prop_assert!(monitoring.is_first_run_queued, "a running study with a plan has its run");
        }
    }

    #[test]
    fn an_event_that_comes_twice_in_a_row_has_no_second_effect(
        steps in proptest::collection::vec(any_step(), 0..10), what in 0..4_usize
    ) {
        let (monitoring, _) = after(&steps);
        if let Some((changed, _)) = monitoring.after(event("e", ALL[what])) {
            prop_assert_eq!(changed.after(event("e", ALL[what])), None);
        }
    }

    #[test]
    fn nothing_leaves_the_closed_state(steps in proptest::collection::vec(any_step(), 0..20)) {
        let mut all = vec![Step::Event(Ended)];
        all.extend(steps);
        prop_assert_eq!(after(&all).0.state, State::Closed);
    }
}
