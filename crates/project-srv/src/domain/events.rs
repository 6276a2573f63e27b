//! Facts as the events of the contract. Each carries what a consumer needs to act, since services never call each other.

use contracts::events::{
    LifecycleChange, PlannedSite, ProjectCreated, ProjectEvent, ProjectStarted, SiteActivated, StartedSite,
    StartupItem, StartupItemCompleted,
};

use super::checklist::Item;
use super::project::Project;
use super::rules::{Fact, Occurrence};

/// The event that reports `fact` about `project`, which is as the fact left it.
#[must_use]
pub fn event(project: &Project, fact: &Fact, occurrence: &Occurrence) -> ProjectEvent {
    let project_id = project.id.clone();
    let change = || LifecycleChange { project_id: project.id.clone(), reason: given(&occurrence.reason) };
    match fact {
        Fact::Created => ProjectEvent::ProjectCreated(created(project)),
        Fact::StartupItemCompleted { item, reference } => ProjectEvent::StartupItemCompleted(StartupItemCompleted {
            project_id,
            item: startup_item(*item),
            reference: given(reference),
        }),
        Fact::SiteActivated { site_id, name, country_code } => ProjectEvent::SiteActivated(SiteActivated {
            project_id,
            site_id: site_id.clone(),
            name: given(name),
            country_code: given(country_code),
            activated_at: Some(occurrence.at),
        }),
        Fact::Started => ProjectEvent::ProjectStarted(started(project, occurrence)),
        Fact::Suspended => ProjectEvent::ProjectSuspended(change()),
        Fact::Resumed => ProjectEvent::ProjectResumed(change()),
        Fact::Completed => ProjectEvent::ProjectCompleted(change()),
        Fact::Terminated => ProjectEvent::ProjectTerminated(change()),
    }
}

fn created(project: &Project) -> ProjectCreated {
    let planned = project.sites.iter().map(|(id, site)| PlannedSite {
        site_id: id.clone(),
        name: given(&site.name),
        country_code: given(&site.country_code),
    });
    ProjectCreated {
        project_id: project.id.clone(),
        name: project.profile.name.clone(),
        protocol_number: given(&project.profile.protocol_number),
        protocol_title: given(&project.profile.protocol_title),
        sponsor: given(&project.profile.sponsor),
        sites: planned.collect(),
    }
}

fn started(project: &Project, occurrence: &Occurrence) -> ProjectStarted {
    let activated = project.activated_sites().map(|(id, site, activation)| StartedSite {
        site_id: id.clone(),
        name: given(&site.name),
        country_code: given(&site.country_code),
        activated_at: Some(activation.at),
    });
    ProjectStarted {
        project_id: project.id.clone(),
        start_time: occurrence.at,
        name: given(&project.profile.name),
        sites: activated.collect(),
    }
}

fn startup_item(item: Item) -> StartupItem {
    match item {
        Item::EthicsApproval => StartupItem::EthicsApproval,
        Item::RegulatoryApproval => StartupItem::RegulatoryApproval,
        Item::ContractAndBudget => StartupItem::ContractAndBudget,
        Item::ProtocolVersion => StartupItem::ProtocolVersion,
        Item::DataCaptureLive => StartupItem::DataCaptureLive,
        // `decide` never makes this a fact: activating the site is the fact.
        Item::SiteActivated => StartupItem::Unknown,
    }
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
