//! The rules of money owed to sites: pure functions from what is known and what happened to what follows. No SQL, no async, no clock.

mod account;
mod accrual;
mod currency;
mod fees;
mod journal;
mod money;
mod payable;

#[cfg(test)]
mod law_tests;

pub use account::{Account, Change, Due, Site, Start, State, Step, react};
pub use currency::{Currency, UnknownCurrency};
pub use fees::{
    Admission, FeeSchedule, MAX_SCHEDULES, MAX_SITE_FEES, Refusal, Span, SpanEndsBeforeItBegins, Terms, admit,
};
pub use journal::{LedgerAccount, Line, Posting, SumTooLarge, TrialBalanceLine, TrialBalanceTotal, totals};
pub use money::{Fee, FeeOutOfRange, MAX_FEE_MINOR, Money};
pub use payable::{NewPayable, PayableKind, PayableState, Settlement};
