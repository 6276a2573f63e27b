//! Spans, the rule against overlaps, and site fees.

use proptest::prelude::*;
use time::Duration;
use time::macros::{date, datetime};

use super::*;

fn span(from: Date, to: Option<Date>) -> Span {
    Span::new(from, to).unwrap()
}

fn schedule(number: u128, span: Span) -> FeeSchedule {
    let fee = |minor| Fee::new(minor).unwrap();
    FeeSchedule {
        id: Uuid::from_u128(number),
        terms: Terms {
            currency: "EUR".parse().unwrap(),
            span,
            startup_fee: fee(1_000),
            site_fees: [(SiteId::new("S2").unwrap(), fee(2_000))].into(),
        },
        created_at: datetime!(2026-01-01 00:00 UTC),
        created_by: "anonymous".to_owned(),
    }
}

fn with(spans: &[Span]) -> Account {
    let mut account = Account::new("P1".parse().unwrap());
    account.schedules = (1..).zip(spans).map(|(number, span)| schedule(number, *span)).collect();
    account
}

#[test]
fn a_span_includes_its_first_and_last_day() {
    let march = span(date!(2026 - 03 - 01), Some(date!(2026 - 03 - 31)));
    for (day, is_in) in [
        (date!(2026 - 02 - 28), false),
        (date!(2026 - 03 - 01), true),
        (date!(2026 - 03 - 31), true),
        (date!(2026 - 04 - 01), false),
    ] {
        assert_eq!(march.contains(day), is_in, "{day}");
    }
    assert!(span(date!(2026 - 03 - 01), None).contains(date!(9999 - 12 - 31)));
}

#[test]
fn a_span_cannot_end_before_it_begins() {
    assert!(Span::new(date!(2026 - 03 - 02), Some(date!(2026 - 03 - 01))).is_err());
    assert!(Span::new(date!(2026 - 03 - 01), Some(date!(2026 - 03 - 01))).is_ok());
}

#[test]
fn a_schedule_with_a_day_of_another_is_refused_with_what_can_be_done() {
    let march = span(date!(2026 - 03 - 01), Some(date!(2026 - 03 - 31)));
    let account = with(&[march]);
    for (from, to) in [
        (date!(2026 - 03 - 31), None),
        (date!(2026 - 01 - 01), Some(date!(2026 - 03 - 01))),
        (date!(2026 - 01 - 01), None),
        (date!(2026 - 03 - 10), Some(date!(2026 - 03 - 10))),
    ] {
        let refusal = admit(&account, schedule(9, span(from, to))).unwrap_err();
        assert!(matches!(refusal, Refusal::Overlap { .. }), "{from} to {to:?}");
        assert_eq!(refusal.remedy(), "choose a span that ends by 2026-02-28 or begins on 2026-04-01 or later");
    }
    for (from, to) in [(date!(2026 - 04 - 01), None), (date!(2026 - 01 - 01), Some(date!(2026 - 02 - 28)))] {
        let admitted = admit(&account, schedule(9, span(from, to))).unwrap();
        let froms: Vec<Date> = admitted.account.schedules.iter().map(|one| one.terms.span.from()).collect();
        assert!(froms.is_sorted() && froms.len() == 2, "{froms:?}");
    }
}

#[test]
fn an_open_end_leaves_only_the_days_before() {
    let account = with(&[span(date!(2026 - 03 - 01), None)]);
    let refusal = admit(&account, schedule(9, span(date!(2030 - 01 - 01), None))).unwrap_err();
    assert_eq!(refusal.remedy(), "choose a span that ends by 2026-02-28");
}

#[test]
fn a_closed_account_and_a_full_one_take_no_schedule() {
    let mut account = with(&[]);
    account.state = State::Closed;
    let next = || schedule(9, span(date!(2000 - 01 - 01), Some(date!(2000 - 01 - 01))));
    assert!(matches!(admit(&account, next()), Err(Refusal::Closed { .. })));

    let days: Vec<Span> = (0..100)
        .map(|offset| {
            let day = date!(2026 - 01 - 01) + Duration::days(offset);
            span(day, Some(day))
        })
        .collect();
    assert!(matches!(admit(&with(&days), next()), Err(Refusal::TooMany { .. })));
}

#[test]
fn site_fees_are_bounded_over_all_schedules() {
    let mut account = with(&[]);
    let crowded = |number: u128| {
        let day = date!(2026 - 01 - 01) + Duration::days(number.try_into().unwrap());
        let mut schedule = schedule(number, span(day, Some(day)));
        let fee = |site: usize| (SiteId::new(format!("S{site}")).unwrap(), Fee::new(1).unwrap());
        schedule.terms.site_fees = (0..MAX_SITE_FEES).map(fee).collect();
        schedule
    };
    for number in 0..10 {
        account = admit(&account, crowded(number)).unwrap().account;
    }
    assert!(matches!(admit(&account, crowded(10)), Err(Refusal::TooManySiteFees { .. })));
}

#[test]
fn a_site_fee_stands_in_place_of_the_schedule_s() {
    let terms = schedule(1, span(date!(2026 - 03 - 01), None)).terms;
    let fee = |id: &str| terms.startup_fee_of(&SiteId::new(id).unwrap()).minor();
    assert_eq!((fee("S1"), fee("S2")), (1_000, 2_000));
}

proptest! {
    #[test]
    fn spans_overlap_exactly_when_they_share_a_day(a in 0..40_i64, b in 0..40_i64, c in 0..40_i64, d in 0..40_i64) {
        let day = |offset| date!(2026 - 01 - 01) + Duration::days(offset);
        let one = span(day(a.min(b)), Some(day(a.max(b))));
        let other = span(day(c.min(d)), Some(day(c.max(d))));
        let shared = (0..40).map(day).any(|day| one.contains(day) && other.contains(day));
        prop_assert_eq!(one.overlaps(other), shared);
        prop_assert_eq!(other.overlaps(one), shared);
    }
}
