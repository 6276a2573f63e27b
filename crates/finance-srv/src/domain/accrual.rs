//! Which payables arise: one per due site, as soon as a schedule is in force on its day. The order in which both became known does not matter.

use super::{Account, NewPayable, PayableKind};

/// Lets everything arise that is due, has a fee and has not arisen. Empty unless the study runs or is paused.
pub(super) fn accrue(account: &mut Account) -> Vec<NewPayable> {
    let Some(state) = account.state.of_new_payables() else { return Vec::new() };
    let schedules = &account.schedules;
    let mut arising = Vec::new();
    for (site_id, site) in &mut account.sites {
        let Some(due) = site.due.as_ref().filter(|_| !site.has_payable) else { continue };
        let Some(schedule) = schedules.iter().find(|schedule| schedule.terms.span.contains(due.on)) else { continue };
        arising.push(NewPayable {
            site_id: site_id.clone(),
            kind: PayableKind::StartupFee,
            currency: schedule.terms.currency,
            amount: schedule.terms.startup_fee_of(site_id),
            state,
            fee_schedule_id: schedule.id,
            event_id: due.event_id.clone(),
        });
        site.has_payable = true;
    }
    arising
}
