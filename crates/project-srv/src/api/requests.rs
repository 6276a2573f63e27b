//! What each mutating request must look like, and what it wishes for. Every violation is collected before any is reported.

use std::collections::BTreeSet;

use contracts::ids::{ProjectId, SiteId};
use contracts::project::v1 as proto;
use service_kit::status::{ApiError, FieldViolations};

use super::text;
use crate::domain::{Action, Command, Item, MAX_SITES, MAX_SITES_BYTES, Profile, Site, State, sites_fit};
use crate::mutation::Wish;

const MAX_REQUEST_ID: usize = 128;
const MAX_NAME: usize = 200;
const MAX_PROTOCOL_NUMBER: usize = 100;
const MAX_PROTOCOL_TITLE: usize = 1_000;
const MAX_SPONSOR: usize = 200;
const MAX_REFERENCE: usize = 500;
const MAX_REASON: usize = 1_000;

/// A request that checked out.
pub(super) struct Checked {
    pub(super) wish: Wish,
    pub(super) reason: String,
}

/// A request that changes a project.
pub(super) trait MutationRequest: prost::Message + Default {
    type Response: prost::Message + Default;
    /// The name of the RPC, as the audit trail shows it.
    const ACTION: &'static str;

    fn request_id(&self) -> &str;
    /// Checks every field and adds what is wrong to `violations`.
    fn check(&self, violations: FieldViolations) -> Result<Checked, ApiError>;
    fn respond(project: proto::Project) -> Self::Response;
}

/// The value, if nothing at all was wrong.
pub(super) fn finish<T>(violations: FieldViolations, value: Option<T>) -> Result<T, ApiError> {
    match value {
        Some(value) if violations.is_empty() => Ok(value),
        _ => Err(violations.into()),
    }
}

/// The project a reading request names.
pub(super) fn project_id(text: &str) -> Result<ProjectId, ApiError> {
    text.parse().map_err(|error: contracts::ids::InvalidId| ApiError::invalid("project_id", error.to_string()))
}

/// The state that a list is filtered by.
pub(super) fn state_filter(value: i32, violations: &mut FieldViolations) -> Option<State> {
    match proto::ProjectState::try_from(value) {
        Ok(proto::ProjectState::Unspecified) => None,
        Ok(proto::ProjectState::Preparing) => Some(State::Preparing),
        Ok(proto::ProjectState::Started) => Some(State::Started),
        Ok(proto::ProjectState::Suspended) => Some(State::Suspended),
        Ok(proto::ProjectState::Completed) => Some(State::Completed),
        Ok(proto::ProjectState::Terminated) => Some(State::Terminated),
        Err(_) => {
            violations.add("state", format!("{value} is not a state of a project; leave it out for all"));
            None
        }
    }
}

fn item(value: i32) -> Result<Item, String> {
    match proto::StartupItemKind::try_from(value) {
        Ok(proto::StartupItemKind::EthicsApproval) => Ok(Item::EthicsApproval),
        Ok(proto::StartupItemKind::RegulatoryApproval) => Ok(Item::RegulatoryApproval),
        Ok(proto::StartupItemKind::ContractAndBudget) => Ok(Item::ContractAndBudget),
        Ok(proto::StartupItemKind::ProtocolVersion) => Ok(Item::ProtocolVersion),
        Ok(proto::StartupItemKind::DataCaptureLive) => Ok(Item::DataCaptureLive),
        Ok(proto::StartupItemKind::SiteActivated) => {
            Err("SITE_ACTIVATED is completed by ActivateSite; call that".into())
        }
        Ok(proto::StartupItemKind::Unspecified) => Err("is missing; name the item to complete".into()),
        Err(_) => Err(format!("{value} is not a start-up item")),
    }
}

fn request_id(id: &str, violations: &mut FieldViolations) {
    text::optional("request_id", id, MAX_REQUEST_ID, violations);
}

/// A change of the project that `id` names.
fn change(
    mut violations: FieldViolations,
    (id, request, etag): (&str, &str, &str),
    reason: &str,
    command: Option<Command>,
) -> Result<Checked, ApiError> {
    let id = violations.check("project_id", id.parse::<ProjectId>());
    request_id(request, &mut violations);
    let wish = id.zip(command).map(|(id, command)| Wish::Change { id, etag: etag.to_owned(), command });
    Ok(Checked { wish: finish(violations, wish)?, reason: reason.to_owned() })
}

impl MutationRequest for proto::CreateProjectRequest {
    type Response = proto::CreateProjectResponse;
    const ACTION: &'static str = "CreateProject";

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn check(&self, mut violations: FieldViolations) -> Result<Checked, ApiError> {
        let v = &mut violations;
        let id = match self.project_id.as_str() {
            "" => None,
            given => v.check("project_id", given.parse::<ProjectId>()),
        };
        text::required("name", &self.name, MAX_NAME, v);
        text::required("protocol_number", &self.protocol_number, MAX_PROTOCOL_NUMBER, v);
        text::optional("protocol_title", &self.protocol_title, MAX_PROTOCOL_TITLE, v);
        text::optional("sponsor", &self.sponsor, MAX_SPONSOR, v);
        request_id(&self.request_id, v);
        let sites = planned_sites(&self.sites, v);
        violations.finish()?;
        let profile = Profile {
            name: self.name.clone(),
            protocol_number: self.protocol_number.clone(),
            protocol_title: self.protocol_title.clone(),
            sponsor: self.sponsor.clone(),
        };
        Ok(Checked { wish: Wish::Create { id, profile, sites }, reason: String::new() })
    }

