//! A revoke or a stop in progress: waits until what is in hand is over, or only waits for something that will not come, or the deadline; then
//! until the position store knows. Pure decisions; the data thread acts on them.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::time::Instant;

use crate::commits::SAVE_TIMEOUT;
use crate::partitions::Partitions;
use crate::report::CircuitState;

/// How long a drain waits when everything left waits for the environment or for a release.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Drain {
    pub(crate) slots: Vec<u32>,
    pub(crate) ack: SyncSender<()>,
    /// A revoke ends its partitions; a stop keeps them until the consumer closes.
    pub(crate) is_revoke: bool,
    began: Instant,
    deadline: Instant,
    /// Set when the records are over: how long the store may take.
    save_until: Option<Instant>,
}

/// What a drain waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    ForRecords,
    ForTheStore,
    NoMore,
}

impl Drain {
    pub(crate) fn new(slots: Vec<u32>, deadline: Instant, ack: SyncSender<()>, is_revoke: bool) -> Self {
        Self { slots, ack, is_revoke, began: Instant::now(), deadline, save_until: None }
    }

    /// What is left to wait for. `store_is_behind` is asked only once the records are over.
    pub(crate) fn waits(
        &mut self,
        partitions: &Partitions,
        circuit: CircuitState,
        now: Instant,
        store_is_behind: impl FnOnce(&[u32]) -> bool,
    ) -> Waits {
        if self.save_until.is_none() {
            if !self.records_are_over(partitions, circuit, now) {
                return Waits::ForRecords;
            }
            self.save_until = Some(now + SAVE_TIMEOUT);
        }
        if self.save_until.is_some_and(|until| now < until) && store_is_behind(&self.slots) {
            return Waits::ForTheStore;
        }
        Waits::NoMore
    }

    fn records_are_over(&self, partitions: &Partitions, circuit: CircuitState, now: Instant) -> bool {
        let undone = |slot: &u32| partitions.get(*slot).ledger.undone();
        if now >= self.deadline || self.slots.iter().all(|slot| undone(slot) == 0) {
            return true;
        }
        let can_end = |slot: &u32| circuit == CircuitState::Closed && partitions.get(*slot).held.is_empty();
        now >= self.began + PATIENCE && self.slots.iter().filter(|slot| can_end(slot)).all(|slot| undone(slot) == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::record::TopicPartition;
    use crate::shared::{Begin, HeldSince};

    /// One partition with one record in hand, being drained until ten seconds from now.
    fn given() -> (Partitions, u64, Drain, Instant) {
        let mut partitions = Partitions::default();
        let name = TopicPartition::new("t", 0);
        let slot = partitions.assign(&name, Begin::Fresh);
        let ticket = partitions.dispatch(slot, 5, 0, 1, Instant::now());
        let now = Instant::now();
        let drain = Drain::new(vec![slot], now + Duration::from_secs(10), sync_channel(1).0, true);
        (partitions, ticket, drain, now)
    }

    #[test]
    fn waits_for_records_then_for_the_store() {
        let (mut partitions, ticket, mut drain, now) = given();
        let closed = CircuitState::Closed;
        let later = now + Duration::from_secs(9);
        assert_eq!(drain.waits(&partitions, closed, later, |_| true), Waits::ForRecords);
        let generation = partitions.get(0).generation;
        assert!(partitions.complete(0, generation, ticket));
        assert_eq!(drain.waits(&partitions, closed, later, |_| true), Waits::ForTheStore);
        assert_eq!(drain.waits(&partitions, closed, later, |_| false), Waits::NoMore);
    }

    #[test]
    fn neither_waits_beyond_its_deadline() {
        let (partitions, _, mut drain, now) = given();
        let late = now + Duration::from_secs(10);
        assert_eq!(drain.waits(&partitions, CircuitState::Closed, late, |_| true), Waits::ForTheStore);
        let too_late = late + SAVE_TIMEOUT;
        assert_eq!(drain.waits(&partitions, CircuitState::Closed, too_late, |_| true), Waits::NoMore);
    }

    #[test]
    fn what_waits_for_the_environment_or_a_release_is_not_waited_for_long() {
        let (partitions, _, mut drain, now) = given();
        let open = CircuitState::Open;
        assert_eq!(drain.waits(&partitions, open, now, |_| false), Waits::ForRecords);
        assert_eq!(drain.waits(&partitions, open, now + 2 * PATIENCE, |_| false), Waits::NoMore);

        let (mut partitions, _, mut drain, now) = given();
        partitions.get_mut(0).held.push(HeldSince {
            partition: TopicPartition::new("t", 0),
            offset: 5,
            cause: "full".to_owned(),
            since: now,
        });
        let patient = now + 2 * PATIENCE;
        assert_eq!(drain.waits(&partitions, CircuitState::Closed, patient, |_| false), Waits::NoMore);
    }
}
