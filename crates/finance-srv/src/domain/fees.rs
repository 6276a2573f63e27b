//! Fee schedules: spans of days that never overlap within a study, so that at most one is in force on any day.
//!
//! A schedule is never changed or taken back. So which fee is due on a day does not depend on when the schedules were set, and an amount that
//! was booked stays right. A study that needs other fees gets a schedule for the days that have none yet.

use std::collections::BTreeMap;
use std::fmt;

use contracts::ids::{ProjectId, SiteId};
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::accrual::accrue;
use super::{Account, Currency, Fee, NewPayable, State};

/// Most schedules of one study: a reader gets them all at once.
pub const MAX_SCHEDULES: usize = 100;
/// Most sites with a fee of their own in one schedule.
pub const MAX_SITE_FEES: usize = 1_000;
/// Most fees of single sites in all schedules of a study, for the same reason: they fit into one message.
const MAX_SITE_FEES_OF_STUDY: usize = 10_000;

/// Days from the first to the last, both included; open-ended without a last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    from: Date,
    to: Option<Date>,
}

/// A span whose last day is before its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{to} is before effective_from, {from}; give a later day, or leave it empty for no end")]
pub struct SpanEndsBeforeItBegins {
    from: Date,
    to: Date,
}

impl Span {
    /// From this day to that, both included.
    ///
    /// # Errors
    /// When it would end before it begins.
    pub fn new(from: Date, to: Option<Date>) -> Result<Self, SpanEndsBeforeItBegins> {
        match to {
            Some(to) if to < from => Err(SpanEndsBeforeItBegins { from, to }),
            _ => Ok(Self { from, to }),
        }
    }

    /// The first day.
    #[must_use]
    pub fn from(self) -> Date {
        self.from
    }

    /// The last day; None for no end.
    #[must_use]
    pub fn to(self) -> Option<Date> {
        self.to
    }

    /// Whether the day is in the span.
    #[must_use]
    pub fn contains(self, day: Date) -> bool {
        self.from <= day && self.to.is_none_or(|to| day <= to)
    }

    /// Whether any day is in both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        // Two spans overlap exactly when one of them contains the first day of the other.
        self.contains(other.from) || other.contains(self.from)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            Some(to) => write!(f, "{} to {to}", self.from),
            None => write!(f, "{} without end", self.from),
        }
    }
}

/// What a schedule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Currency of all its fees.
    pub currency: Currency,
    /// When it is in force.
    pub span: Span,
    /// Start-up fee of each site.
    pub startup_fee: Fee,
    /// Start-up fees of single sites that differ.
    pub site_fees: BTreeMap<SiteId, Fee>,
}

impl Terms {
    /// The start-up fee of this site.
    #[must_use]
    pub fn startup_fee_of(&self, site_id: &SiteId) -> Fee {
        self.site_fees.get(site_id).copied().unwrap_or(self.startup_fee)
    }
}

/// A schedule of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeeSchedule {
    /// Its id.
    pub id: Uuid,
    /// What it says.
    pub terms: Terms,
    /// When it was set.
    pub created_at: OffsetDateTime,
    /// Who set it.
    pub created_by: String,
}

/// Why a schedule cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The study is over.
    #[error("the account of study {study} is closed")]
    Closed {
        /// The study.
        study: ProjectId,
    },
    /// Some days have a schedule already.
    #[error("{wanted} overlaps fee schedule {other} of study {study}, in force {in_force}")]
    Overlap {
        /// The study.
        study: ProjectId,
        /// The span asked for.
        wanted: Span,
        /// The schedule in the way.
        other: Uuid,
        /// Its span.
        in_force: Span,
    },
    /// No more schedules fit.
    #[error("study {study} has {MAX_SCHEDULES} fee schedules")]
    TooMany {
        /// The study.
        study: ProjectId,
    },
    /// No more fees of single sites fit.
    #[error("the fee schedules of study {study} would have more than {MAX_SITE_FEES_OF_STUDY} site fees together")]
    TooManySiteFees {
        /// The study.
        study: ProjectId,
    },
}

impl Refusal {
    /// What the caller can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Closed { .. } => "nothing arises any more in a closed account; set no more schedules".to_owned(),
            Self::Overlap { in_force, .. } => {
                let before = in_force.from().previous_day().map(|day| format!("ends by {day}"));
                let after = in_force.to().and_then(Date::next_day).map(|day| format!("begins on {day} or later"));
                let choices: Vec<String> = before.into_iter().chain(after).collect();
                format!("choose a span that {}", choices.join(" or "))
            }
            Self::TooMany { .. } => "one study takes no more; cover longer spans with one schedule".to_owned(),
            Self::TooManySiteFees { .. } => {
                "name only sites whose fee differs, and choose the fee of most sites as the schedule's".to_owned()
            }
        }
    }
}

/// A schedule that may be set, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The account with it.
    pub account: Account,
    /// What was due on its days and had no fee until now.
    pub arising: Vec<NewPayable>,
}

/// Adds a schedule, and lets arise what was due on its days already.
///
/// # Errors
/// [`Refusal`]; nothing is changed then.
pub fn admit(account: &Account, schedule: FeeSchedule) -> Result<Admission, Refusal> {
    let study = || account.study.clone();
    if account.state == State::Closed {
        return Err(Refusal::Closed { study: study() });
    }
    if account.schedules.len() >= MAX_SCHEDULES {
        return Err(Refusal::TooMany { study: study() });
    }
    let wanted = schedule.terms.span;
    if let Some(other) = account.schedules.iter().find(|other| other.terms.span.overlaps(wanted)) {
        return Err(Refusal::Overlap { study: study(), wanted, other: other.id, in_force: other.terms.span });
    }
    let site_fees: usize = account.schedules.iter().map(|other| other.terms.site_fees.len()).sum();
    if site_fees + schedule.terms.site_fees.len() > MAX_SITE_FEES_OF_STUDY {
        return Err(Refusal::TooManySiteFees { study: study() });
    }
    let mut account = account.clone();
    account.schedules.push(schedule);
    account.schedules.sort_by_key(|schedule| schedule.terms.span.from());
    let arising = accrue(&mut account);
    Ok(Admission { account, arising })
}

#[cfg(test)]
#[path = "fees_tests.rs"]
mod tests;
