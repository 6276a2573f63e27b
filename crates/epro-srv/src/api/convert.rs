//! Domain and rows to messages. Nothing is decided or checked here.

use contracts::answers;
use contracts::epro::v1 as proto;
use contracts::ids::ProjectId;
use prost::Message as _;
use prost_types::Timestamp;
use time::OffsetDateTime;

use crate::domain::campaign::State;
use crate::domain::plan::PushKind;
use crate::domain::push::{Channel, PushState};
use crate::domain::schedule::{Anchor, Instrument, Item, ItemKind, Schedule, Visit};
use crate::domain::submission::AssignmentState;
use crate::mutations::Done;
use crate::store::campaign::{AppliedEvent, View};
use crate::store::response::{Receipt, Response};
use crate::store::{assignment, notification};

/// The encoded answer of a mutation, as it is logged under its request id.
pub(super) fn answer(done: Done) -> Vec<u8> {
    match done {
        Done::Published { study, version, schedule, assignments_created } => proto::PublishScheduleResponse {
            schedule: Some(self::schedule(&study, version, schedule)),
            assignments_created,
        }
        .encode_to_vec(),
        Done::Enrolled { study, subject, at, assignments_created } => proto::EnrolSubjectResponse {
            subject: Some(proto::Subject {
                study_id: study.to_string(),
                subject_id: subject.id,
                site_id: subject.site_id,
                enrolled_on: subject.enrolled_on.to_string(),
                created_at: Some(timestamp(at)),
            }),
            assignments_created,
        }
        .encode_to_vec(),
    }
}

fn schedule(study: &ProjectId, version: i64, schedule: Schedule) -> proto::Schedule {
    proto::Schedule {
        study_id: study.to_string(),
        version: int32(version),
        instruments: schedule.instruments.into_iter().map(instrument).collect(),
        visits: schedule.visits.into_iter().map(visit).collect(),
        reminders: schedule
            .reminder_offsets_hours
            .into_iter()
            .map(|hours| proto::Reminder { offset_hours: int32(hours.into()) })
            .collect(),
    }
}

fn instrument(instrument: Instrument) -> proto::Instrument {
    proto::Instrument {
        instrument_id: instrument.id,
        version: instrument.version,
        name: instrument.name,
        items: instrument.items.into_iter().map(item).collect(),
    }
}

fn item(item: Item) -> proto::InstrumentItem {
    let mut message = proto::InstrumentItem {
        item_id: item.id,
        prompt: item.prompt,
        required: item.required,
        ..proto::InstrumentItem::default()
    };
    let kind = match item.kind {
        ItemKind::Any => proto::ItemKind::Unspecified,
        ItemKind::Number { minimum, maximum } => {
            (message.minimum, message.maximum) = (minimum, maximum);
            proto::ItemKind::Number
        }
        ItemKind::Text => proto::ItemKind::Text,
        ItemKind::Boolean => proto::ItemKind::Boolean,
        ItemKind::Choice { choices } => {
            message.choices = choices;
            proto::ItemKind::Choice
        }
    };
    message.set_kind(kind);
    message
}

fn visit(visit: Visit) -> proto::Visit {
    let anchor = match visit.anchor {
        Anchor::Enrolment => proto::VisitAnchor::Enrolment,
        Anchor::StudyStart => proto::VisitAnchor::StudyStart,
    };
    proto::Visit {
        visit_id: visit.id,
        name: visit.name,
        instrument_ids: visit.instrument_ids,
        anchor: anchor.into(),
        offset_days: visit.offset_days,
        window_before_days: int32(visit.window_before_days.into()),
        window_after_days: int32(visit.window_after_days.into()),
    }
}

pub(super) fn campaign(study: &ProjectId, view: View) -> proto::Campaign {
    let state = match view.state {
        State::Pending => proto::CampaignState::Pending,
        State::Active => proto::CampaignState::Active,
        State::Suspended => proto::CampaignState::Suspended,
        State::Closed => proto::CampaignState::Closed,
    };
    let (last_event_id, last_event_applied_at) = view.last_event.unzip();
    proto::Campaign {
        study_id: study.to_string(),
        state: state.into(),
        schedule_version: int32(view.schedule_version),
        subject_count: view.counts.subjects,
        assignment_count: view.counts.assignments,
        notification_count: view.counts.notifications,
        response_count: view.counts.responses,
        last_event_id: last_event_id.unwrap_or_default(),
        last_event_applied_at: last_event_applied_at.map(timestamp),
        started_at: view.started_at.map(timestamp),
        applied_events: view.applied_events.into_iter().map(applied_event).collect(),
    }
}

