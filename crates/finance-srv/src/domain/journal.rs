//! Double entries. A posting is one amount that is debited to one ledger account and credited to another: it cannot be out of balance, so
//! neither can any sum of postings.
//!
//! The chart of accounts holds control accounts only. What is owed to which site is in the payables, which are the subsidiary ledger:
//! the credit of `liability:site-payables` is the sum of the payables of that currency.

use std::collections::BTreeMap;

use super::{Currency, Money, NewPayable, PayableKind};
use contracts::named;

/// The chart of accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LedgerAccount {
    /// Expense: start-up fees of sites.
    SiteStartupExpense,
    /// Liability: what is owed to sites.
    SitePayables,
}

named!(LedgerAccount, "ledger account", {
    SiteStartupExpense => "expense:site-startup",
    SitePayables => "liability:site-payables",
});

/// One posting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// The account that is debited.
    pub debit: LedgerAccount,
    /// The account that is credited; another one.
    pub credit: LedgerAccount,
    /// Of this currency.
    pub currency: Currency,
    /// In minor units, above 0.
    pub amount_minor: i64,
    /// What is booked, in words.
    pub description: String,
}

/// One side of a posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The account.
    pub account: LedgerAccount,
    /// In minor units; 0 on the credit side.
    pub debit_minor: i64,
    /// In minor units; 0 on the debit side.
    pub credit_minor: i64,
}

impl Posting {
    /// Books what arises. None for an amount of 0: nothing is owed, so there is nothing to book.
    #[must_use]
    pub fn of(payable: &NewPayable) -> Option<Self> {
        let (debit, what) = match payable.kind {
            PayableKind::StartupFee => (LedgerAccount::SiteStartupExpense, "start-up fee"),
        };
        let amount_minor = payable.amount.minor();
        let money = Money { minor: amount_minor, currency: payable.currency };
        (amount_minor > 0).then(|| Self {
            debit,
            credit: LedgerAccount::SitePayables,
            currency: payable.currency,
            amount_minor,
            description: format!("{what} of site {}, {money}", payable.site_id),
        })
    }

    /// Its two sides, the debit first.
    #[must_use]
    pub fn lines(&self) -> [Line; 2] {
        [
            Line { account: self.debit, debit_minor: self.amount_minor, credit_minor: 0 },
            Line { account: self.credit, debit_minor: 0, credit_minor: self.amount_minor },
        ]
    }
}

/// Sums of one ledger account in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialBalanceLine {
    /// The account.
    pub account: LedgerAccount,
    /// The currency.
    pub currency: Currency,
    /// Sum of the debits in minor units.
    pub debit_minor: i64,
    /// Sum of the credits in minor units.
    pub credit_minor: i64,
}

/// Sums of all ledger accounts in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialBalanceTotal {
    /// The currency.
    pub currency: Currency,
    /// Sum of the debits in minor units.
    pub debit_minor: i64,
    /// Sum of the credits in minor units.
    pub credit_minor: i64,
}

/// A sum beyond 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sums in {0} exceed 64 bits; ask for the trial balance of one study")]
pub struct SumTooLarge(Currency);

/// The totals per currency, ordered by it.
///
/// # Errors
/// When a sum leaves the range of 64 bits; it never wraps.
pub fn totals(lines: &[TrialBalanceLine]) -> Result<Vec<TrialBalanceTotal>, SumTooLarge> {
    let mut sums: BTreeMap<Currency, (i64, i64)> = BTreeMap::new();
    for line in lines {
        let (debit, credit) = sums.entry(line.currency).or_default();
        let too_large = SumTooLarge(line.currency);
        *debit = debit.checked_add(line.debit_minor).ok_or(too_large)?;
        *credit = credit.checked_add(line.credit_minor).ok_or(too_large)?;
    }
    let total = |(currency, (debit_minor, credit_minor))| TrialBalanceTotal { currency, debit_minor, credit_minor };
    Ok(sums.into_iter().map(total).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(code: &str, debit_minor: i64, credit_minor: i64) -> TrialBalanceLine {
        let account = LedgerAccount::SitePayables;
        TrialBalanceLine { account, currency: code.parse().unwrap(), debit_minor, credit_minor }
    }

    #[test]
    fn currencies_are_never_added_together() {
        let sums = totals(&[line("USD", 1, 2), line("EUR", 3, 0), line("USD", 10, 20)]).unwrap();
        let shown: Vec<_> = sums.iter().map(|sum| (sum.currency.code(), sum.debit_minor, sum.credit_minor)).collect();
        assert_eq!(shown, [("EUR", 3, 0), ("USD", 11, 22)]);
    }

    #[test]
    fn a_sum_beyond_64_bits_is_an_error() {
        assert!(totals(&[line("EUR", i64::MAX, 0), line("EUR", 1, 0)]).is_err());
    }
}
