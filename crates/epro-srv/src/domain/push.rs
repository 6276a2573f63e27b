//! The states of a push: where it begins, when one that failed is tried again, and when it is given up.
//! Pure: time and chance are arguments.

use std::time::Duration;

use time::OffsetDateTime;

use super::campaign;
use contracts::named;

/// State of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PushState {
    /// Waiting to be sent.
    Pending,
    /// Waiting because the study is suspended.
    Held,
    /// The channel took it.
    Sent,
    /// Given up.
    Failed,
    /// No longer needed.
    Cancelled,
}

named!(PushState, "notification state", { Pending => "PENDING", Held => "HELD", Sent => "SENT", Failed => "FAILED", Cancelled => "CANCELLED" });

/// The way a push takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Only recorded: sent as soon as its row says so.
    Record,
    /// Posted to an HTTP webhook.
    Webhook,
}

named!(Channel, "notification channel", { Record => "RECORD", Webhook => "WEBHOOK" });

/// Where a push begins that is planned at `now`. For the recording channel the row is the sending, so one that is due is sent with it.
#[must_use]
pub fn initial_state(
    campaign: campaign::State,
    channel: Channel,
    due_at: OffsetDateTime,
    now: OffsetDateTime,
) -> PushState {
    match campaign {
        campaign::State::Suspended => PushState::Held,
        campaign::State::Closed => PushState::Cancelled,
        campaign::State::Active if channel == Channel::Record && due_at <= now => PushState::Sent,
        campaign::State::Active | campaign::State::Pending => PushState::Pending,
    }
}

/// How often and how far apart a push is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included; at least 1.
    pub max_attempts: u32,
    /// Wait after the first failure; doubles with each further one.
    pub first_backoff: Duration,
    /// Longest wait.
    pub max_backoff: Duration,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It may go well later: no connection, a timeout, an overloaded or broken receiver.
    Passing,
    /// The receiver will never take this push.
    Final,
}

/// What happens after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, not before this instant.
    RetryAt(OffsetDateTime),
    /// No further attempt.
    GiveUp,
}

/// Sorts an HTTP status outside 2xx. Those that speak of the request itself are final; a wrong credential, address or method is a mistake of the
/// configuration that somebody mends while the push waits.
#[must_use]
pub fn classify(http_status: u16) -> Failure {
    match http_status {
        400 | 410 | 413 | 415 | 422 => Failure::Final,
        _ => Failure::Passing,
    }
}

/// Decides after attempt number `attempts` (from 1) failed. `chance` in 0..1 spreads the wait over its upper half, so that a receiver that comes
/// back is not met by everybody at once.
#[must_use]
pub fn after_failure(policy: &RetryPolicy, attempts: u32, failure: Failure, now: OffsetDateTime, chance: f64) -> Next {
    if failure == Failure::Final || attempts >= policy.max_attempts {
        return Next::GiveUp;
    }
    let doublings = attempts.saturating_sub(1).min(31);
    let full = policy.first_backoff.saturating_mul(1_u32 << doublings).min(policy.max_backoff);
    Next::RetryAt(now + full.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-03-02 09:00 UTC);
    const POLICY: RetryPolicy =
        RetryPolicy { max_attempts: 8, first_backoff: Duration::from_secs(1), max_backoff: Duration::from_secs(60) };

    #[test]
    fn a_push_begins_where_its_campaign_stands() {
        let (past, future) = (NOW - Duration::from_secs(1), NOW + Duration::from_secs(1));
        for (campaign, channel, due_at, expected) in [
            (campaign::State::Active, Channel::Record, past, PushState::Sent),
            (campaign::State::Active, Channel::Record, NOW, PushState::Sent),
            (campaign::State::Active, Channel::Record, future, PushState::Pending),
            (campaign::State::Active, Channel::Webhook, past, PushState::Pending),
            (campaign::State::Suspended, Channel::Record, past, PushState::Held),
            (campaign::State::Closed, Channel::Webhook, past, PushState::Cancelled),
        ] {
            assert_eq!(initial_state(campaign, channel, due_at, NOW), expected, "{campaign:?} {channel:?}");
        }
    }

    #[test]
    fn statuses_fall_on_the_right_side() {
        for status in [400, 410, 413, 415, 422] {
            assert_eq!(classify(status), Failure::Final, "{status}");
        }
        for status in [301, 401, 403, 404, 405, 408, 409, 425, 429, 500, 502, 503, 504] {
            assert_eq!(classify(status), Failure::Passing, "{status}");
        }
    }

    #[test]
    fn a_final_failure_and_the_last_attempt_end_it() {
        assert_eq!(after_failure(&POLICY, 1, Failure::Final, NOW, 0.0), Next::GiveUp);
        assert_eq!(after_failure(&POLICY, 8, Failure::Passing, NOW, 0.0), Next::GiveUp);
        assert_eq!(after_failure(&POLICY, 1, Failure::Passing, NOW, 1.0), Next::RetryAt(NOW + Duration::from_secs(1)));
    }

    proptest! {
        #[test]
        fn a_wait_is_within_half_and_all_of_its_step(attempts in 1..8_u32, chance in 0.0..1.0) {
            let Next::RetryAt(at) = after_failure(&POLICY, attempts, Failure::Passing, NOW, chance) else {
                return Err(TestCaseError::fail("must be tried again"));
            };
            let step = Duration::from_secs(1 << (attempts - 1)).min(Duration::from_secs(60));
            prop_assert!(at >= NOW + step / 2 && at <= NOW + step);
        }
    }
}