    fn respond(project: proto::Project) -> Self::Response {
        proto::CreateProjectResponse { project: Some(project) }
    }
}

fn planned_sites(sites: &[proto::PlannedSite], violations: &mut FieldViolations) -> Vec<(SiteId, Site)> {
    if sites.len() > MAX_SITES {
        violations.add("sites", format!("has {} sites; a project may have {MAX_SITES}", sites.len()));
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut planned = Vec::with_capacity(sites.len());
    for (index, site) in sites.iter().enumerate() {
        let field = |name: &str| format!("sites[{index}].{name}");
        text::required(&field("name"), &site.name, MAX_NAME, violations);
        text::country(&field("country_code"), &site.country_code, violations);
        let Some(id) = violations.check(field("site_id"), site.site_id.parse::<SiteId>()) else { continue };
        if !seen.insert(id.clone()) {
            violations.add(field("site_id"), format!("{id} is in the request twice; name each site once"));
        }
        let described = Site { name: site.name.clone(), country_code: site.country_code.clone(), activation: None };
        planned.push((id, described));
    }
    if !sites_fit(planned.iter().map(|(id, site)| (id, site))) {
        violations.add("sites", format!("take more than {MAX_SITES_BYTES} bytes together; shorten their names"));
    }
    planned
}

impl MutationRequest for proto::CompleteStartupItemRequest {
    type Response = proto::CompleteStartupItemResponse;
    const ACTION: &'static str = Action::CompleteStartupItem.as_str();

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn check(&self, mut violations: FieldViolations) -> Result<Checked, ApiError> {
        let item = violations.check("kind", item(self.kind));
        text::optional("reference", &self.reference, MAX_REFERENCE, &mut violations);
        let command = item.map(|item| Command::CompleteStartupItem { item, reference: self.reference.clone() });
        change(violations, (&self.project_id, &self.request_id, &self.etag), "", command)
    }

    fn respond(project: proto::Project) -> Self::Response {
        proto::CompleteStartupItemResponse { project: Some(project) }
    }
}

impl MutationRequest for proto::ActivateSiteRequest {
    type Response = proto::ActivateSiteResponse;
    const ACTION: &'static str = Action::ActivateSite.as_str();

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn check(&self, mut violations: FieldViolations) -> Result<Checked, ApiError> {
        let site_id = violations.check("site_id", self.site_id.parse::<SiteId>());
        text::optional("name", &self.name, MAX_NAME, &mut violations);
        text::country("country_code", &self.country_code, &mut violations);
        let command = site_id.map(|site_id| Command::ActivateSite {
            site_id,
            name: self.name.clone(),
            country_code: self.country_code.clone(),
        });
        change(violations, (&self.project_id, &self.request_id, &self.etag), "", command)
    }

    fn respond(project: proto::Project) -> Self::Response {
        proto::ActivateSiteResponse { project: Some(project) }
    }
}

impl MutationRequest for proto::StartProjectRequest {
    type Response = proto::StartProjectResponse;
    const ACTION: &'static str = Action::Start.as_str();

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn check(&self, violations: FieldViolations) -> Result<Checked, ApiError> {
        change(violations, (&self.project_id, &self.request_id, &self.etag), "", Some(Command::Start))
    }

    fn respond(project: proto::Project) -> Self::Response {
        proto::StartProjectResponse { success: true, project: Some(project) }
    }
}

/// The four requests that end or pause a project differ in their command and in whether they need a reason.
macro_rules! lifecycle {
    ($request:ident, $response:ident, $command:expr, $check_reason:path) => {
        impl MutationRequest for proto::$request {
            type Response = proto::$response;
            const ACTION: &'static str = $command.action().as_str();

            fn request_id(&self) -> &str {
                &self.request_id
            }

            fn check(&self, mut violations: FieldViolations) -> Result<Checked, ApiError> {
                $check_reason("reason", &self.reason, MAX_REASON, &mut violations);
                let ids = (self.project_id.as_str(), self.request_id.as_str(), self.etag.as_str());
                change(violations, ids, &self.reason, Some($command))
            }

            fn respond(project: proto::Project) -> Self::Response {
                proto::$response { project: Some(project) }
            }
        }
    };
}

lifecycle!(SuspendProjectRequest, SuspendProjectResponse, Command::Suspend, text::required);
lifecycle!(ResumeProjectRequest, ResumeProjectResponse, Command::Resume, text::optional);
lifecycle!(CompleteProjectRequest, CompleteProjectResponse, Command::Complete, text::optional);
lifecycle!(TerminateProjectRequest, TerminateProjectResponse, Command::Terminate, text::required);
