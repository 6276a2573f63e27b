//! What requests must look like. Every violation is collected before any is reported.

use std::collections::BTreeMap;

use contracts::finance::v1 as proto;
use contracts::ids::{ProjectId, SiteId};
use service_kit::status::{ApiError, FieldViolations};
use time::Date;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::domain::{Currency, Fee, MAX_SITE_FEES, PayableState, Span, Terms};

const MAX_REQUEST_ID: usize = 128;
const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// A SetFeeSchedule request that checked out: its study and what the schedule says.
pub(super) fn fee_schedule(
    request: &proto::SetFeeScheduleRequest,
    mut violations: FieldViolations,
) -> Result<(ProjectId, Terms), ApiError> {
    let v = &mut violations;
    let study = v.check("study_id", request.study_id.parse::<ProjectId>());
    let currency = v.check("currency_code", request.currency_code.parse::<Currency>());
    let from = day("effective_from", &request.effective_from, v);
    let to = match request.effective_to.as_str() {
        "" => Some(None),
        given => day("effective_to", given, v).map(Some),
    };
    let span = from.zip(to).and_then(|(from, to)| v.check("effective_to", Span::new(from, to)));
    let startup_fee = v.check("startup_fee_minor", Fee::new(request.startup_fee_minor));
    let site_fees = site_fees(&request.site_fees, v);
    request_id(&request.request_id, v);
    match (study, currency, span, startup_fee) {
        (Some(study), Some(currency), Some(span), Some(startup_fee)) if violations.is_empty() => {
            Ok((study, Terms { currency, span, startup_fee, site_fees }))
        }
        _ => Err(violations.into()),
    }
}

fn site_fees(fees: &[proto::SiteFee], violations: &mut FieldViolations) -> BTreeMap<SiteId, Fee> {
    let mut checked = BTreeMap::new();
    if fees.len() > MAX_SITE_FEES {
        violations.add("site_fees", format!("has {} sites; give at most {MAX_SITE_FEES}", fees.len()));
        return checked;
    }
    for (index, fee) in fees.iter().enumerate() {
        let field = |name: &str| format!("site_fees[{index}].{name}");
        let site_id = violations.check(field("site_id"), fee.site_id.parse::<SiteId>());
        let amount = violations.check(field("startup_fee_minor"), Fee::new(fee.startup_fee_minor));
        let Some((site_id, amount)) = site_id.zip(amount) else { continue };
        let repeated = format!("{site_id} is in the request twice; name each site once");
        if checked.insert(site_id, amount).is_some() {
            violations.add(field("site_id"), repeated);
        }
    }
    checked
}

/// The study a reading request names.
pub(super) fn study(text: &str) -> Result<ProjectId, ApiError> {
    text.parse().map_err(|error: contracts::ids::InvalidId| ApiError::invalid("study_id", error.to_string()))
}

/// The state that a list is filtered by.
pub(super) fn state_filter(value: i32, violations: &mut FieldViolations) -> Option<PayableState> {
    match proto::PayableState::try_from(value) {
        Ok(proto::PayableState::Unspecified) => None,
        Ok(proto::PayableState::Open) => Some(PayableState::Open),
        Ok(proto::PayableState::OnHold) => Some(PayableState::OnHold),
        Ok(proto::PayableState::Closed) => Some(PayableState::Closed),
        Err(_) => {
            violations.add("state", format!("{value} is not a state of a payable; leave it out for all"));
            None
        }
    }
}

/// The site that a list is filtered by.
pub(super) fn site_filter(text: &str, violations: &mut FieldViolations) -> Option<SiteId> {
    if text.is_empty() { None } else { violations.check("site_id", text.parse::<SiteId>()) }
}

/// The value, if nothing at all was wrong.
pub(super) fn finish<T>(violations: FieldViolations, value: Option<T>) -> Result<T, ApiError> {
    match value {
        Some(value) if violations.is_empty() => Ok(value),
        _ => Err(violations.into()),
    }
}

fn day(field: &str, text: &str, violations: &mut FieldViolations) -> Option<Date> {
    // The parser takes signs; the one way to write a day has ten characters.
    let day = Date::parse(text, DAY).ok().filter(|_| text.len() == "YYYY-MM-DD".len());
    if day.is_none() {
        let shown: String = text.chars().take(32).collect();
        violations.add(field, format!("{shown:?} is not a day; write YYYY-MM-DD"));
    }
    day
}

fn request_id(id: &str, violations: &mut FieldViolations) {
    let chars = id.chars().count();
    violations.require(
        chars <= MAX_REQUEST_ID,
        "request_id",
        format!("has {chars} characters; give at most {MAX_REQUEST_ID}"),
    );
    let printable = !id.chars().any(char::is_control);
    violations.require(printable, "request_id", "contains a control character; remove it");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> proto::SetFeeScheduleRequest {
        proto::SetFeeScheduleRequest {
            study_id: "P1".into(),
            currency_code: "EUR".into(),
            effective_from: "2026-01-01".into(),
            startup_fee_minor: 250_000,
            ..Default::default()
        }
    }

    fn wrong_fields(request: &proto::SetFeeScheduleRequest) -> Vec<String> {
        match fee_schedule(request, FieldViolations::new()) {
            Ok(_) => Vec::new(),
            Err(ApiError::Invalid(violations)) => violations.iter().map(|(field, _)| field.to_owned()).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_whole_request_is_taken() {
        let (study, terms) = fee_schedule(&request(), FieldViolations::new()).unwrap();
        assert_eq!((study.as_str(), terms.currency.code(), terms.span.to()), ("P1", "EUR", None));
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let fee = |site: &str, minor| proto::SiteFee { site_id: site.into(), startup_fee_minor: minor };
        let request = proto::SetFeeScheduleRequest {
            study_id: "P 1".into(),
            currency_code: "eur".into(),
            effective_from: "2026-02-30".into(),
            effective_to: "later".into(),
            startup_fee_minor: -1,
            site_fees: vec![fee("S1", 1), fee("S1", 2), fee("", 3), fee("S2", i64::MAX)],
            request_id: "x".repeat(129),
        };
        let expected = [
            "study_id",
            "currency_code",
            "effective_from",
            "effective_to",
            "startup_fee_minor",
            "site_fees[1].site_id",
            "site_fees[2].site_id",
            "site_fees[3].startup_fee_minor",
            "request_id",
        ];
        assert_eq!(wrong_fields(&request), expected);
    }

    #[test]
    fn days_are_written_one_way() {
        for text in ["", "2026-1-1", "01.01.2026", "2026-01-01T00:00:00Z", "-2026-01-01", "+12026-01-01"] {
            let request = proto::SetFeeScheduleRequest { effective_from: text.into(), ..request() };
            assert_eq!(wrong_fields(&request), ["effective_from"], "{text:?}");
        }
        let request = proto::SetFeeScheduleRequest { effective_to: "2025-12-31".into(), ..request() };
        assert_eq!(wrong_fields(&request), ["effective_to"]);
    }

    #[test]
    fn site_fees_are_bounded() {
        let fee = |number| proto::SiteFee { site_id: format!("S{number}"), startup_fee_minor: 1 };
        let with = |count| proto::SetFeeScheduleRequest { site_fees: (0..count).map(fee).collect(), ..request() };
        assert!(wrong_fields(&with(MAX_SITE_FEES)).is_empty());
        assert_eq!(wrong_fields(&with(MAX_SITE_FEES + 1)), ["site_fees"]);
    }
}
