//! Whether a submitted response may be stored. Pure: today is an argument.

use time::Date;

use super::Violation;
use super::answers::{self, Answers};
use super::campaign;
use super::plan::Window;
use super::schedule::Instrument;
use contracts::named;

/// State of an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AssignmentState {
    /// Waiting for an answer, or for its window to open.
    Open,
    /// Answered.
    Completed,
    /// The window closed without an answer.
    Missed,
    /// The study ended before, or a new version of the schedule took over.
    Cancelled,
}

named!(AssignmentState, "assignment state", { Open => "OPEN", Completed => "COMPLETED", Missed => "MISSED", Cancelled => "CANCELLED" });

/// The assignment that a response answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Who is asked.
    pub subject_id: String,
    /// The instrument to answer.
    pub instrument_id: String,
    /// Where it is.
    pub state: AssignmentState,
    /// Its days.
    pub window: Window,
}

/// What a subject sends.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// Who answers.
    pub subject_id: String,
    /// The instrument that is answered.
    pub instrument_id: String,
    /// Answers by item id.
    pub answers: Answers,
}

/// Why a response is not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The campaign does not run.
    #[error("the campaign is {}; responses are taken while it is ACTIVE", .0.as_str())]
    CampaignNotActive(campaign::State),
    /// The assignment is answered, missed or cancelled.
    #[error("the assignment is {}; only an OPEN one takes a response", .0.as_str())]
    AssignmentNotOpen(AssignmentState),
    /// Today is not within the window.
    #[error("the window is {}..={} (UTC), today is {today}", .window.opens_on, .window.closes_on)]
    OutsideWindow {
        /// The days on which an answer is taken.
        window: Window,
        /// The day of the submission.
        today: Date,
    },
    /// Fields of the request do not fit.
    #[error("the response does not fit its assignment")]
    Invalid(Vec<Violation>),
}

/// Decides on a submission whose id has not been seen.
///
/// # Errors
/// The first rule that stands against it; for the fields, all violations at once.
pub fn decide(
    submission: &Submission,
    campaign: campaign::State,
    assignment: &Assignment,
    instrument: &Instrument,
    today: Date,
) -> Result<(), Refusal> {
    let mut violations = Vec::new();
    if submission.subject_id != assignment.subject_id {
        violations.push(Violation::new(
            "subject_id",
            format!("{:?} is not the subject of this assignment", submission.subject_id),
        ));
    }
    if submission.instrument_id == assignment.instrument_id {
        violations.extend(answers::check(instrument, &submission.answers));
    } else {
        violations.push(Violation::new(
            "instrument_id",
            format!("{:?} is not the instrument of this assignment", submission.instrument_id),
        ));
    }
    if !violations.is_empty() {
        return Err(Refusal::Invalid(violations));
    }
    if campaign != campaign::State::Active {
        return Err(Refusal::CampaignNotActive(campaign));
    }
    if assignment.state != AssignmentState::Open {
        return Err(Refusal::AssignmentNotOpen(assignment.state));
    }
    let window = assignment.window;
    if today < window.opens_on || today > window.closes_on {
        return Err(Refusal::OutsideWindow { window, today });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schedule::{Item, ItemKind};
    use time::macros::date;

    const WINDOW: Window =
        Window { opens_on: date!(2026 - 03 - 02), due_on: date!(2026 - 03 - 03), closes_on: date!(2026 - 03 - 04) };

    fn assignment(state: AssignmentState) -> Assignment {
        Assignment { subject_id: "s1".to_owned(), instrument_id: "diary".to_owned(), state, window: WINDOW }
    }

    fn submission(subject_id: &str, instrument_id: &str) -> Submission {
        let answers = [("pain".to_owned(), 3.into())].into_iter().collect();
        Submission { subject_id: subject_id.to_owned(), instrument_id: instrument_id.to_owned(), answers }
    }

    fn instrument() -> Instrument {
        Instrument {
            id: "diary".to_owned(),
            version: "1".to_owned(),
            name: "Diary".to_owned(),
            items: vec![Item {
                id: "pain".to_owned(),
                prompt: "?".to_owned(),
                required: true,
                kind: ItemKind::Number { minimum: Some(0.0), maximum: Some(10.0) },
            }],
        }
    }

    fn on(today: Date, campaign: campaign::State, state: AssignmentState) -> Result<(), Refusal> {
        decide(&submission("s1", "diary"), campaign, &assignment(state), &instrument(), today)
    }

    #[test]
    fn an_open_assignment_of_an_active_campaign_takes_an_answer_within_its_window() {
        for today in [WINDOW.opens_on, WINDOW.due_on, WINDOW.closes_on] {
            assert_eq!(on(today, campaign::State::Active, AssignmentState::Open), Ok(()));
        }
        for today in [date!(2026 - 03 - 01), date!(2026 - 03 - 05)] {
            assert_eq!(
                on(today, campaign::State::Active, AssignmentState::Open),
                Err(Refusal::OutsideWindow { window: WINDOW, today })
            );
        }
    }

    #[test]
    fn the_states_must_allow_it() {
        for &state in campaign::State::ALL {
            let expected =
                if state == campaign::State::Active { Ok(()) } else { Err(Refusal::CampaignNotActive(state)) };
            assert_eq!(on(WINDOW.due_on, state, AssignmentState::Open), expected);
        }
        for &state in AssignmentState::ALL {
            let expected = if state == AssignmentState::Open { Ok(()) } else { Err(Refusal::AssignmentNotOpen(state)) };
            assert_eq!(on(WINDOW.due_on, campaign::State::Active, state), expected);
        }
    }

    #[test]
    fn all_fields_that_do_not_fit_are_named() {
        let refused = decide(
            &submission("s2", "eq5d"),
            campaign::State::Active,
            &assignment(AssignmentState::Open),
            &instrument(),
            WINDOW.due_on,
        );
        let Err(Refusal::Invalid(violations)) = refused else { panic!("must be refused: {refused:?}") };
        let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["subject_id", "instrument_id"]);
    }
}