fn applied_event(event: AppliedEvent) -> proto::AppliedEvent {
    proto::AppliedEvent {
        event_id: event.event_id,
        event_type: event.event_type,
        sequence: event.sequence.unwrap_or_default(),
        applied_at: Some(timestamp(event.applied_at)),
    }
}

pub(super) fn assignment(row: assignment::Assignment) -> proto::Assignment {
    let state = match row.state {
        AssignmentState::Open => proto::AssignmentState::Open,
        AssignmentState::Completed => proto::AssignmentState::Completed,
        AssignmentState::Missed => proto::AssignmentState::Missed,
        AssignmentState::Cancelled => proto::AssignmentState::Cancelled,
    };
    proto::Assignment {
        assignment_id: row.id.to_string(),
        study_id: row.study.to_string(),
        subject_id: row.subject_id,
        site_id: row.site_id,
        visit_id: row.visit_id,
        instrument_id: row.instrument_id,
        schedule_version: int32(row.schedule_version),
        state: state.into(),
        window_opens_on: row.window.opens_on.to_string(),
        due_on: row.window.due_on.to_string(),
        window_closes_on: row.window.closes_on.to_string(),
        event_id: row.event_id,
        created_at: Some(timestamp(row.created_at)),
        completed_at: row.completed_at.map(timestamp),
    }
}

pub(super) fn notification(study: &ProjectId, row: notification::Notification) -> proto::Notification {
    let kind = match row.kind {
        PushKind::Invitation => proto::NotificationKind::Invitation,
        PushKind::Reminder => proto::NotificationKind::Reminder,
    };
    let channel = match row.channel {
        Channel::Record => proto::NotificationChannel::Record,
        Channel::Webhook => proto::NotificationChannel::Webhook,
    };
    let state = match row.state {
        PushState::Pending => proto::NotificationState::Pending,
        PushState::Held => proto::NotificationState::Held,
        PushState::Sent => proto::NotificationState::Sent,
        PushState::Failed => proto::NotificationState::Failed,
        PushState::Cancelled => proto::NotificationState::Cancelled,
    };
    proto::Notification {
        notification_id: row.id.to_string(),
        study_id: study.to_string(),
        assignment_id: row.assignment_id.to_string(),
        subject_id: row.subject_id,
        kind: kind.into(),
        channel: channel.into(),
        state: state.into(),
        idempotency_key: row.id.to_string(),
        event_id: row.event_id,
        due_at: Some(timestamp(row.due_at)),
        created_at: Some(timestamp(row.created_at)),
        sent_at: row.sent_at.map(timestamp),
        attempts: int32(row.attempts),
        last_error: row.last_error,
    }
}

pub(super) fn response(row: Response) -> proto::Response {
    proto::Response {
        response_id: row.id.to_string(),
        study_id: row.study.to_string(),
        submission_id: row.submission_id,
        assignment_id: row.assignment_id.to_string(),
        subject_id: row.subject_id,
        instrument_id: row.instrument_id,
        schedule_version: int32(row.schedule_version),
        answers: Some(answers::from_json(&row.answers)),
        accepted_at: Some(timestamp(row.accepted_at)),
    }
}

pub(super) fn receipt(receipt: &Receipt) -> proto::SubmitResponseResponse {
    proto::SubmitResponseResponse {
        response_id: receipt.id.to_string(),
        accepted_at: Some(timestamp(receipt.accepted_at)),
    }
}

/// Numbers that came in as int32, or that are bounded far below its end.
fn int32(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn timestamp(at: OffsetDateTime) -> Timestamp {
    // Below a billion by the type's own rule, so the conversion always succeeds.
    let nanos = i32::try_from(at.nanosecond()).unwrap_or_default();
    Timestamp { seconds: at.unix_timestamp(), nanos }
}
