//! What each request must look like, and what it wishes for. Every violation is collected before any is reported.

use contracts::answers;
use contracts::epro::v1 as proto;
use contracts::ids::{ProjectId, SiteId, SubjectId, SubmissionId};
use service_kit::page;
use service_kit::status::{ApiError, FieldViolations};
use time::Date;
use time::format_description::BorrowedFormatItem;
use time::macros::{date, format_description};
use uuid::Uuid;

use crate::domain::Violation;
use crate::domain::answers::MAX_ANSWERS_BYTES;
use crate::domain::push::PushState;
use crate::domain::schedule::{self, Anchor, Instrument, Item, ItemKind, Schedule, Visit};
use crate::domain::submission::{AssignmentState, Submission};
use crate::mutations::Command;
use crate::submissions::Job;

const MAX_REQUEST_ID: usize = 128;
const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
/// Days between these leave room for every offset and window.
const DAYS_TAKEN: [Date; 2] = [date!(1900 - 01 - 01), date!(2199 - 12 - 31)];

/// A mutating request that checked out.
pub(super) struct Checked {
    pub(super) study: ProjectId,
    pub(super) request_id: String,
    pub(super) command: Command,
}

/// The violations of a rule as violations of the request.
pub(super) fn violations(found: &[Violation]) -> FieldViolations {
    let mut violations = FieldViolations::new();
    for violation in found {
        violations.add(violation.field.as_str(), violation.description.as_str());
    }
    violations
}

/// The value, if nothing at all was wrong.
fn finish<T>(violations: FieldViolations, value: Option<T>) -> Result<T, ApiError> {
    match value {
        Some(value) if violations.is_empty() => Ok(value),
        _ => Err(violations.into()),
    }
}

/// The study that a reading request names.
pub(super) fn study(text: &str) -> Result<ProjectId, ApiError> {
    scope(text, "", FieldViolations::new()).map(|(study, _)| study)
}

/// The study, and the subject that a list is filtered by.
pub(super) fn scope(
    study: &str,
    subject: &str,
    mut violations: FieldViolations,
) -> Result<(ProjectId, Option<String>), ApiError> {
    let study = violations.check("study_id", ProjectId::new(study));
    if !subject.is_empty() {
        violations.check("subject_id", SubjectId::new(subject));
    }
    let subject = (!subject.is_empty()).then(|| subject.to_owned());
    Ok((finish(violations, study)?, subject))
}

/// How much of a list is asked for.
pub(super) struct Paging {
    /// Rows to read: one more than asked for, which shows whether there is a next page.
    pub(super) limit: i64,
    /// What is listed; a token counts only for the same.
    pub(super) query: String,
}

impl Paging {
    pub(super) fn of(page_size: i32, query: String, violations: &mut FieldViolations) -> Self {
        let size = page::size(page_size, violations);
        Self { limit: i64::try_from(size).unwrap_or(i64::MAX - 1) + 1, query }
    }

    pub(super) fn size(&self) -> usize {
        usize::try_from(self.limit - 1).unwrap_or(usize::MAX)
    }

    pub(super) fn uuid_after(&self, token: &str, violations: &mut FieldViolations) -> Option<Uuid> {
        page::parsed_after(token, &self.query, violations)
    }
}

pub(super) fn assignment_state(value: i32, violations: &mut FieldViolations) -> Option<AssignmentState> {
    match proto::AssignmentState::try_from(value) {
        Ok(proto::AssignmentState::Unspecified) => None,
        Ok(proto::AssignmentState::Open) => Some(AssignmentState::Open),
        Ok(proto::AssignmentState::Completed) => Some(AssignmentState::Completed),
        Ok(proto::AssignmentState::Missed) => Some(AssignmentState::Missed),
        Ok(proto::AssignmentState::Cancelled) => Some(AssignmentState::Cancelled),
        Err(_) => {
            violations.add("state", format!("{value} is not a state of an assignment; leave it out for all"));
            None
        }
    }
}

