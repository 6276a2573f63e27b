//! Amounts as whole minor units. No floating point anywhere.

use std::fmt;

use super::Currency;

/// The largest fee in minor units. Far above any real one, and far enough below the range of 64 bits that millions of fees add up.
pub const MAX_FEE_MINOR: i64 = 1_000_000_000_000;

/// A fee in minor units, 0 to [`MAX_FEE_MINOR`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fee(i64);

/// An amount that is no fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is out of range; give 0 to {MAX_FEE_MINOR} minor units")]
pub struct FeeOutOfRange(i64);

impl Fee {
    /// A fee of this many minor units.
    ///
    /// # Errors
    /// When it is negative or above [`MAX_FEE_MINOR`].
    pub fn new(minor: i64) -> Result<Self, FeeOutOfRange> {
        if (0..=MAX_FEE_MINOR).contains(&minor) { Ok(Self(minor)) } else { Err(FeeOutOfRange(minor)) }
    }

    /// In minor units.
    #[must_use]
    pub fn minor(self) -> i64 {
        self.0
    }
}

/// An amount with its currency, for people: "2500.00 EUR".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    /// In minor units.
    pub minor: i64,
    /// Of this currency.
    pub currency: Currency,
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.currency.decimals());
        let sign = if self.minor < 0 { "-" } else { "" };
        // At least one digit before the point.
        let digits = format!("{:0>width$}", self.minor.unsigned_abs(), width = decimals + 1);
        let (major, minor) = digits.split_at(digits.len() - decimals);
        let point = if minor.is_empty() { "" } else { "." };
        write!(f, "{sign}{major}{point}{minor} {}", self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fee_keeps_its_range() {
        for minor in [0, 1, MAX_FEE_MINOR] {
            assert_eq!(Fee::new(minor).unwrap().minor(), minor);
        }
        for minor in [-1, MAX_FEE_MINOR + 1, i64::MIN, i64::MAX] {
            assert_eq!(Fee::new(minor), Err(FeeOutOfRange(minor)));
        }
    }

    #[test]
    fn money_is_shown_with_the_decimals_of_its_currency() {
        let shown = |minor, code: &str| Money { minor, currency: code.parse().unwrap() }.to_string();
        assert_eq!(shown(250_000, "EUR"), "2500.00 EUR");
        assert_eq!(shown(7, "EUR"), "0.07 EUR");
        assert_eq!(shown(7, "JPY"), "7 JPY");
        assert_eq!(shown(0, "KWD"), "0.000 KWD");
        assert_eq!(shown(i64::MIN, "USD"), "-92233720368547758.08 USD");
    }
}
