//! Where the questionnaire work of a study stands, and how the project's life cycle moves it. Pure.

use time::OffsetDateTime;

use contracts::named;

/// State of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The study has not started.
    Pending,
    /// Running: what is due is pushed.
    Active,
    /// Paused: nothing is pushed.
    Suspended,
    /// Over. Final.
    Closed,
}

named!(State, "campaign state", { Pending => "PENDING", Active => "ACTIVE", Suspended => "SUSPENDED", Closed => "CLOSED" });

/// What happened to the project, as far as a campaign cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// The study started at this instant.
    Started(OffsetDateTime),
    /// It was paused.
    Suspended,
    /// It went on, at this instant.
    Resumed(OffsetDateTime),
    /// It was completed or terminated.
    Ended,
}

/// What becomes of the pushes that are not sent yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushes {
    /// They are planned: assignments of every enrolled subject are generated.
    Plan,
    /// They wait.
    Hold,
    /// They go on, and whatever is still missing is generated.
    Release,
    /// They are cancelled, and so are open assignments.
    Cancel,
}

/// The move that an event makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The state after it.
    pub to: State,
    /// The start of the study, where this move sets it.
    pub started_at: Option<OffsetDateTime>,
    /// What becomes of the pushes.
    pub pushes: Pushes,
}

/// The move that `event` makes from `state`; None when it changes nothing.
///
/// A start moves only a pending campaign: a plain record sent again never reopens what was paused or ended. An event whose start was
/// discarded by an operator still counts: a resume then stands for the start.
#[must_use]
pub fn react(state: State, event: Lifecycle) -> Option<Move> {
    let (to, started_at, pushes) = match (state, event) {
        (State::Pending, Lifecycle::Started(at) | Lifecycle::Resumed(at)) => (State::Active, Some(at), Pushes::Plan),
        (State::Pending | State::Active, Lifecycle::Suspended) => (State::Suspended, None, Pushes::Hold),
        (State::Suspended, Lifecycle::Resumed(at)) => (State::Active, Some(at), Pushes::Release),
        (State::Pending | State::Active | State::Suspended, Lifecycle::Ended) => (State::Closed, None, Pushes::Cancel),
        (State::Active | State::Suspended | State::Closed, Lifecycle::Started(_))
        | (State::Active | State::Closed, Lifecycle::Resumed(_))
        | (State::Suspended | State::Closed, Lifecycle::Suspended)
        | (State::Closed, Lifecycle::Ended) => return None,
    };
    Some(Move { to, started_at, pushes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    const AT: OffsetDateTime = datetime!(2026-03-02 09:00 UTC);

    #[test]
    fn every_state_meets_every_event() {
        use Lifecycle::{Ended, Resumed, Started, Suspended};
        let expected = [
            (State::Pending, [Some(State::Active), Some(State::Suspended), Some(State::Active), Some(State::Closed)]),
            (State::Active, [None, Some(State::Suspended), None, Some(State::Closed)]),
            (State::Suspended, [None, None, Some(State::Active), Some(State::Closed)]),
            (State::Closed, [None, None, None, None]),
        ];
        for (state, row) in expected {
            for (event, to) in [Started(AT), Suspended, Resumed(AT), Ended].into_iter().zip(row) {
                assert_eq!(react(state, event).map(|step| step.to), to, "{state:?} meets {event:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn an_event_that_comes_twice_in_a_row_has_no_second_effect(state in 0..4_usize, event in 0..4_usize) {
            let event = [Lifecycle::Started(AT), Lifecycle::Suspended, Lifecycle::Resumed(AT), Lifecycle::Ended][event];
            if let Some(step) = react(State::ALL[state], event) {
                prop_assert_eq!(react(step.to, event), None);
            }
        }

        #[test]
        fn nothing_leaves_the_closed_state(events in proptest::collection::vec(0..4_usize, 0..20)) {
            let all = [Lifecycle::Started(AT), Lifecycle::Suspended, Lifecycle::Resumed(AT), Lifecycle::Ended];
            let mut state = State::Closed;
            for event in events {
                state = react(state, all[event]).map_or(state, |step| step.to);
            }
            prop_assert_eq!(state, State::Closed);
        }
    }
}
