//! From librdkafka's message to a record of our own: one allocation for key, value and headers, so that a record that waits pins its own
//! bytes and never the fetch buffer it came in.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rdkafka_ext::NativeMessage;

use crate::record::{Headers, Record, encode_header};

/// Copies a message out.
pub(crate) fn record_of(message: &NativeMessage, topic: &Arc<str>) -> Record {
    let (key, value) = (message.key(), message.payload());
    let (key_bytes, value_bytes) = (key.map(<[u8]>::len), value.map(<[u8]>::len));
    let mut block = BytesMut::with_capacity(key_bytes.unwrap_or(0) + value_bytes.unwrap_or(0));
    block.extend_from_slice(key.unwrap_or_default());
    block.extend_from_slice(value.unwrap_or_default());
    for header in message.headers() {
        encode_header(&mut block, &header.name_str(), header.value);
    }
    let mut block = block.freeze();
    let mut take = |length: Option<usize>| length.map(|length| block.split_to(length));
    Record {
        topic: Arc::clone(topic),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp_ms(),
        key: take(key_bytes),
        value: take(value_bytes),
        headers: Headers::from_block(if block.is_empty() { Bytes::new() } else { block }),
    }
}
