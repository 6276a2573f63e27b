//! Laws that hold for any history: the books balance, the control account is the sum of the payables, a payable arises once, and the order
//! in which schedules and events arrive does not matter.

use std::collections::BTreeMap;

use contracts::ids::SiteId;
use proptest::prelude::*;
use time::macros::datetime;
use time::{Date, Duration, OffsetDateTime};
use uuid::Uuid;

use super::*;

const DAY_ONE: OffsetDateTime = datetime!(2026-01-01 09:00 UTC);

/// The books of one study, kept as the store keeps them.
#[derive(Debug, Clone)]
struct Books {
    account: Account,
    payables: BTreeMap<SiteId, NewPayable>,
    postings: Vec<Posting>,
}

impl Books {
    fn new() -> Self {
        Self { account: Account::new("P1".parse().unwrap()), payables: BTreeMap::new(), postings: Vec::new() }
    }

    fn apply(&mut self, (change, event_id): &(Change, String)) {
        let Some(step) = react(&self.account, change, event_id) else { return };
        self.account = step.account;
        if let Some(settlement) = step.settlement {
            for payable in self.payables.values_mut().filter(|one| settlement.from().contains(&one.state)) {
                payable.state = settlement.to();
            }
        }
        self.arise(step.arising);
    }

    fn set(&mut self, schedule: &FeeSchedule) -> bool {
        let Ok(admission) = admit(&self.account, schedule.clone()) else { return false };
        self.account = admission.account;
        self.arise(admission.arising);
        true
    }

    fn arise(&mut self, arising: Vec<NewPayable>) {
        for payable in arising {
            self.postings.extend(Posting::of(&payable));
            let doubled = self.payables.insert(payable.site_id.clone(), payable);
            assert_eq!(doubled, None, "a site has one start-up fee");
        }
    }

    fn trial_balance(&self) -> Vec<TrialBalanceLine> {
        let mut sums: BTreeMap<(LedgerAccount, Currency), (i64, i64)> = BTreeMap::new();
        for posting in &self.postings {
            for line in posting.lines() {
                let (debit, credit) = sums.entry((line.account, posting.currency)).or_default();
                *debit += line.debit_minor;
                *credit += line.credit_minor;
            }
        }
        let line = |((account, currency), (debit_minor, credit_minor))| TrialBalanceLine {
            account,
            currency,
            debit_minor,
            credit_minor,
        };
        sums.into_iter().map(line).collect()
    }
}

fn site(number: u8) -> SiteId {
    SiteId::new(format!("S{number}")).unwrap()
}

fn at(day: i64) -> OffsetDateTime {
    DAY_ONE + Duration::days(day)
}

fn day(day: i64) -> Date {
    at(day).date()
}

/// Activations before and after one start, pauses and resumes between; perhaps an end.
fn history(may_end: bool) -> impl Strategy<Value = Vec<(Change, String)>> {
    let activation =
        (0..6_u8, 0..40_i64).prop_map(|(number, day)| Change::SiteActivated { site_id: site(number), at: at(day) });
    let start =
        (0..40_i64, prop::collection::vec((0..6_u8, prop::option::of(0..40_i64)), 0..4)).prop_map(|(day, sites)| {
            Change::Started {
                at: at(day),
                sites: sites.into_iter().map(|(number, day)| (site(number), day.map(at))).collect(),
            }
        });
    let pause = prop_oneof![
        4 => activation.clone(),
        1 => Just(Change::Suspended),
        1 => (0..40_i64).prop_map(|day| Change::Resumed { at: at(day) }),
        u32::from(may_end) => Just(Change::Ended),
    ];
    (prop::collection::vec(activation, 0..4), start, prop::collection::vec(pause, 0..10)).prop_map(
        |(before, start, after)| {
            let changes = before.into_iter().chain([start]).chain(after);
            (1..).zip(changes).map(|(number, change): (u32, _)| (change, format!("e{number}"))).collect()
        },
    )
}

