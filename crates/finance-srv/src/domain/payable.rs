//! What is owed to a site: kinds, states, and how the life cycle of the study moves the states.

use contracts::ids::SiteId;
use uuid::Uuid;

use super::{Currency, Fee};
use contracts::named;

/// What a payable is owed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayableKind {
    /// The site's start-up fee.
    StartupFee,
}

named!(PayableKind, "payable kind", { StartupFee => "STARTUP_FEE" });

/// State of a payable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayableState {
    /// Owed and free to be paid.
    Open,
    /// Owed, payment on hold.
    OnHold,
    /// Owed, left to the final settlement. Final.
    Closed,
}

named!(PayableState, "payable state", { Open => "OPEN", OnHold => "ON_HOLD", Closed => "CLOSED" });

/// What becomes of the payables of a study when it pauses, goes on or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Open ones go on hold.
    Hold,
    /// Those on hold are open again.
    Release,
    /// All that are left are closed.
    Close,
}

impl Settlement {
    /// The states it moves; a payable in any other state stays as it is.
    #[must_use]
    pub fn from(self) -> &'static [PayableState] {
        match self {
            Self::Hold => &[PayableState::Open],
            Self::Release => &[PayableState::OnHold],
            Self::Close => &[PayableState::Open, PayableState::OnHold],
        }
    }

    /// The state it moves them to.
    #[must_use]
    pub fn to(self) -> PayableState {
        match self {
            Self::Hold => PayableState::OnHold,
            Self::Release => PayableState::Open,
            Self::Close => PayableState::Closed,
        }
    }
}

/// A payable that arises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayable {
    /// The site it is owed to.
    pub site_id: SiteId,
    /// What for.
    pub kind: PayableKind,
    /// Of this currency.
    pub currency: Currency,
    /// This much.
    pub amount: Fee,
    /// On hold when it arises while the study is paused.
    pub state: PayableState,
    /// The schedule that says so.
    pub fee_schedule_id: Uuid,
    /// The event that made it due.
    pub event_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_settlement_meets_every_state() {
        use PayableState::{Closed, OnHold, Open};
        let after = |settlement: Settlement, state| {
            if settlement.from().contains(&state) { settlement.to() } else { state }
        };
        let expected = [
            (Settlement::Hold, [OnHold, OnHold, Closed]),
            (Settlement::Release, [Open, Open, Closed]),
            (Settlement::Close, [Closed, Closed, Closed]),
        ];
        for (settlement, row) in expected {
            for (state, to) in PayableState::ALL.iter().zip(row) {
                assert_eq!(after(settlement, *state), to, "{settlement:?} meets {state:?}");
                assert_eq!(after(settlement, to), to, "{settlement:?} twice");
            }
        }
    }
}