pub(super) fn notification_state(value: i32, violations: &mut FieldViolations) -> Option<PushState> {
    match proto::NotificationState::try_from(value) {
        Ok(proto::NotificationState::Unspecified) => None,
        Ok(proto::NotificationState::Pending) => Some(PushState::Pending),
        Ok(proto::NotificationState::Held) => Some(PushState::Held),
        Ok(proto::NotificationState::Sent) => Some(PushState::Sent),
        Ok(proto::NotificationState::Failed) => Some(PushState::Failed),
        Ok(proto::NotificationState::Cancelled) => Some(PushState::Cancelled),
        Err(_) => {
            violations.add("state", format!("{value} is not a state of a notification; leave it out for all"));
            None
        }
    }
}

fn request_id(id: &str, violations: &mut FieldViolations) {
    let chars = id.chars().count();
    violations.require(
        chars <= MAX_REQUEST_ID && !id.contains('\0'),
        "request_id",
        format!("{chars} characters; at most {MAX_REQUEST_ID} without U+0000, best a UUID"),
    );
}

fn day(text: &str) -> Result<Date, String> {
    let [first, last] = DAYS_TAKEN;
    match Date::parse(text, DAY) {
        Ok(day) if (first..=last).contains(&day) => Ok(day),
        Ok(_) => Err(format!("{text:?} is outside {first} to {last}")),
        Err(_) => Err(format!("{text:?} is not a day; write YYYY-MM-DD")),
    }
}

pub(super) fn enrol(body: proto::EnrolSubjectRequest) -> Result<Checked, ApiError> {
    let mut v = FieldViolations::new();
    let study = v.check("study_id", ProjectId::new(body.study_id));
    v.check("subject_id", SubjectId::new(body.subject_id.as_str()));
    v.check("site_id", SiteId::new(body.site_id.as_str()));
    let enrolled_on = match body.enrolled_on.as_str() {
        "" => None,
        text => v.check("enrolled_on", day(text)),
    };
    request_id(&body.request_id, &mut v);
    let command = Command::Enrol { subject_id: body.subject_id, site_id: body.site_id, enrolled_on };
    Ok(Checked { study: finish(v, study)?, request_id: body.request_id, command })
}

pub(super) fn publish(body: proto::PublishScheduleRequest) -> Result<Checked, ApiError> {
    let Some(given) = body.schedule else {
        return Err(ApiError::invalid("schedule", "is missing; send the complete schedule"));
    };
    let mut v = FieldViolations::new();
    let study = v.check("schedule.study_id", ProjectId::new(given.study_id.as_str()));
    v.require(given.version >= 0, "schedule.version", format!("{} is negative; 0 is the next one", given.version));
    request_id(&body.request_id, &mut v);
    let asked_version = i64::from(given.version);
    let schedule = as_schedule(given, &mut v);
    for violation in schedule::check(&schedule) {
        v.add(violation.field, violation.description);
    }
    let command = Command::Publish { asked_version, schedule };
    Ok(Checked { study: finish(v, study)?, request_id: body.request_id, command })
}

fn as_schedule(given: proto::Schedule, v: &mut FieldViolations) -> Schedule {
    let mut instruments = Vec::with_capacity(given.instruments.len());
    for (at, instrument) in given.instruments.into_iter().enumerate() {
        let path = format!("schedule.instruments[{at}]");
        let items = instrument.items.into_iter().enumerate();
        let items = items.map(|(at, item)| as_item(item, &format!("{path}.items[{at}]"), v)).collect();
        let (id, version, name) = (instrument.instrument_id, instrument.version, instrument.name);
        instruments.push(Instrument { id, version, name, items });
    }
    let visits = given.visits.into_iter().enumerate();
    let visits = visits.map(|(at, visit)| as_visit(visit, &format!("schedule.visits[{at}]"), v)).collect();
    let reminders = given.reminders.into_iter().enumerate();
    let reminder_offsets_hours = reminders
        .map(|(at, reminder)| {
            not_negative(reminder.offset_hours, || format!("schedule.reminders[{at}].offset_hours"), v)
        })
        .collect();
    Schedule { instruments, visits, reminder_offsets_hours }
}

