//! The account of a study: what the project's events change in it. Sites become due, and the life cycle moves the account and its payables.

use std::collections::{BTreeMap, BTreeSet};

use contracts::ids::{ProjectId, SiteId};
use time::{Date, OffsetDateTime, UtcOffset};

use super::accrual::accrue;
use super::{FeeSchedule, NewPayable, PayableState, Settlement};
use contracts::named;

/// State of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The study has not started.
    Pending,
    /// Running: payables arise and may be paid.
    Active,
    /// Paused: payables are on hold, and arise on hold.
    Suspended,
    /// Over: no payable arises any more. Final.
    Closed,
}

named!(State, "account state", { Pending => "PENDING", Active => "ACTIVE", Suspended => "SUSPENDED", Closed => "CLOSED" });

impl State {
    /// The state in which a payable arises now; None where none may arise.
    #[must_use]
    pub fn of_new_payables(self) -> Option<PayableState> {
        match self {
            Self::Active => Some(PayableState::Open),
            Self::Suspended => Some(PayableState::OnHold),
            Self::Pending | Self::Closed => None,
        }
    }
}

/// The start of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// When it started.
    pub at: OffsetDateTime,
    /// The event that said so.
    pub event_id: String,
}

/// Since when a site is to be paid, and which event made it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The day whose schedule counts (UTC).
    pub on: Date,
    /// The start of the study, or a later activation of the site.
    pub event_id: String,
}

/// An activated site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// When it was activated, as first heard.
    pub activated_at: OffsetDateTime,
    /// None before the start.
    pub due: Option<Due>,
    /// Its start-up fee has arisen.
    pub has_payable: bool,
}

/// Everything that decisions about a study need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The study.
    pub study: ProjectId,
    /// Where it stands.
    pub state: State,
    /// Set by the first start.
    pub start: Option<Start>,
    /// The activated sites.
    pub sites: BTreeMap<SiteId, Site>,
    /// The fee schedules, by their first day.
    pub schedules: Vec<FeeSchedule>,
}

impl Account {
    /// The account of a study of which nothing is known yet.
    #[must_use]
    pub fn new(study: ProjectId) -> Self {
        Self { study, state: State::Pending, start: None, sites: BTreeMap::new(), schedules: Vec::new() }
    }
}

/// What happened to the project, as far as an account cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A site was activated.
    SiteActivated {
        /// The site.
        site_id: SiteId,
        /// When.
        at: OffsetDateTime,
    },
    /// The study started.
    Started {
        /// When.
        at: OffsetDateTime,
        /// The sites activated by then; those heard of before count as well. Without a time: activated at the start.
        sites: Vec<(SiteId, Option<OffsetDateTime>)>,
    },
    /// It was paused.
    Suspended,
    /// It went on.
    Resumed {
        /// When.
        at: OffsetDateTime,
    },
    /// It was completed or terminated.
    Ended,
}

/// What an event does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The account after it.
    pub account: Account,
    /// The sites that are new or became due.
    pub touched: BTreeSet<SiteId>,
    /// What becomes of the payables that were there before.
    pub settlement: Option<Settlement>,
    /// The payables that arise.
    pub arising: Vec<NewPayable>,
}

/// What `change` does to the account; None when nothing.
///
/// A start moves only a pending account: a plain record sent again never reopens what was paused or ended. Where the start itself was
/// discarded by an operator, a resume stands for it.
#[must_use]
pub fn react(account: &Account, change: &Change, event_id: &str) -> Option<Step> {
    let mut step = Step { account: account.clone(), touched: BTreeSet::new(), settlement: None, arising: Vec::new() };
    match (account.state, change) {
        (State::Pending | State::Active | State::Suspended, Change::SiteActivated { site_id, at }) => {
            if account.sites.contains_key(site_id) {
                return None;
            }
            step.activate(site_id, *at, event_id);
        }
        (State::Pending, Change::Started { at, sites }) => {
            step.account.state = State::Active;
            step.start(*at, event_id, sites);
        }
        (State::Pending, Change::Resumed { at }) => {
            step.account.state = State::Active;
            step.start(*at, event_id, &[]);
        }
        (State::Suspended, Change::Resumed { at }) => {
            step.account.state = State::Active;
            step.settlement = Some(Settlement::Release);
            if account.start.is_none() {
                step.start(*at, event_id, &[]);
            }
        }
        (State::Pending | State::Active, Change::Suspended) => {
            step.account.state = State::Suspended;
            step.settlement = Some(Settlement::Hold);
        }
        (State::Pending | State::Active | State::Suspended, Change::Ended) => {
            step.account.state = State::Closed;
            step.settlement = Some(Settlement::Close);
        }
        (State::Active | State::Suspended | State::Closed, Change::Started { .. })
        | (State::Active | State::Closed, Change::Resumed { .. })
        | (State::Suspended | State::Closed, Change::Suspended)
        | (State::Closed, Change::Ended | Change::SiteActivated { .. }) => return None,
    }
    step.arising = accrue(&mut step.account);
    Some(step)
}

impl Step {
    /// A site heard of for the first time; due at once in a study that has started.
    fn activate(&mut self, site_id: &SiteId, at: OffsetDateTime, event_id: &str) {
        let due = self
            .account
            .start
            .as_ref()
            .map(|start| Due { on: utc_day(start.at).max(utc_day(at)), event_id: event_id.to_owned() });
        self.account.sites.insert(site_id.clone(), Site { activated_at: at, due, has_payable: false });
        self.touched.insert(site_id.clone());
    }

    /// The start makes every known site due: on the day of the start, or on its activation if that is later by what was heard before. A
    /// site that the start itself lists was active by then, whatever the clocks say.
    fn start(&mut self, at: OffsetDateTime, event_id: &str, listed: &[(SiteId, Option<OffsetDateTime>)]) {
        let day = utc_day(at);
        let due = |on: Date| Some(Due { on, event_id: event_id.to_owned() });
        for site in self.account.sites.values_mut() {
            site.due = due(day.max(utc_day(site.activated_at)));
        }
        for (site_id, activated_at) in listed {
            let heard = Site { activated_at: activated_at.unwrap_or(at), due: None, has_payable: false };
            self.account.sites.entry(site_id.clone()).or_insert(heard).due = due(day);
        }
        self.touched.extend(self.account.sites.keys().cloned());
        self.account.start = Some(Start { at, event_id: event_id.to_owned() });
    }
}

fn utc_day(at: OffsetDateTime) -> Date {
    at.to_offset(UtcOffset::UTC).date()
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
