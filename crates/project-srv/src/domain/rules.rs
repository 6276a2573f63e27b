//! What may happen to a project and what it becomes: `decide` turns a command into a fact or a refusal, `evolve`
//! turns a project and a fact into the next project. Pure: time, actor and event id are arguments.
//!
//! They are apart because a watcher replays facts from the audit trail, where nothing is left to decide.

use contracts::ids::{ProjectId, SiteId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::checklist::Item;
use super::project::{Activation, Completion, MAX_SITES, MAX_SITES_BYTES, Profile, Project, Site, sites_fit};
use super::state::{Action, State};

/// What a caller asks of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Tick off an item.
    CompleteStartupItem {
        /// Which one; one that is completed by hand.
        item: Item,
        /// The document or decision that shows it; may be empty.
        reference: String,
    },
    /// Open a planned site, or an unplanned one that comes with a name.
    ActivateSite {
        /// Which site.
        site_id: SiteId,
        /// Name of an unplanned site; empty for a planned one.
        name: String,
        /// Country of an unplanned site; may be empty.
        country_code: String,
    },
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

impl Command {
    /// The action that the command performs.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::CompleteStartupItem { .. } => Action::CompleteStartupItem,
            Self::ActivateSite { .. } => Action::ActivateSite,
            Self::Start => Action::Start,
            Self::Suspend => Action::Suspend,
            Self::Resume => Action::Resume,
            Self::Complete => Action::Complete,
            Self::Terminate => Action::Terminate,
        }
    }
}

/// What happened to a project. Stored with its audit row: names and fields only ever get added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fact {
    /// It came into being. Nothing to replay: a watch begins with a project that exists.
    Created,
    /// An item was ticked off.
    StartupItemCompleted {
        /// Which one.
        item: Item,
        /// The document or decision.
        reference: String,
    },
    /// A site opened.
    SiteActivated {
        /// Which site.
        site_id: SiteId,
        /// Its name.
        name: String,
        /// Its country; may be empty.
        country_code: String,
    },
    /// The study started.
    Started,
    /// It paused.
    Suspended,
    /// It went on.
    Resumed,
    /// It ended as planned.
    Completed,
    /// It ended early.
    Terminated,
}

impl Fact {
    /// The type of the event that reports it.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Created => "ProjectCreated",
            Self::StartupItemCompleted { .. } => "StartupItemCompleted",
            Self::SiteActivated { .. } => "SiteActivated",
            Self::Started => "ProjectStarted",
            Self::Suspended => "ProjectSuspended",
            Self::Resumed => "ProjectResumed",
            Self::Completed => "ProjectCompleted",
            Self::Terminated => "ProjectTerminated",
        }
    }
}

/// The circumstances of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// When (UTC).
    pub at: OffsetDateTime,
    /// Who.
    pub actor: String,
    /// Why; may be empty.
    pub reason: String,
    /// The event that reports it.
    pub event_id: Uuid,
}

/// Why a command is refused. Each variant names what stands in the way and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state machine does not allow it.
    #[error(
        "project {project_id} is {state}; {action} needs it to be {}",
        join(action.allowed_from(), " or ")
    )]
    WrongState {
        /// The project.
        project_id: ProjectId,
        /// Its state.
        state: State,
        /// What was asked.
        action: Action,
    },
    /// The start-up checklist is not finished.
    #[error("project {project_id} cannot start: {} start-up items are open", open.len())]
    ChecklistOpen {
        /// The project.
        project_id: ProjectId,
        /// What is open, in checklist order.
        open: Vec<Item>,
    },
    /// The item was ticked off before.
    #[error("start-up item {item} of project {project_id} was completed by {by} at {at}")]
    ItemAlreadyCompleted {
        /// The project.
        project_id: ProjectId,
        /// The item.
        item: Item,
        /// When it was completed.
        at: OffsetDateTime,
        /// By whom.
        by: String,
    },
    /// The site was opened before.
    #[error("site {site_id} of project {project_id} was activated at {at}")]
    SiteAlreadyActivated {
        /// The project.
        project_id: ProjectId,
        /// The site.
        site_id: SiteId,
        /// When it was activated.
        at: OffsetDateTime,
    },
    /// The site is neither planned nor described.
    #[error("project {project_id} plans no site {site_id}")]
    UnknownSite {
        /// The project.
        project_id: ProjectId,
        /// The site.
        site_id: SiteId,
    },
    /// The project is full.
    #[error(
        "the sites of project {project_id} fill what one event can carry: {MAX_SITES} sites, {MAX_SITES_BYTES} bytes"
    )]
    TooManySites {
        /// The project.
        project_id: ProjectId,
    },
}

impl Refusal {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::WrongState { action, .. } => {
                format!("bring the project to {} first", join(action.allowed_from(), " or "))
            }
            Self::ChecklistOpen { .. } => "complete the open start-up items, then start again".into(),
            Self::ItemAlreadyCompleted { .. } | Self::SiteAlreadyActivated { .. } => "nothing is left to do".into(),
            Self::UnknownSite { .. } => "send a name to add and activate the site".into(),
            Self::TooManySites { .. } => "split the study".into(),
        }
    }
}

