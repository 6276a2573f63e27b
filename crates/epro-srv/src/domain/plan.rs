//! Which assignments and pushes a subject gets from a schedule. Pure: the present instant is an argument.

use time::{Date, Duration, OffsetDateTime, Time};

use super::schedule::{Anchor, Schedule, Visit};
use contracts::named;

/// A person who takes part, as planning sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Pseudonymous id within the study.
    pub id: String,
    /// The site where they take part.
    pub site_id: String,
    /// Day of enrolment.
    pub enrolled_on: Date,
}

/// The days of an assignment, all in UTC and inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First day on which an answer is taken.
    pub opens_on: Date,
    /// Planned day.
    pub due_on: Date,
    /// Last day on which an answer is taken.
    pub closes_on: Date,
}

impl Window {
    /// The window of `visit` for a subject. Days outside the calendar are clamped to its ends.
    #[must_use]
    pub fn of(visit: &Visit, enrolled_on: Date, study_started_on: Date) -> Self {
        let anchor = match visit.anchor {
            Anchor::Enrolment => enrolled_on,
            Anchor::StudyStart => study_started_on,
        };
        let due_on = anchor.saturating_add(Duration::days(visit.offset_days.into()));
        Self {
            opens_on: due_on.saturating_sub(Duration::days(visit.window_before_days.into())),
            due_on,
            closes_on: due_on.saturating_add(Duration::days(visit.window_after_days.into())),
        }
    }
}

/// An instrument that a subject is asked to answer at a visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedAssignment {
    /// Who is asked.
    pub subject_id: String,
    /// Their site.
    pub site_id: String,
    /// The visit.
    pub visit_id: String,
    /// The instrument.
    pub instrument_id: String,
    /// Its days.
    pub window: Window,
    /// Whether the window closed before it was planned: then nobody is asked any more.
    pub is_missed: bool,
    /// The pushes that go with it.
    pub pushes: Vec<PlannedPush>,
}

/// A push to be sent at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedPush {
    /// Why it is sent.
    pub kind: PushKind,
    /// When it is due.
    pub due_at: OffsetDateTime,
}

/// Why a push is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushKind {
    /// The window is open.
    Invitation,
    /// The assignment is still unanswered.
    Reminder,
}

named!(PushKind, "notification kind", { Invitation => "INVITATION", Reminder => "REMINDER" });

/// Everything `schedule` asks of `subject` in a study that started on `study_started_on`, as seen at `now`.
///
/// The invitation is due when the window opens (00:00 UTC). A window that has closed yields a missed assignment without pushes. A reminder that
/// is late already, or that falls after the window, is left out: the invitation goes out now and says the same.
#[must_use]
pub fn for_subject(
    schedule: &Schedule,
    subject: &Subject,
    study_started_on: Date,
    now: OffsetDateTime,
) -> Vec<PlannedAssignment> {
    let mut planned = Vec::new();
    for visit in &schedule.visits {
        let window = Window::of(visit, subject.enrolled_on, study_started_on);
        let is_missed = window.closes_on < now.date();
        let pushes = if is_missed { Vec::new() } else { pushes(&schedule.reminder_offsets_hours, window, now) };
        for instrument_id in &visit.instrument_ids {
            planned.push(PlannedAssignment {
                subject_id: subject.id.clone(),
                site_id: subject.site_id.clone(),
                visit_id: visit.id.clone(),
                instrument_id: instrument_id.clone(),
                window,
                is_missed,
                pushes: pushes.clone(),
            });
        }
    }
    planned
}