/// Schedules one behind the other, with gaps, in several currencies; fees down to 0.
fn schedules() -> impl Strategy<Value = Vec<FeeSchedule>> {
    let one = (1..15_i64, 0..5_i64, 0..3_usize, 0..1_000_i64, prop::collection::btree_map(0..6_u8, 0..1_000_i64, 0..3));
    prop::collection::vec(one, 0..5).prop_map(|all| {
        let (mut next, mut schedules) = (0, Vec::new());
        for (number, (days, gap, currency, fee, site_fees)) in (1..).zip(all) {
            let (from, to) = (next + gap, next + gap + days - 1);
            next = to + 1;
            let fee_of = |minor| Fee::new(minor).unwrap();
            schedules.push(FeeSchedule {
                id: Uuid::from_u128(number),
                terms: Terms {
                    currency: ["EUR", "USD", "JPY"][currency].parse().unwrap(),
                    span: Span::new(day(from), Some(day(to))).unwrap(),
                    startup_fee: fee_of(fee),
                    site_fees: site_fees.into_iter().map(|(number, minor)| (site(number), fee_of(minor))).collect(),
                },
                created_at: DAY_ONE,
                created_by: "anonymous".to_owned(),
            });
        }
        schedules
    })
}

/// Plays events in their order, and puts each schedule before the event that `places` names for it.
fn play(events: &[(Change, String)], schedules: &[FeeSchedule], places: &[usize]) -> Books {
    let mut books = Books::new();
    for turn in 0..=events.len() {
        for (schedule, place) in schedules.iter().zip(places) {
            if place % (events.len() + 1) == turn {
                books.set(schedule);
            }
        }
        if let Some(event) = events.get(turn) {
            books.apply(event);
        }
    }
    books
}

proptest! {
    #[test]
    fn every_posting_balances_and_so_do_the_books(
        events in history(true),
        schedules in schedules(),
        places in prop::collection::vec(0..20_usize, 5),
    ) {
        let books = play(&events, &schedules, &places);
        for posting in &books.postings {
            let [debit, credit] = posting.lines();
            prop_assert!(posting.amount_minor > 0);
            prop_assert_ne!(debit.account, credit.account);
            prop_assert_eq!(debit.debit_minor + credit.debit_minor, debit.credit_minor + credit.credit_minor);
        }
        for total in totals(&books.trial_balance()).unwrap() {
            prop_assert_eq!(total.debit_minor, total.credit_minor);
        }
    }

    #[test]
    fn the_control_account_is_the_sum_of_the_payables(
        events in history(true),
        schedules in schedules(),
        places in prop::collection::vec(0..20_usize, 5),
    ) {
        let books = play(&events, &schedules, &places);
        let mut owed: BTreeMap<Currency, i64> = BTreeMap::new();
        for payable in books.payables.values().filter(|payable| payable.amount.minor() > 0) {
            *owed.entry(payable.currency).or_default() += payable.amount.minor();
        }
        let lines = books.trial_balance();
        let credited = lines.iter().filter(|line| line.account == LedgerAccount::SitePayables);
        prop_assert_eq!(owed, credited.map(|line| (line.currency, line.credit_minor)).collect());
    }

    #[test]
    fn any_order_of_schedules_and_events_yields_the_same_payables(
        events in history(false),
        schedules in schedules(),
        places in prop::collection::vec(0..20_usize, 5),
    ) {
        let first = play(&events, &schedules, &[0; 5]);
        let mixed = play(&events, &schedules, &places);
        let last = play(&events, &schedules, &[events.len(); 5]);
        prop_assert_eq!(&first.payables, &mixed.payables);
        prop_assert_eq!(&first.payables, &last.payables);
    }

    #[test]
    fn an_event_that_comes_twice_has_no_second_effect(
        events in history(true),
        schedules in schedules(),
    ) {
        let mut once = Books::new();
        schedules.iter().for_each(|schedule| assert!(once.set(schedule)));
        for event in &events {
            once.apply(event);
            let mut twice = once.clone();
            twice.apply(event);
            prop_assert_eq!(&once.account, &twice.account);
            prop_assert_eq!(&once.payables, &twice.payables);
            prop_assert_eq!(&once.postings, &twice.postings);
        }
    }

    #[test]
    fn a_payable_stands_as_its_account_does(
        events in history(true),
        schedules in schedules(),
        places in prop::collection::vec(0..20_usize, 5),
    ) {
        let books = play(&events, &schedules, &places);
        let expected = match books.account.state {
            State::Closed => Some(PayableState::Closed),
            running => running.of_new_payables(),
        };
        prop_assert!(books.payables.values().all(|payable| Some(payable.state) == expected));
    }
}
