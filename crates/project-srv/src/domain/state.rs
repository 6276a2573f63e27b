//! The states of a project and which action leads from which to which. Pure: it must not know time, storage or
//! transport. The table in [`Action::next`] is the only place that says what is allowed.

use std::fmt;
use std::str::FromStr;

/// Where a project stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// The start-up checklist is being worked through.
    Preparing,
    /// The study runs.
    Started,
    /// The study pauses; it can resume.
    Suspended,
    /// The study ended as planned. Final.
    Completed,
    /// The study ended early. Final.
    Terminated,
}

impl State {
    /// Every state, in the order of a project's life.
    pub const ALL: [Self; 5] = [Self::Preparing, Self::Started, Self::Suspended, Self::Completed, Self::Terminated];

    /// The name used in the database, in messages and in error metadata.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "PREPARING",
            Self::Started => "STARTED",
            Self::Suspended => "SUSPENDED",
            Self::Completed => "COMPLETED",
            Self::Terminated => "TERMINATED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stored state that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown project state {0:?}; this binary is older than the row: run the newer version")]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// What can be done to a project that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Tick off one item of the start-up checklist.
    CompleteStartupItem,
    /// Open a site for the study.
    ActivateSite,
    /// Start the study.
    Start,
    /// Pause it.
    Suspend,
    /// Go on after a pause.
    Resume,
    /// End it as planned.
    Complete,
    /// End it early.
    Terminate,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 7] = [
        Self::CompleteStartupItem,
        Self::ActivateSite,
        Self::Start,
        Self::Suspend,
        Self::Resume,
        Self::Complete,
        Self::Terminate,
    ];

    /// The name of the RPC that asks for it; also the audit trail's `action`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CompleteStartupItem => "CompleteStartupItem",
            Self::ActivateSite => "ActivateSite",
            Self::Start => "StartProject",
            Self::Suspend => "SuspendProject",
            Self::Resume => "ResumeProject",
            Self::Complete => "CompleteProject",
            Self::Terminate => "TerminateProject",
        }
    }

    /// The state this action leads to from `from`, or `None` where it is not allowed.
    ///
    /// A suspended study does not complete: it resumes first, so that whoever holds payments and pushes back has
    /// settled them. It can be terminated at once, as safety demands.
    #[must_use]
    pub fn next(self, from: State) -> Option<State> {
        use State::{Completed, Preparing, Started, Suspended, Terminated};
        match (self, from) {
            (Self::CompleteStartupItem, Preparing) => Some(Preparing),
            (Self::ActivateSite, Preparing | Started | Suspended) => Some(from),
            (Self::Start, Preparing) | (Self::Resume, Suspended) => Some(Started),
            (Self::Suspend, Started) => Some(Suspended),
            (Self::Complete, Started) => Some(Completed),
            (Self::Terminate, Preparing | Started | Suspended) => Some(Terminated),
            _ => None,
        }
    }

    /// The states from which this action is allowed.
    pub fn allowed_from(self) -> impl Iterator<Item = State> {
        State::ALL.into_iter().filter(move |state| self.next(*state).is_some())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_of_states_and_actions() {
        let expected = [
            // action, then the result from each of the five states
            (Action::CompleteStartupItem, "PREPARING - - - -"),
            (Action::ActivateSite, "PREPARING STARTED SUSPENDED - -"),
            (Action::Start, "STARTED - - - -"),
            (Action::Suspend, "- SUSPENDED - - -"),
            (Action::Resume, "- - STARTED - -"),
            (Action::Complete, "- COMPLETED - - -"),
            (Action::Terminate, "TERMINATED TERMINATED TERMINATED - -"),
        ];
        assert_eq!(expected.len(), Action::ALL.len());
        for (action, row) in expected {
            let actual: Vec<&str> =
                State::ALL.into_iter().map(|from| action.next(from).map_or("-", State::as_str)).collect();
            assert_eq!(actual.join(" "), row, "{action}");
        }
    }

    #[test]
    fn no_action_leaves_a_final_state() {
        for action in Action::ALL {
            assert!(action.allowed_from().all(|state| !matches!(state, State::Completed | State::Terminated)));
        }
    }

    #[test]
    fn a_state_reads_back_from_its_name() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!("ARCHIVED".parse::<State>(), Err(UnknownState("ARCHIVED".into())));
    }
}
