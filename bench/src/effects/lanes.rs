//! Which transactions may run side by side: those that share no study. Knows batches of events, nothing of databases.

use std::collections::HashMap;

use super::events::Event;

/// Deals batches to so many lanes, of each lane in order; no study is in two lanes.
pub(super) fn deal(batches: Vec<Vec<Event>>, lanes: usize) -> Vec<Vec<Vec<Event>>> {
    let mut groups = Groups::of(&batches);
    let mut loads = vec![0_usize; lanes.max(1)];
    let mut dealt = vec![Vec::new(); loads.len()];
    let mut lane_of: HashMap<usize, usize> = HashMap::new();
    // The batches of one group have one lane, that which has the least to do when the first of them comes.
    for (at, batch) in batches.into_iter().enumerate() {
        let least = (0..loads.len()).min_by_key(|lane| loads[*lane]).unwrap_or_default();
        let lane = *lane_of.entry(groups.root(at)).or_insert(least);
        loads[lane] += batch.len();
        dealt[lane].push(batch);
    }
    dealt
}

/// Batches that are connected by their studies: each names another of its group, or itself.
struct Groups(Vec<usize>);

impl Groups {
    fn of(batches: &[Vec<Event>]) -> Self {
        let mut groups = Self((0..batches.len()).collect());
        let mut last_with: HashMap<u32, usize> = HashMap::new();
        for (at, batch) in batches.iter().enumerate() {
            for event in batch {
                if let Some(other) = last_with.insert(event.study, at) {
                    let (one, two) = (groups.root(other), groups.root(at));
                    groups.0[two] = one;
                }
            }
        }
        groups
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(events: &[(u32, u32)]) -> Vec<Event> {
        events.iter().map(|&(study, seq)| Event { study, seq }).collect()
    }

    #[test]
    fn batches_that_share_a_study_stay_in_one_lane_and_in_order() {
        let batches = [
            batch(&[(1, 1), (2, 1)]),
            batch(&[(3, 1)]),
            batch(&[(2, 2), (4, 1)]),
            batch(&[(4, 2)]),
            batch(&[(5, 1)]),
            batch(&[(3, 2)]),
        ];
        let [a, b, c, d, e, f] = batches.clone();
        assert_eq!(deal(batches.to_vec(), 2), [vec![a, c, d], vec![b, e, f]]);
    }

    #[test]
    fn one_lane_takes_all() {
        let batches = vec![batch(&[(1, 1)]), batch(&[(2, 1)]), batch(&[(1, 2)])];
        for lanes in [0, 1] {
            assert_eq!(deal(batches.clone(), lanes), std::slice::from_ref(&batches));
        }
    }
}