/// A negative number is reported here and read as the least allowed one, so that it is not reported twice.
fn not_negative(value: i32, field: impl FnOnce() -> String, v: &mut FieldViolations) -> u32 {
    u32::try_from(value).unwrap_or_else(|_| {
        v.add(field(), format!("{value} is negative"));
        1
    })
}

fn as_item(item: proto::InstrumentItem, path: &str, v: &mut FieldViolations) -> Item {
    let asked = proto::ItemKind::try_from(item.kind);
    if asked != Ok(proto::ItemKind::Number) && (item.minimum.is_some() || item.maximum.is_some()) {
        v.add(format!("{path}.minimum"), "minimum and maximum go only with kind NUMBER");
    }
    if asked != Ok(proto::ItemKind::Choice) && !item.choices.is_empty() {
        v.add(format!("{path}.choices"), "choices go only with kind CHOICE");
    }
    let kind = match asked {
        Ok(proto::ItemKind::Unspecified) => ItemKind::Any,
        Ok(proto::ItemKind::Number) => ItemKind::Number { minimum: item.minimum, maximum: item.maximum },
        Ok(proto::ItemKind::Text) => ItemKind::Text,
        Ok(proto::ItemKind::Boolean) => ItemKind::Boolean,
        Ok(proto::ItemKind::Choice) => ItemKind::Choice { choices: item.choices },
        Err(_) => {
            v.add(format!("{path}.kind"), format!("{} is not a kind of item", item.kind));
            ItemKind::Any
        }
    };
    Item { id: item.item_id, prompt: item.prompt, required: item.required, kind }
}

fn as_visit(visit: proto::Visit, path: &str, v: &mut FieldViolations) -> Visit {
    let anchor = match proto::VisitAnchor::try_from(visit.anchor) {
        Ok(proto::VisitAnchor::Enrolment) => Anchor::Enrolment,
        Ok(proto::VisitAnchor::StudyStart) => Anchor::StudyStart,
        Ok(proto::VisitAnchor::Unspecified) | Err(_) => {
            v.add(
                format!("{path}.anchor"),
                format!("{} is not an anchor; choose ENROLMENT or STUDY_START", visit.anchor),
            );
            Anchor::Enrolment
        }
    };
    let window_before_days = not_negative(visit.window_before_days, || format!("{path}.window_before_days"), v);
    let window_after_days = not_negative(visit.window_after_days, || format!("{path}.window_after_days"), v);
    Visit {
        id: visit.visit_id,
        name: visit.name,
        instrument_ids: visit.instrument_ids,
        anchor,
        offset_days: visit.offset_days,
        window_before_days,
        window_after_days,
    }
}

pub(super) fn submission(body: &proto::SubmitResponseRequest, body_hash: Vec<u8>) -> Result<Job, ApiError> {
    let mut v = FieldViolations::new();
    let submission_id = v.check("submission_id", SubmissionId::new(body.submission_id.as_str()));
    let study = v.check("study_id", ProjectId::new(body.study_id.as_str()));
    v.check("assignment_id", contracts::ids::AssignmentId::new(body.assignment_id.as_str()));
    v.check("subject_id", SubjectId::new(body.subject_id.as_str()));
    v.check("instrument_id", contracts::ids::InstrumentId::new(body.instrument_id.as_str()));
    let answers = match &body.answers {
        Some(given) => v.check("answers", answers::to_json(given)),
        None => v.check("answers", Err("is missing; send an answer for each item")),
    };
    if let Some(answers) = &answers {
        let bytes = serde_json::to_vec(answers).map_or(usize::MAX, |json| json.len());
        v.require(
            bytes <= MAX_ANSWERS_BYTES,
            "answers",
            format!("{bytes} bytes as JSON; at most {MAX_ANSWERS_BYTES} are taken"),
        );
    }
    let ((study, submission_id), answers) = finish(v, study.zip(submission_id).zip(answers))?;
    let assignment_id = super::assignment_id(&body.assignment_id)
        .ok_or_else(|| ApiError::not_found("assignment", body.assignment_id.as_str()))?;
    let submission =
        Submission { subject_id: body.subject_id.clone(), instrument_id: body.instrument_id.clone(), answers };
    Ok(Job { study, submission_id, assignment_id, submission, body_hash })
}
