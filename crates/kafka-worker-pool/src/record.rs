//! What a handler sees of one Kafka record. Owned and cheap to clone: key, value and headers share an allocation of at most 16 KiB with
//! records beside them (a larger record has one of its own), so holding a record never pins the fetch buffer it came in. Knows nothing of
//! librdkafka.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

/// A topic and one of its partitions.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One record of a topic. `None` as key or value is Kafka's null, which is not the same as empty.
#[derive(Clone, Debug)]
pub struct Record {
    /// Topic name, shared by all records of the partition.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970 as the producer or the broker set them.
    pub timestamp_ms: Option<i64>,
    /// The record's key.
    pub key: Option<Bytes>,
    /// The record's value.
    pub value: Option<Bytes>,
    /// The record's headers, in the order they were written.
    pub headers: Headers,
}

impl Record {
    /// The first record of a partition, with nothing in it.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self {
            topic: "t".into(),
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: Headers::default(),
        }
    }

    /// The partition this record came from.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: Arc::clone(&self.topic), partition: self.partition }
    }

    /// Bytes of key, value and headers: what the pool counts against `buffer_bytes`.
    pub fn size_bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + self.headers.block.len()
    }
}

/// Record headers. Names may repeat, as Kafka allows; [`Headers::get`] answers with the last, as Kafka's own clients do.
///
/// Encoded as one block (name length, name, value length or -1, value), so that cloning copies nothing and no headers cost nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    block: Bytes,
}

impl Headers {
    /// Builds headers from pairs, in order.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let mut block = BytesMut::new();
        for (name, value) in pairs {
            encode_header(&mut block, name.as_ref(), Some(value.as_ref()));
        }
        Self::from_block(block.freeze())
    }

    pub(crate) fn block(&self) -> &[u8] {
        &self.block
    }

    /// Takes a block written by [`encode_header`].
    pub(crate) fn from_block(block: Bytes) -> Self {
        Self { block }
    }

    /// The last value under this name; `None` also where that header has a null value.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.entries().filter(|(found, _)| *found == name).last().and_then(|(_, value)| value)
    }

    /// All headers with a value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries().filter_map(|(name, value)| value.map(|value| (name, value)))
    }

    /// All headers in order, those with a null value too.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        Entries { rest: &self.block }
    }

    /// True when the record has no headers.
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries().map(|(name, value)| (name, value.map(String::from_utf8_lossy)))).finish()
    }
}

const LENGTH_BYTES: usize = 4;

/// Appends one header to a block.
pub(crate) fn encode_header(block: &mut BytesMut, name: &str, value: Option<&[u8]>) {
    block.reserve(2 * LENGTH_BYTES + name.len() + value.map_or(0, <[u8]>::len));
    block.put_i32(length(name.len()));
    block.put_slice(name.as_bytes());
    match value {
        Some(value) => {
            block.put_i32(length(value.len()));
            block.put_slice(value);
        }
        None => block.put_i32(-1),
    }
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("Kafka's own limit on a record is below 2 GiB")
}

struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    fn take_length(&mut self) -> Option<i32> {
        let (length, rest) = self.rest.split_first_chunk::<LENGTH_BYTES>()?;
        self.rest = rest;
        Some(i32::from_be_bytes(*length))
    }

    fn take_bytes(&mut self, length: i32) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(bytes)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let length = self.take_length()?;
        let name = std::str::from_utf8(self.take_bytes(length)?).ok()?;
        let value = match self.take_length()? {
            -1 => None,
            length => Some(self.take_bytes(length)?),
        };
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_order_repeats_and_nulls() {
        let mut block = BytesMut::new();
        encode_header(&mut block, "a", Some(b"1"));
        encode_header(&mut block, "b", None);
        encode_header(&mut block, "a", Some(b""));
        let headers = Headers::from_block(block.freeze());
        assert_eq!(headers.entries().collect::<Vec<_>>(), [("a", Some(&b"1"[..])), ("b", None), ("a", Some(&b""[..]))]);
        assert_eq!(headers.get("a"), Some(&b""[..]), "the last one wins");
        assert_eq!(headers.get("b"), None);
        assert_eq!(headers.iter().count(), 2);
    }

    #[test]
    fn no_headers_take_no_bytes() {
        let none = Headers::from_pairs::<&str, &[u8]>([]);
        assert!(none.is_empty());
        assert_eq!(none, Headers::default());
    }
}
