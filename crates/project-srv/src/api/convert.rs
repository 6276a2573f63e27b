//! Domain types to messages. Nothing is decided or checked here.

use contracts::project::v1 as proto;
use prost_types::Timestamp;
use time::OffsetDateTime;

use crate::domain::{Fact, Item, Occurrence, Project, Site, State};
use crate::store::AuditRow;

pub(super) fn project(project: &Project) -> proto::Project {
    proto::Project {
        project_id: project.id.to_string(),
        name: project.profile.name.clone(),
        protocol_number: project.profile.protocol_number.clone(),
        protocol_title: project.profile.protocol_title.clone(),
        sponsor: project.profile.sponsor.clone(),
        state: state(project.state).into(),
        startup_items: Item::ALL.into_iter().map(|item| startup_item(project, item)).collect(),
        sites: project.sites.iter().map(|(id, described)| site(id.as_str(), described)).collect(),
        etag: project.etag(),
        created_at: Some(timestamp(project.created_at)),
        updated_at: Some(timestamp(project.updated_at)),
        started_at: project.started_at.map(timestamp),
        ended_at: project.ended_at.map(timestamp),
        last_event_id: project.last_event_id.to_string(),
        last_event_sequence: project.event_seq,
    }
}

fn startup_item(project: &Project, item: Item) -> proto::StartupItem {
    let completion = project.completion(item);
    proto::StartupItem {
        kind: kind(item).into(),
        completed: completion.is_some(),
        completed_at: completion.as_ref().map(|completion| timestamp(completion.at)),
        completed_by: completion.as_ref().map(|completion| completion.by.clone()).unwrap_or_default(),
        reference: completion.map(|completion| completion.reference).unwrap_or_default(),
    }
}

fn site(id: &str, site: &Site) -> proto::Site {
    let state = match site.activation {
        Some(_) => proto::SiteState::Activated,
        None => proto::SiteState::Planned,
    };
    proto::Site {
        site_id: id.to_owned(),
        name: site.name.clone(),
        country_code: site.country_code.clone(),
        state: state.into(),
        activated_at: site.activation.as_ref().map(|activation| timestamp(activation.at)),
    }
}

pub(super) fn event_summary(fact: &Fact, sequence: i64, occurrence: &Occurrence) -> proto::EventSummary {
    proto::EventSummary {
        event_id: occurrence.event_id.to_string(),
        event_type: fact.event_type().to_owned(),
        sequence,
        occurred_at: Some(timestamp(occurrence.at)),
    }
}

pub(super) fn audit_entry(row: AuditRow) -> proto::AuditEntry {
    proto::AuditEntry {
        entry_id: row.id,
        project_id: row.project_id.to_string(),
        occurred_at: Some(timestamp(row.occurrence.at)),
        actor: row.occurrence.actor,
        action: row.action,
        from_state: row.from_state.map_or(proto::ProjectState::Unspecified, state).into(),
        to_state: state(row.to_state).into(),
        reason: row.occurrence.reason,
        event_id: row.occurrence.event_id.to_string(),
    }
}

fn state(state: State) -> proto::ProjectState {
    match state {
        State::Preparing => proto::ProjectState::Preparing,
        State::Started => proto::ProjectState::Started,
        State::Suspended => proto::ProjectState::Suspended,
        State::Completed => proto::ProjectState::Completed,
        State::Terminated => proto::ProjectState::Terminated,
    }
}

fn kind(item: Item) -> proto::StartupItemKind {
    match item {
        Item::EthicsApproval => proto::StartupItemKind::EthicsApproval,
        Item::RegulatoryApproval => proto::StartupItemKind::RegulatoryApproval,
        Item::ContractAndBudget => proto::StartupItemKind::ContractAndBudget,
        Item::ProtocolVersion => proto::StartupItemKind::ProtocolVersion,
        Item::SiteActivated => proto::StartupItemKind::SiteActivated,
        Item::DataCaptureLive => proto::StartupItemKind::DataCaptureLive,
    }
}

fn timestamp(at: OffsetDateTime) -> Timestamp {
    // Below a billion by the type's own rule, so the conversion always succeeds.
    let nanos = i32::try_from(at.nanosecond()).unwrap_or_default();
    Timestamp { seconds: at.unix_timestamp(), nanos }
}
