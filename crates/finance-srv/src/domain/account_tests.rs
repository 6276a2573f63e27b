//! Every state meets every event; and since when a site is due.

use time::macros::{date, datetime};

use super::*;

const STARTED: OffsetDateTime = datetime!(2026-03-02 09:00 UTC);

fn site(id: &str) -> SiteId {
    SiteId::new(id).unwrap()
}

fn started(sites: &[&str]) -> Change {
    Change::Started { at: STARTED, sites: sites.iter().map(|id| (site(id), None)).collect() }
}

fn activated(id: &str, at: OffsetDateTime) -> Change {
    Change::SiteActivated { site_id: site(id), at }
}

/// The account after these events, each with its place in the list as id.
fn after(changes: &[Change]) -> Account {
    let mut account = Account::new("P1".parse().unwrap());
    for (place, change) in changes.iter().enumerate() {
        if let Some(step) = react(&account, change, &format!("e{}", place + 1)) {
            account = step.account;
        }
    }
    account
}

fn due(account: &Account, id: &str) -> Option<(Date, String)> {
    account.sites[&site(id)].due.clone().map(|due| (due.on, due.event_id))
}

#[test]
fn every_state_meets_every_event() {
    use Settlement::{Close, Hold, Release};
    use State::{Active, Closed, Pending, Suspended};
    let changes = [started(&[]), Change::Suspended, Change::Resumed { at: STARTED }, Change::Ended];
    let expected = [
        (
            Pending,
            [Some((Active, None)), Some((Suspended, Some(Hold))), Some((Active, None)), Some((Closed, Some(Close)))],
        ),
        (Active, [None, Some((Suspended, Some(Hold))), None, Some((Closed, Some(Close)))]),
        (Suspended, [None, None, Some((Active, Some(Release))), Some((Closed, Some(Close)))]),
        (Closed, [None, None, None, None]),
    ];
    for (state, row) in expected {
        let account = Account { state, ..Account::new("P1".parse().unwrap()) };
        for (change, outcome) in changes.iter().zip(row) {
            let step = react(&account, change, "e1").map(|step| (step.account.state, step.settlement));
            assert_eq!(step, outcome, "{state:?} meets {change:?}");
        }
    }
}

#[test]
fn a_listed_site_is_due_on_the_day_of_the_start() {
    let account = after(&[started(&["S1", "S2"])]);
    for id in ["S1", "S2"] {
        assert_eq!(due(&account, id), Some((date!(2026 - 03 - 02), "e1".to_owned())));
    }
}

#[test]
fn a_plain_start_without_sites_counts_those_activated_before() {
    let account = after(&[activated("S1", datetime!(2026-02-01 12:00 UTC)), started(&[])]);
    assert_eq!(due(&account, "S1"), Some((date!(2026 - 03 - 02), "e2".to_owned())));
}

#[test]
fn a_site_activated_after_the_start_is_due_on_its_own_day() {
    let account = after(&[started(&["S1"]), activated("S2", datetime!(2026-04-05 23:30 -2))]);
    // 01:30 UTC of the next day.
    assert_eq!(due(&account, "S2"), Some((date!(2026 - 04 - 06), "e2".to_owned())));
}

#[test]
fn an_activation_that_is_heard_late_is_due_with_the_start() {
    let account = after(&[started(&[]), activated("S1", datetime!(2026-02-01 12:00 UTC))]);
    assert_eq!(due(&account, "S1"), Some((date!(2026 - 03 - 02), "e2".to_owned())));
}

#[test]
fn a_start_in_the_past_does_not_pay_a_site_before_its_activation() {
    let account = after(&[activated("S1", datetime!(2026-05-01 12:00 UTC)), started(&[])]);
    assert_eq!(due(&account, "S1"), Some((date!(2026 - 05 - 01), "e2".to_owned())));
}

#[test]
fn nothing_is_due_before_the_start() {
    assert_eq!(due(&after(&[activated("S1", STARTED)]), "S1"), None);
    assert_eq!(due(&after(&[Change::Suspended, activated("S1", STARTED)]), "S1"), None);
}

#[test]
fn a_second_activation_of_a_site_changes_nothing() {
    let account = after(&[started(&["S1"])]);
    assert_eq!(react(&account, &activated("S1", STARTED), "e2"), None);
}

#[test]
fn a_closed_account_hears_of_no_site() {
    let account = after(&[started(&[]), Change::Ended]);
    assert_eq!(react(&account, &activated("S1", STARTED), "e3"), None);
}

#[test]
fn a_resume_stands_for_a_start_that_was_discarded() {
    let resumed = Change::Resumed { at: datetime!(2026-06-01 00:00 UTC) };
    let account = after(&[activated("S1", STARTED), Change::Suspended, resumed]);
    assert_eq!(account.state, State::Active);
    assert_eq!(due(&account, "S1"), Some((date!(2026 - 06 - 01), "e3".to_owned())));
}

#[test]
fn a_resume_keeps_the_start() {
    let account =
        after(&[started(&["S1"]), Change::Suspended, Change::Resumed { at: datetime!(2026-06-01 00:00 UTC) }]);
    assert_eq!(account.start.map(|start| start.event_id).as_deref(), Some("e1"));
}
