//! Domain types to messages. Nothing is decided or checked here.

use contracts::finance::v1 as proto;
use contracts::ids::ProjectId;
use prost_types::Timestamp;
use time::OffsetDateTime;

use crate::domain::{FeeSchedule, Line, PayableKind, PayableState, State, TrialBalanceLine, TrialBalanceTotal};
use crate::store::journal::Entry;
use crate::store::payable::Payable;
use crate::store::view::{AppliedEvent, View};

pub(super) fn account(study: &ProjectId, view: View) -> proto::Account {
    let (last_event_id, last_event_applied_at) = view.last_event.unzip();
    proto::Account {
        study_id: study.to_string(),
        state: state(view.state).into(),
        payable_count: view.totals.iter().map(|total| total.count).sum(),
        payable_totals: view
            .totals
            .iter()
            .map(|total| proto::CurrencyAmount {
                currency_code: total.currency.code().to_owned(),
                amount_minor: total.amount_minor,
            })
            .collect(),
        fee_schedules: view.schedules.iter().map(|schedule| fee_schedule(study, schedule)).collect(),
        last_event_id: last_event_id.unwrap_or_default(),
        last_event_applied_at: last_event_applied_at.map(timestamp),
        started_at: view.started_at.map(timestamp),
        applied_events: view.applied_events.into_iter().map(applied_event).collect(),
    }
}

pub(super) fn fee_schedule(study: &ProjectId, schedule: &FeeSchedule) -> proto::FeeSchedule {
    let terms = &schedule.terms;
    let site_fee = |(site_id, fee): (&contracts::ids::SiteId, &crate::domain::Fee)| proto::SiteFee {
        site_id: site_id.to_string(),
        startup_fee_minor: fee.minor(),
    };
    proto::FeeSchedule {
        study_id: study.to_string(),
        fee_schedule_id: schedule.id.to_string(),
        currency_code: terms.currency.code().to_owned(),
        effective_from: terms.span.from().to_string(),
        effective_to: terms.span.to().map(|day| day.to_string()).unwrap_or_default(),
        startup_fee_minor: terms.startup_fee.minor(),
        site_fees: terms.site_fees.iter().map(site_fee).collect(),
        created_at: Some(timestamp(schedule.created_at)),
    }
}

pub(super) fn payable(study: &ProjectId, payable: Payable) -> proto::Payable {
    proto::Payable {
        payable_id: payable.id.to_string(),
        study_id: study.to_string(),
        site_id: payable.site_id.to_string(),
        kind: kind(payable.kind).into(),
        currency_code: payable.currency.code().to_owned(),
        amount_minor: payable.amount.minor(),
        state: payable_state(payable.state).into(),
        fee_schedule_id: payable.fee_schedule_id.to_string(),
        event_id: payable.event_id,
        last_event_id: payable.last_event_id,
        created_at: Some(timestamp(payable.created_at)),
        updated_at: Some(timestamp(payable.updated_at)),
    }
}

pub(super) fn journal_entry(study: &ProjectId, entry: Entry) -> proto::JournalEntry {
    let line = |line: Line| proto::JournalLine {
        ledger_account: line.account.as_str().to_owned(),
        debit_minor: line.debit_minor,
        credit_minor: line.credit_minor,
    };
    proto::JournalEntry {
        entry_id: entry.id,
        study_id: study.to_string(),
        payable_id: entry.payable_id.to_string(),
        event_id: entry.event_id,
        currency_code: entry.posting.currency.code().to_owned(),
        lines: entry.posting.lines().map(line).into(),
        description: entry.posting.description,
        posted_at: Some(timestamp(entry.posted_at)),
    }
}

pub(super) fn trial_balance_line(line: TrialBalanceLine) -> proto::TrialBalanceLine {
    proto::TrialBalanceLine {
        ledger_account: line.account.as_str().to_owned(),
        currency_code: line.currency.code().to_owned(),
        debit_minor: line.debit_minor,
        credit_minor: line.credit_minor,
    }
}

pub(super) fn trial_balance_total(total: TrialBalanceTotal) -> proto::TrialBalanceTotal {
    proto::TrialBalanceTotal {
        currency_code: total.currency.code().to_owned(),
        debit_minor: total.debit_minor,
        credit_minor: total.credit_minor,
    }
}

fn applied_event(event: AppliedEvent) -> proto::AppliedEvent {
    proto::AppliedEvent {
        event_id: event.event_id,
        event_type: event.event_type,
        sequence: event.sequence.unwrap_or_default(),
        applied_at: Some(timestamp(event.applied_at)),
    }
}

fn state(state: State) -> proto::AccountState {
    match state {
        State::Pending => proto::AccountState::Pending,
        State::Active => proto::AccountState::Active,
        State::Suspended => proto::AccountState::Suspended,
        State::Closed => proto::AccountState::Closed,
    }
}

fn payable_state(state: PayableState) -> proto::PayableState {
    match state {
        PayableState::Open => proto::PayableState::Open,
        PayableState::OnHold => proto::PayableState::OnHold,
        PayableState::Closed => proto::PayableState::Closed,
    }
}

fn kind(kind: PayableKind) -> proto::PayableKind {
    match kind {
        PayableKind::StartupFee => proto::PayableKind::StartupFee,
    }
}

fn timestamp(at: OffsetDateTime) -> Timestamp {
    // Below a billion by the type's own rule, so the conversion always succeeds.
    let nanos = i32::try_from(at.nanosecond()).unwrap_or_default();
    Timestamp { seconds: at.unix_timestamp(), nanos }
}
