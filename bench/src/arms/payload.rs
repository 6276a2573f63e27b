//! The record of the benchmarks: 200 bytes whose first 28 say which record it is, when it was produced and where it stands within its key.

use super::wall_ns;

/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 200;
/// How many keys the records of a load share.
pub(crate) const KEYS: u64 = 10_000;
/// Keys below this are the slow ones of the workload with slow keys: 1% of all.
pub(crate) const SLOW_KEYS: u64 = KEYS / 100;

/// What a value says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Payload {
    /// From 0, in the order of the load.
    pub(crate) id: u64,
    /// Nanoseconds since 1970 when it was handed to the producer.
    pub(crate) produced_ns: u64,
    /// From 0 within its key.
    pub(crate) sequence: u64,
    /// Number of its key.
    pub(crate) key: u64,
}

impl Payload {
    /// Reads a value. Anything shorter than the header is no record of ours.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(*value.get(at..)?.first_chunk::<8>()?));
        let key = u32::from_le_bytes(*value.get(24..)?.first_chunk::<4>()?);
        Some(Self { id: number(0)?, produced_ns: number(8)?, sequence: number(16)?, key: u64::from(key) })
    }

    /// The value: the header, then noise grown from `seed`.
    pub(crate) fn write(&self, seed: u64) -> [u8; VALUE_BYTES] {
        let mut value = [0; VALUE_BYTES];
        value[0..8].copy_from_slice(&self.id.to_le_bytes());
        value[8..16].copy_from_slice(&self.produced_ns.to_le_bytes());
        value[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        value[24..28].copy_from_slice(&u32::try_from(self.key).unwrap_or(u32::MAX).to_le_bytes());
        let mut noise = seed;
        for chunk in value[32..].chunks_mut(8) {
            noise = xorshift(noise, 1);
            chunk.copy_from_slice(&noise.to_le_bytes()[..chunk.len()]);
        }
        value
    }
}

/// `rounds` steps of xorshift64: the CPU work of a handler, the same chain in every language, which no compiler shortens.
#[inline(never)]
pub(crate) fn xorshift(seed: u64, rounds: u32) -> u64 {
    let mut state = seed | 1;
    for _ in 0..rounds {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}

/// The records of a load, always the same: the peers and we read one topic, and a second load has the same keys in the same order.
#[derive(Debug)]
pub(crate) struct Payloads {
    state: u64,
    sequences: Vec<u64>,
    are_distinct: bool,
}

impl Payloads {
    /// With 10,000 keys, or with a key for each record.
    pub(crate) fn new(are_distinct: bool) -> Self {
        let keys = usize::try_from(KEYS).expect("ten thousand fits");
        Self { state: 88_172_645_463_325_252, sequences: vec![0; keys], are_distinct }
    }

    /// Key and value of the next record, produced now.
    pub(crate) fn next(&mut self, id: u64) -> (String, [u8; VALUE_BYTES]) {
        self.state = xorshift(self.state, 1);
        let (key, sequence) = if self.are_distinct { (id, 0) } else { self.drawn() };
        let payload = Payload { id, produced_ns: wall_ns(), sequence, key };
        (format!("key-{key:05}"), payload.write(self.state))
    }

    fn drawn(&mut self) -> (u64, u64) {
        let key = (self.state >> 11) % KEYS;
        let sequence = &mut self.sequences[usize::try_from(key).expect("a key number fits")];
        *sequence += 1;
        (key, *sequence - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_back_as_it_was_written() {
        let payload = Payload { id: 7, produced_ns: 1 << 60, sequence: 3, key: 9_999 };
        assert_eq!(Payload::read(&payload.write(42)), Some(payload));
        assert_eq!(Payload::read(&payload.write(42)[..27]), None, "a byte short");
    }

    #[test]
    fn sequences_count_within_each_key_without_gaps() {
        let mut payloads = Payloads::new(false);
        let mut seen = std::collections::BTreeMap::new();
        for id in 0..50_000 {
            let (key, value) = payloads.next(id);
            let payload = Payload::read(&value).expect("a value of ours");
            assert_eq!((key, payload.id), (format!("key-{:05}", payload.key), id));
            let next = seen.entry(payload.key).or_insert(0);
            assert_eq!(payload.sequence, *next);
            *next += 1;
        }
        assert!(seen.len() > 9_500, "nearly all keys are met: {}", seen.len());
    }
}