fn join<T: std::fmt::Display>(parts: impl Iterator<Item = T>, separator: &str) -> String {
    parts.map(|part| part.to_string()).collect::<Vec<_>>().join(separator)
}

/// A new project in PREPARING, version 1, with its first event numbered 1.
#[must_use]
pub fn create(
    id: ProjectId,
    profile: Profile,
    planned_sites: impl IntoIterator<Item = (SiteId, Site)>,
    occurrence: &Occurrence,
) -> Project {
    Project {
        id,
        profile,
        state: State::Preparing,
        version: 1,
        stream_epoch: 0,
        event_seq: 1,
        last_event_id: occurrence.event_id,
        checklist: std::collections::BTreeMap::new(),
        sites: planned_sites.into_iter().collect(),
        created_at: occurrence.at,
        updated_at: occurrence.at,
        started_at: None,
        ended_at: None,
    }
}

/// Whether `command` may happen to `project` now.
///
/// # Errors
/// The [`Refusal`] says what stands in the way; the state machine is asked first.
pub fn decide(project: &Project, command: &Command) -> Result<Fact, Refusal> {
    let action = command.action();
    if action.next(project.state).is_none() {
        let project_id = project.id.clone();
        return Err(Refusal::WrongState { project_id, state: project.state, action });
    }
    match command {
        Command::CompleteStartupItem { item, reference } => complete_item(project, *item, reference),
        Command::ActivateSite { site_id, name, country_code } => activate_site(project, site_id, name, country_code),
        Command::Start => start(project),
        Command::Suspend => Ok(Fact::Suspended),
        Command::Resume => Ok(Fact::Resumed),
        Command::Complete => Ok(Fact::Completed),
        Command::Terminate => Ok(Fact::Terminated),
    }
}

fn start(project: &Project) -> Result<Fact, Refusal> {
    let open = project.open_items();
    if open.is_empty() {
        return Ok(Fact::Started);
    }
    Err(Refusal::ChecklistOpen { project_id: project.id.clone(), open })
}

fn complete_item(project: &Project, item: Item, reference: &str) -> Result<Fact, Refusal> {
    match project.checklist.get(&item) {
        None => Ok(Fact::StartupItemCompleted { item, reference: reference.to_owned() }),
        Some(Completion { at, by, .. }) => {
            Err(Refusal::ItemAlreadyCompleted { project_id: project.id.clone(), item, at: *at, by: by.clone() })
        }
    }
}

fn activate_site(project: &Project, site_id: &SiteId, name: &str, country_code: &str) -> Result<Fact, Refusal> {
    let project_id = project.id.clone();
    let site_id = site_id.clone();
    match project.sites.get(&site_id) {
        Some(Site { activation: Some(activation), .. }) => {
            Err(Refusal::SiteAlreadyActivated { project_id, site_id, at: activation.at })
        }
        Some(planned) => {
            Ok(Fact::SiteActivated { site_id, name: planned.name.clone(), country_code: planned.country_code.clone() })
        }
        None if name.is_empty() => Err(Refusal::UnknownSite { project_id, site_id }),
        None => {
            let added = Site { name: name.to_owned(), country_code: country_code.to_owned(), activation: None };
            if !sites_fit(project.sites.iter().chain([(&site_id, &added)])) {
                return Err(Refusal::TooManySites { project_id });
            }
            Ok(Fact::SiteActivated { site_id, name: added.name, country_code: added.country_code })
        }
    }
}

/// The project after `fact`: one version and one event further.
#[must_use]
pub fn evolve(mut project: Project, fact: &Fact, occurrence: &Occurrence) -> Project {
    let at = occurrence.at;
    match fact {
        Fact::Created => {}
        Fact::StartupItemCompleted { item, reference } => {
            let by = occurrence.actor.clone();
            project.checklist.insert(*item, Completion { at, by, reference: reference.clone() });
        }
        Fact::SiteActivated { site_id, name, country_code } => {
            let site = Site {
                name: name.clone(),
                country_code: country_code.clone(),
                activation: Some(Activation { at, by: occurrence.actor.clone() }),
            };
            project.sites.insert(site_id.clone(), site);
        }
        Fact::Started => {
            project.state = State::Started;
            project.started_at = Some(at);
        }
        Fact::Suspended => project.state = State::Suspended,
        Fact::Resumed => project.state = State::Started,
        Fact::Completed => {
            project.state = State::Completed;
            project.ended_at = Some(at);
        }
        Fact::Terminated => {
            project.state = State::Terminated;
            project.ended_at = Some(at);
        }
    }
    project.version += 1;
    project.event_seq += 1;
    project.last_event_id = occurrence.event_id;
    project.updated_at = at;
    project
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
