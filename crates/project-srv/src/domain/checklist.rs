//! The start-up checklist: what must be in place before a study may start. Pure: it must not know time, storage
//! or transport.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One line of the checklist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Item {
    /// The ethics committee approved the study.
    EthicsApproval,
    /// The competent authority approved it.
    RegulatoryApproval,
    /// Contract and budget are signed.
    ContractAndBudget,
    /// A protocol version is in force.
    ProtocolVersion,
    /// At least one site is active. Follows from the sites: nobody ticks it off.
    SiteActivated,
    /// Data capture is live.
    DataCaptureLive,
}

impl Item {
    /// The whole checklist, in the order in which it is shown.
    pub const ALL: [Self; 6] = [
        Self::EthicsApproval,
        Self::RegulatoryApproval,
        Self::ContractAndBudget,
        Self::ProtocolVersion,
        Self::SiteActivated,
        Self::DataCaptureLive,
    ];

    /// Whether somebody ticks it off, rather than it following from something else.
    #[must_use]
    pub fn is_completed_by_hand(self) -> bool {
        self != Self::SiteActivated
    }

    /// The name used in the database, in events and in error metadata.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EthicsApproval => "ETHICS_APPROVAL",
            Self::RegulatoryApproval => "REGULATORY_APPROVAL",
            Self::ContractAndBudget => "CONTRACT_AND_BUDGET",
            Self::ProtocolVersion => "PROTOCOL_VERSION",
            Self::SiteActivated => "SITE_ACTIVATED",
            Self::DataCaptureLive => "DATA_CAPTURE_LIVE",
        }
    }

    /// What is missing while the item is open, and how to close it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::EthicsApproval => "no ethics approval; call CompleteStartupItem when the committee approved",
            Self::RegulatoryApproval => "no regulatory approval; call CompleteStartupItem when the authority approved",
            Self::ContractAndBudget => "contract and budget are not signed; call CompleteStartupItem when they are",
            Self::ProtocolVersion => "no protocol version is in force; call CompleteStartupItem when one is",
            Self::SiteActivated => "no site is active; call ActivateSite",
            Self::DataCaptureLive => "data capture is not live; call CompleteStartupItem when it is",
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_stored_under_its_name() {
        for item in Item::ALL {
            assert_eq!(serde_json::to_value(item).unwrap(), item.as_str());
        }
    }
}
