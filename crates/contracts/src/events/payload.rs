//! The payloads of the events, field by field. Changing one means changing its JSON Schema; a field once published stays.

use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;

use super::unix_seconds;
use crate::ids::{ProjectId, SiteId};

/// Payload of `ProjectCreated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectCreated {
    /// The project.
    pub project_id: ProjectId,
    /// Its display name.
    pub name: String,
    /// The sponsor's number of the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_number: Option<String>,
    /// Full title of the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_title: Option<String>,
    /// Organisation responsible for the trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<String>,
    /// Sites planned at the creation.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub sites: Vec<PlannedSite>,
}

/// A site foreseen for a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedSite {
    /// The site.
    pub site_id: SiteId,
    /// Its display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its country, ISO 3166-1 alpha-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country_code: Option<String>,
}

/// Payload of `StartupItemCompleted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartupItemCompleted {
    /// The project.
    pub project_id: ProjectId,
    /// What is in place.
    pub item: StartupItem,
    /// The document or decision that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// An item of the start-up checklist, as events name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum StartupItem {
    /// Favourable opinion of the ethics committee or review board.
    EthicsApproval,
    /// Authorisation by the competent authority.
    RegulatoryApproval,
    /// Contract and budget signed.
    ContractAndBudget,
    /// The protocol version to run is fixed.
    ProtocolVersion,
    /// The data-capture system is live.
    DataCaptureLive,
    /// An item that this version does not know; written by no producer.
    #[serde(other)]
    Unknown,
}

/// Payload of `SiteActivated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteActivated {
    /// The project.
    pub project_id: ProjectId,
    /// The site.
    pub site_id: SiteId,
    /// Its display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its country, ISO 3166-1 alpha-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country_code: Option<String>,
    /// When it was activated.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub activated_at: Option<OffsetDateTime>,
}

/// Payload of `ProjectStarted`. The first two fields are what existing Go consumers read, and all that a plain producer sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectStarted {
    /// The project.
    pub project_id: ProjectId,
    /// When it was started, in whole Unix seconds on the wire.
    #[serde(with = "unix_seconds")]
    pub start_time: OffsetDateTime,
    /// Its display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Sites activated by then.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub sites: Vec<StartedSite>,
}

/// A site that takes part from the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartedSite {
    /// The site.
    pub site_id: SiteId,
    /// Its display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its country, ISO 3166-1 alpha-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country_code: Option<String>,
    /// When it was activated.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub activated_at: Option<OffsetDateTime>,
}

/// Payload of `ProjectSuspended`, `ProjectResumed`, `ProjectCompleted` and `ProjectTerminated`. When it happened is in `ce_time`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LifecycleChange {
    /// The project.
    pub project_id: ProjectId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A Go producer writes an empty list as `null`.
fn null_as_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
