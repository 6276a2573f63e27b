//! Keys as the engine knows them: 64-bit hashes. Two keys that collide are only ordered needlessly, never swapped, so no key bytes are kept.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A hash of a key, eight bytes a step: multiplied to 128 bits and folded, so that every bit of a step reaches all of the next. The same
/// bytes give the same hash in this process; nobody should keep one.
#[inline]
pub fn key_hash(bytes: &[u8]) -> u64 {
    let mut hash = SEED;
    let mut steps = bytes.chunks_exact(8);
    for step in &mut steps {
        hash = fold(hash ^ u64::from_le_bytes(step.try_into().expect("a step has eight bytes")));
    }
    let rest = steps.remainder();
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = fold(hash ^ u64::from_le_bytes(last));
    }
    // The length last: a short key is not the longer one that is padded alike.
    mix(hash.wrapping_add((bytes.len() as u64).wrapping_mul(SEED)))
}

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline]
fn fold(value: u64) -> u64 {
    let product = u128::from(value) * u128::from(0xA076_1D64_78BD_642F_u64);
    #[allow(clippy::cast_possible_truncation, reason = "both halves are taken")]
    let halves = (product as u64, (product >> 64) as u64);
    // Plus the value: a fold alone sends zero, and what meets it there, to zero.
    (halves.0 ^ halves.1).wrapping_add(value.rotate_left(23))
}

/// For maps with such hashes as keys: they are mixed already, hashing them again would only cost.
#[derive(Debug, Default, Clone, Copy)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = key_hash(bytes);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A map from key hashes.
pub type KeyMap<V> = HashMap<u64, V, BuildHasherDefault<AsItIs>>;

/// splitmix64's finaliser: spreads every bit over all of them.
#[inline]
pub fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The lane of a key: by the hash's high half, so that tables within a lane, which use the low half, still spread.
#[inline]
pub fn lane_of(hash: u64, lanes: usize) -> usize {
    let high = hash >> 32;
    usize::try_from((high * lanes as u64) >> 32).expect("a 32-bit fraction of a lane count is below that count")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_spread_over_lanes() {
        let mut lanes = [0_u32; 7];
        for number in 0..70_000 {
            lanes[lane_of(key_hash(format!("P-{number}").as_bytes()), 7)] += 1;
        }
        assert!(lanes.iter().all(|&keys| (9_000..11_000).contains(&keys)), "{lanes:?}");
    }

    #[test]
    fn keys_that_are_alike_have_hashes_that_are_not() {
        let numbers = (0..50_000_u64).map(|number| number.to_le_bytes().to_vec());
        let padded = (0..64).map(|length| vec![0; length]);
        let texts = (0..50_000).map(|number| format!("subject/{number:08}/visit").into_bytes());
        let hashes: Vec<u64> = numbers.chain(padded).chain(texts).map(|bytes| key_hash(&bytes)).collect();
        let distinct: HashSet<u64> = hashes.iter().copied().collect();
        // Of 100,064 hashes of 64 bits, two are equal by chance once in billions of runs; one 8-byte zero is among both lists.
        assert_eq!(distinct.len(), hashes.len() - 1);
        for bit in 0..64 {
            let ones = hashes.iter().filter(|hash| *hash >> bit & 1 == 1).count();
            assert!((48_000..52_000).contains(&ones), "bit {bit}: {ones}");
        }
    }
}