fn pushes(reminder_offsets_hours: &[u32], window: Window, now: OffsetDateTime) -> Vec<PlannedPush> {
    let opens_at = window.opens_on.with_time(Time::MIDNIGHT).assume_utc();
    let mut pushes = vec![PlannedPush { kind: PushKind::Invitation, due_at: opens_at }];
    for hours in reminder_offsets_hours {
        let Some(due_at) = opens_at.checked_add(Duration::hours((*hours).into())) else { continue };
        if due_at > now && due_at.date() <= window.closes_on {
            pushes.push(PlannedPush { kind: PushKind::Reminder, due_at });
        }
    }
    pushes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::{date, datetime};

    fn visit(anchor: Anchor, offset_days: i32, before: u32, after: u32) -> Visit {
        Visit {
            id: "v".to_owned(),
            name: "V".to_owned(),
            instrument_ids: vec!["diary".to_owned(), "eq5d".to_owned()],
            anchor,
            offset_days,
            window_before_days: before,
            window_after_days: after,
        }
    }

    fn subject(enrolled_on: Date) -> Subject {
        Subject { id: "s1".to_owned(), site_id: "berlin".to_owned(), enrolled_on }
    }

    fn schedule(visit: Visit, reminder_offsets_hours: &[u32]) -> Schedule {
        Schedule {
            instruments: Vec::new(),
            visits: vec![visit],
            reminder_offsets_hours: reminder_offsets_hours.to_vec(),
        }
    }

    #[test]
    fn days_count_from_the_anchor_itself() {
        let (enrolled, started) = (date!(2026 - 02 - 27), date!(2026 - 03 - 10));
        for (anchor, offset, before, after, expected) in [
            (Anchor::Enrolment, 0, 0, 0, [date!(2026 - 02 - 27); 3]),
            (Anchor::Enrolment, 2, 1, 3, [date!(2026 - 02 - 28), date!(2026 - 03 - 01), date!(2026 - 03 - 04)]),
            (Anchor::StudyStart, 0, 0, 1, [date!(2026 - 03 - 10), date!(2026 - 03 - 10), date!(2026 - 03 - 11)]),
            (Anchor::StudyStart, -10, 0, 0, [date!(2026 - 02 - 28); 3]),
        ] {
            let window = Window::of(&visit(anchor, offset, before, after), enrolled, started);
            assert_eq!([window.opens_on, window.due_on, window.closes_on], expected, "{anchor:?} {offset}");
        }
    }

    #[test]
    fn what_is_due_gets_an_invitation_and_the_reminders_still_to_come() {
        let now = datetime!(2026-03-02 12:00 UTC);
        let schedule = schedule(visit(Anchor::Enrolment, 0, 0, 2), &[6, 24, 48, 72]);
        let planned = for_subject(&schedule, &subject(date!(2026 - 03 - 02)), date!(2026 - 03 - 01), now);
        assert_eq!(planned.len(), 2, "one assignment for each instrument");
        assert_eq!(planned[0].instrument_id, "diary");
        assert_eq!(
            planned[0].pushes,
            [
                PlannedPush { kind: PushKind::Invitation, due_at: datetime!(2026-03-02 00:00 UTC) },
                PlannedPush { kind: PushKind::Reminder, due_at: datetime!(2026-03-03 00:00 UTC) },
                PlannedPush { kind: PushKind::Reminder, due_at: datetime!(2026-03-04 00:00 UTC) },
            ],
            "6 h is late already, 72 h falls after the window"
        );
    }

    #[test]
    fn a_closed_window_is_missed_and_pushes_nothing() {
        let now = datetime!(2026-03-05 00:00 UTC);
        let schedule = schedule(visit(Anchor::Enrolment, 0, 0, 2), &[24]);
        let planned = for_subject(&schedule, &subject(date!(2026 - 03 - 02)), date!(2026 - 03 - 01), now);
        assert!(planned.iter().all(|assignment| assignment.is_missed && assignment.pushes.is_empty()));
        let a_moment_before = now - Duration::SECOND;
        let planned = for_subject(&schedule, &subject(date!(2026 - 03 - 02)), date!(2026 - 03 - 01), a_moment_before);
        assert!(planned.iter().all(|assignment| !assignment.is_missed));
    }

    #[test]
    fn days_at_the_end_of_the_calendar_are_clamped() {
        let window = Window::of(&visit(Anchor::Enrolment, 3_650, 0, 365), Date::MAX, Date::MIN);
        assert_eq!(window.closes_on, Date::MAX);
    }

    proptest! {
        #[test]
        fn a_window_holds_its_due_day_and_every_push_falls_into_it(
            offset in -3_650..3_650_i32, before in 0..365_u32, after in 0..365_u32,
            reminders in proptest::collection::vec(1..8_760_u32, 0..10), age_hours in -20_000..20_000_i64,
        ) {
            let now = datetime!(2026-03-02 12:00 UTC) + Duration::hours(age_hours);
            let schedule = schedule(visit(Anchor::Enrolment, offset, before, after), &reminders);
            for assignment in for_subject(&schedule, &subject(date!(2026-03-02)), date!(2026-03-01), now) {
                let window = assignment.window;
                prop_assert!(window.opens_on <= window.due_on && window.due_on <= window.closes_on);
                prop_assert_eq!(assignment.is_missed, window.closes_on < now.date());
                let invitations = assignment.pushes.iter().filter(|push| push.kind == PushKind::Invitation).count();
                prop_assert_eq!(invitations, usize::from(!assignment.is_missed));
                for push in assignment.pushes {
                    prop_assert!(push.due_at.date() >= window.opens_on && push.due_at.date() <= window.closes_on);
                }
            }
        }
    }
}
