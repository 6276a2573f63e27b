//! From librdkafka's message to a record of our own: copied into blocks that some records share, so that copying costs no allocation each,
//! and no record pins the fetch buffer it came in. A record that has to wait moves into memory of its own, so a block lives only as long
//! as the calls that run.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rdkafka_ext::NativeMessage;

use crate::record::{Headers, Record, TopicPartition, encode_header};

/// Bytes of one block. Every call in flight may pin one, so `workers` of them are the most they take together.
const BLOCK_BYTES: usize = 16 * 1024;

/// Where the records of one lane are copied to. Blocks are not shared between lanes: owners counted on two cores cost more than the copy.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    block: BytesMut,
    /// The lane's own name of each slot's topic, for the same reason.
    topics: Vec<Option<Arc<str>>>,
}

impl Blocks {
    /// Copies a message of this slot out.
    pub(crate) fn copy(&mut self, message: &NativeMessage, slot: u32, name: &TopicPartition) -> Record {
        let (key, value) = (message.key(), message.payload());
        let (key_bytes, value_bytes) = (key.map(<[u8]>::len), value.map(<[u8]>::len));
        let needed = key_bytes.unwrap_or(0) + value_bytes.unwrap_or(0);
        // A block that nobody holds any more is written again.
        if self.block.capacity() < needed && !self.block.try_reclaim(needed) {
            self.block = BytesMut::with_capacity(needed.max(BLOCK_BYTES));
        }
        self.block.extend_from_slice(key.unwrap_or_default());
        self.block.extend_from_slice(value.unwrap_or_default());
        for header in message.headers() {
            encode_header(&mut self.block, &header.name_str(), header.value);
        }
        let copy = self.block.split().freeze();
        parts(copy, key_bytes, value_bytes, |key, value, headers| Record {
            topic: self.topic(slot, &name.topic),
            partition: name.partition,
            offset: message.offset(),
            timestamp_ms: message.timestamp_ms(),
            key,
            value,
            headers,
        })
    }

    fn topic(&mut self, slot: u32, topic: &Arc<str>) -> Arc<str> {
        let slot = slot as usize;
        if self.topics.len() <= slot {
            self.topics.resize(slot + 1, None);
        }
        Arc::clone(self.topics[slot].get_or_insert_with(|| Arc::from(&**topic)))
    }
}

/// Moves a record that has to wait into memory of its own.
pub(crate) fn keep(record: &mut Record) {
    let (key_bytes, value_bytes) = (record.key.as_ref().map(Bytes::len), record.value.as_ref().map(Bytes::len));
    let size = record.size_bytes();
    if size >= BLOCK_BYTES / 2 {
        // It has a block of its own, or most of one.
        return;
    }
    let mut copy = BytesMut::with_capacity(size);
    copy.extend_from_slice(record.key.as_deref().unwrap_or_default());
    copy.extend_from_slice(record.value.as_deref().unwrap_or_default());
    copy.extend_from_slice(record.headers.block());
    parts(copy.freeze(), key_bytes, value_bytes, |key, value, headers| {
        (record.key, record.value, record.headers) = (key, value, headers);
    });
}

/// Takes a copy apart: key, value, and headers behind them.
fn parts<R>(
    mut copy: Bytes,
    key_bytes: Option<usize>,
    value_bytes: Option<usize>,
    take: impl FnOnce(Option<Bytes>, Option<Bytes>, Headers) -> R,
) -> R {
    let key = key_bytes.map(|length| copy.split_to(length));
    let value = value_bytes.map(|length| copy.split_to(length));
    let headers = if copy.is_empty() { Bytes::new() } else { copy };
    take(key, value, Headers::from_block(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_waits_is_the_same_and_lets_go_of_its_block() {
        let block = Bytes::from(b"....keyvalue".repeat(100));
        let headers = Headers::from_pairs([("a", "1"), ("b", "")]);
        let mut record = Record {
            topic: "t".into(),
            partition: 3,
            offset: 9,
            timestamp_ms: Some(1),
            key: Some(block.slice(4..7)),
            value: Some(block.slice(7..12)),
            headers: headers.clone(),
        };
        keep(&mut record);
        assert_eq!(record.key.as_deref(), Some(&b"key"[..]));
        assert_eq!(record.value.as_deref(), Some(&b"value"[..]));
        assert_eq!(record.headers, headers);
        assert!(block.is_unique(), "nothing of the record is in the block any more");
    }

    #[test]
    fn null_and_empty_stay_apart() {
        for (key, value) in [(None, Some(Bytes::new())), (Some(Bytes::new()), None)] {
            let mut record = Record {
                topic: "t".into(),
                partition: 0,
                offset: 0,
                timestamp_ms: None,
                key: key.clone(),
                value: value.clone(),
                headers: Headers::default(),
            };
            keep(&mut record);
            assert_eq!((record.key, record.value), (key, value));
            assert!(record.headers.is_empty());
        }
    }
}
