//! Keys as the engine knows them: 64-bit hashes. Two keys that collide are only ordered needlessly, never swapped, so no key bytes are kept.

/// FNV-1a over the bytes, then mixed: FNV's high bits are weak on short keys, and lanes are chosen by them.
pub fn key_hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    }
    mix(hash)
}

/// splitmix64's finaliser: spreads every bit over all of them.
pub fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The lane of a key: by the hash's high half, so that tables within a lane, which use the low half, still spread.
pub fn lane_of(hash: u64, lanes: usize) -> usize {
    let high = hash >> 32;
    usize::try_from((high * lanes as u64) >> 32).expect("a 32-bit fraction of a lane count is below that count")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_over_lanes() {
        let mut lanes = [0_u32; 7];
        for number in 0..70_000 {
            lanes[lane_of(key_hash(format!("P-{number}").as_bytes()), 7)] += 1;
        }
        assert!(lanes.iter().all(|&keys| (9_000..11_000).contains(&keys)), "{lanes:?}");
    }
}
