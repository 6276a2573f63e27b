//! A project and its sites as the rules see them. Pure: it must not know SQL, transport or the clock.

use std::collections::BTreeMap;

use contracts::ids::{ProjectId, SiteId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::checklist::Item;
use super::state::State;

/// The most sites a project may have. They travel together in `ProjectStarted`, which must fit into one record.
pub const MAX_SITES: usize = 1_000;

/// The most bytes that a project's sites may take there, with room for the rest of the event below outbox's limit.
pub const MAX_SITES_BYTES: usize = 800_000;

/// What a site takes in `ProjectStarted` besides its texts: field names, punctuation, the time of its activation.
const SITE_OVERHEAD_BYTES: usize = 100;

/// Whether one event can carry these sites.
#[must_use]
pub fn sites_fit<'a>(sites: impl Iterator<Item = (&'a SiteId, &'a Site)>) -> bool {
    let (count, bytes) = sites.fold((0, 0), |(count, bytes), (id, site)| (count + 1, bytes + event_bytes(id, site)));
    count <= MAX_SITES && bytes <= MAX_SITES_BYTES
}

/// An upper bound of what a site takes in `ProjectStarted`: JSON writes a quote or a backslash as two bytes, a line break or
/// tab too, and there are no other control characters in a name.
pub(super) fn event_bytes(id: &SiteId, site: &Site) -> usize {
    let escaped = site.name.bytes().filter(|byte| matches!(byte, b'"' | b'\\' | b'\n' | b'\r' | b'\t')).count();
    id.as_str().len() + site.name.len() + escaped + site.country_code.len() + SITE_OVERHEAD_BYTES
}

/// A project: the aggregate that one row lock protects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Who it is.
    pub id: ProjectId,
    /// What it is called; never changes.
    pub profile: Profile,
    /// Where it stands.
    pub state: State,
    /// Counts the mutations, from 1.
    pub version: i64,
    /// Which incarnation of its event stream it writes.
    pub stream_epoch: i64,
    /// The last event's gapless number in that stream, from 1.
    pub event_seq: i64,
    /// The last event's id.
    pub last_event_id: Uuid,
    /// The items completed by hand.
    pub checklist: BTreeMap<Item, Completion>,
    /// Planned and activated sites by id.
    pub sites: BTreeMap<SiteId, Site>,
    /// When it was created (UTC).
    pub created_at: OffsetDateTime,
    /// When it last changed (UTC).
    pub updated_at: OffsetDateTime,
    /// When it was started (UTC).
    pub started_at: Option<OffsetDateTime>,
    /// When it was completed or terminated (UTC).
    pub ended_at: Option<OffsetDateTime>,
}

/// The descriptive part of a project; the limits are the contract's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Display name.
    pub name: String,
    /// The sponsor's protocol number.
    pub protocol_number: String,
    /// Full title of the protocol; may be empty.
    pub protocol_title: String,
    /// Responsible organisation; may be empty.
    pub sponsor: String,
}

/// Who completed an item of the checklist, when, and by which document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// When (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Who.
    pub by: String,
    /// The document or decision; may be empty.
    pub reference: String,
}

/// A place where subjects take part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Display name.
    pub name: String,
    /// ISO 3166-1 alpha-2; may be empty.
    pub country_code: String,
    /// Absent while planned.
    pub activation: Option<Activation>,
}

/// When a site was activated, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// When (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Who.
    pub by: String,
}

impl Project {
    /// The opaque version of the resource. The epoch is part of it: a database restored from a backup starts a new
    /// epoch, and an etag handed out before must not match another state of the same version.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("{}-{}", self.stream_epoch, self.version)
    }

    /// How `item` of the checklist came to be in place, or `None` while it is open. The first activated site completes
    /// [`Item::SiteActivated`] and is its reference.
    #[must_use]
    pub fn completion(&self, item: Item) -> Option<Completion> {
        if item.is_completed_by_hand() {
            return self.checklist.get(&item).cloned();
        }
        let (id, _, first) = self.activated_sites().min_by_key(|(_, _, activation)| activation.at)?;
        Some(Completion { at: first.at, by: first.by.clone(), reference: id.to_string() })
    }

    /// The items that still keep the project from starting.
    #[must_use]
    pub fn open_items(&self) -> Vec<Item> {
        Item::ALL.into_iter().filter(|item| self.completion(*item).is_none()).collect()
    }

    /// The activated sites by id, each with its activation.
    pub fn activated_sites(&self) -> impl Iterator<Item = (&SiteId, &Site, &Activation)> {
        self.sites.iter().filter_map(|(id, site)| site.activation.as_ref().map(|activation| (id, site, activation)))
    }
}
