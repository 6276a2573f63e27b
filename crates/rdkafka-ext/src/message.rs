//! A fetched message as librdkafka holds it: no copy, owned, may change threads. It must not know what the bytes mean.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as rdsys;
use rdsys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// A message taken from a [`SharedQueue`](crate::SharedQueue), or an error that stands in its place.
///
/// It pins the whole fetch buffer it came in (945 of them held 190 MB): decode early, copy what must wait, drop the rest.
/// **Dropping the consumer waits until every message is dropped.** `Send`, and on purpose not `Sync`: librdkafka parses
/// headers on first access.
#[repr(transparent)]
pub struct NativeMessage(NonNull<rdsys::rd_kafka_message_t>);

// SAFETY: librdkafka's messages are not tied to a thread; the wrapper is the only owner of the pointer.
unsafe impl Send for NativeMessage {}

impl Drop for NativeMessage {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the pointer came from a consume call, is owned by `self` and destroyed once.
        unsafe { rdsys::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// The identity of a topic object, for comparing cheaply: two messages with equal pointers are of one topic.
///
/// Only for comparing messages that are alive, or of partitions that stay assigned: when the last of them goes, librdkafka
/// may use the address again for another topic. Clear a map with such keys whenever partitions are revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicPtr(usize);

/// What librdkafka put into the queue instead of a message, for instance an offset out of range with
/// `auto.offset.reset=error`, or the end of a partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{topic} [{partition}]: {reason} ({code:?})")]
pub struct MessageError {
    /// The topic, empty if the error belongs to none.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// librdkafka's error code.
    pub code: RDKafkaErrorCode,
    /// librdkafka's words.
    pub reason: String,
}

impl NativeMessage {
    /// # Safety
    /// `raw` must be a message returned by a consume call, not yet destroyed and owned by nobody else.
    pub(crate) unsafe fn from_raw(raw: NonNull<rdsys::rd_kafka_message_t>) -> Self {
        Self(raw)
    }

    #[inline]
    fn raw(&self) -> &rdsys::rd_kafka_message_t {
        // SAFETY: the pointer is valid until drop, and the fields read through it do not change after the fetch.
        unsafe { self.0.as_ref() }
    }

    /// The error that stands in this message's place; a real message has none. Look at this before anything else.
    #[must_use]
    pub fn error(&self) -> Option<MessageError> {
        if self.raw().err == RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: the function reads the message only; the string lives as long as the message, or is static.
        let reason = unsafe { rdsys::rd_kafka_message_errstr(self.0.as_ptr()) };
        Some(MessageError {
            topic: self.topic().to_owned(),
            partition: self.partition(),
            code: self.raw().err.into(),
            reason: if reason.is_null() {
                String::new()
            } else {
                // SAFETY: not null, and librdkafka's strings end with a NUL.
                unsafe { CStr::from_ptr(reason) }.to_string_lossy().into_owned()
            },
        })
    }

    /// Whether an error stands in this message's place: as [`error`](Self::error), without building it.
    #[must_use]
    #[inline]
    pub fn is_error(&self) -> bool {
        self.raw().err != RD_KAFKA_RESP_ERR_NO_ERROR
    }

    /// The topic's name, empty only for an error that belongs to no topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        if self.raw().rkt.is_null() {
            return "";
        }
        // SAFETY: the message keeps a reference to its topic object, whose name never changes and ends with a NUL.
        let name = unsafe { CStr::from_ptr(rdsys::rd_kafka_topic_name(self.raw().rkt)) };
        name.to_str().expect("Kafka admits only ASCII letters, digits, '.', '_' and '-' in topic names")
    }

    /// The topic's identity, without touching its name.
    #[must_use]
    #[inline]
    pub fn topic_ptr(&self) -> TopicPtr {
        TopicPtr(self.raw().rkt.addr())
    }

    /// The partition.
    #[must_use]
    #[inline]
    pub fn partition(&self) -> i32 {
        self.raw().partition
    }

    /// The offset.
    #[must_use]
    #[inline]
    pub fn offset(&self) -> i64 {
        self.raw().offset
    }

    /// The epoch of the partition's leader that wrote this record. It grows with the offsets, and a leader that came after one was lost with
    /// records writes with a higher one. `None` for records in formats older than v2.
    #[must_use]
    #[inline]
    pub fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message is valid, and the call only reads it.
        let epoch = unsafe { rdsys::rd_kafka_message_leader_epoch(self.0.as_ptr()) };
        (epoch >= 0).then_some(epoch)
    }

    /// Milliseconds since the epoch, by the producer's or the broker's clock, as the topic is configured.
    #[must_use]
    #[inline]
    pub fn timestamp_ms(&self) -> Option<i64> {
        let mut kind = rdsys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid, and `kind` outlives the call.
        let at = unsafe { rdsys::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        (kind != rdsys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && at >= 0).then_some(at)
    }

    /// The key; `None` where the record has none, which is not the same as an empty one.
    #[must_use]
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: `key` and `key_len` describe one buffer, which the message owns.
        unsafe { bytes(self.raw().key, self.raw().key_len) }
    }

    /// The value; `None` for a tombstone.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> Option<&[u8]> {
        // SAFETY: `payload` and `len` describe one buffer, which the message owns.
        unsafe { bytes(self.raw().payload, self.raw().len) }
    }

    /// True if a look at one byte tells that there are no headers. librdkafka's own answer costs an allocation of 400 bytes and a fifth of
    /// all that taking a small record costs.
    #[inline]
    fn is_known_to_have_no_headers(&self) -> bool {
        let raw = self.raw();
        // Null has no place to look behind, and librdkafka lets an empty value point to a text of its own.
        if raw.err != RD_KAFKA_RESP_ERR_NO_ERROR || raw.payload.is_null() || raw.len == 0 {
            return false;
        }
        // Only batches of format v2 have an epoch.
        if self.leader_epoch().is_none() {
            return false;
        }
        // SAFETY: in format v2 a record is, in one piece, (.., value, number of headers, headers), and librdkafka's payload, unless empty, points into
        // the buffer it came in, never at a copy: the byte behind the value is the first of the number, a varint, and part of the buffer.
        unsafe { *raw.payload.cast::<u8>().add(raw.len) == 0 }
    }

    /// The headers in their order; empty if there are none.
    #[must_use]
    #[inline]
    pub fn headers(&self) -> Headers<'_> {
        if self.is_known_to_have_no_headers() {
            return Headers { list: None, next: 0, message: PhantomData };
        }
        let mut list = ptr::null_mut();
        // SAFETY: the message is valid, and as the type is not `Sync` no other thread parses its headers now.
        let code = unsafe { rdsys::rd_kafka_message_headers(self.0.as_ptr(), &raw mut list) };
        let list = if code == RD_KAFKA_RESP_ERR_NO_ERROR { NonNull::new(list) } else { None };
        Headers { list, next: 0, message: PhantomData }
    }
}

impl fmt::Debug for NativeMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeMessage")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .field("err", &self.raw().err)
            .finish_non_exhaustive()
    }
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name as sent: UTF-8 by the protocol, though nobody checks.
    pub name: &'a [u8],
    /// The value; `None` is Kafka's null.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The name as text; bytes that are not UTF-8 become `U+FFFD`.
    #[must_use]
    pub fn name_str(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.name)
    }
}

/// The headers of one message, in their order. A name may come more than once.
pub struct Headers<'a> {
    list: Option<NonNull<rdsys::rd_kafka_headers_t>>,
    next: usize,
    message: PhantomData<&'a NativeMessage>,
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let list = self.list?;
        let (mut name, mut value, mut size) = (ptr::null::<c_char>(), ptr::null::<c_void>(), 0);
        // SAFETY: the list belongs to the message, which `'a` keeps alive; an index past the end is answered with an error.
        let code = unsafe {
            rdsys::rd_kafka_header_get_all(list.as_ptr(), self.next, &raw mut name, &raw mut value, &raw mut size)
        };
        if code != RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            self.list = None;
            return None;
        }
        self.next += 1;
        // SAFETY: name and value lie in the list and live as long; the name ends with a NUL, the value has `size` bytes.
        let (name, value) = unsafe { (CStr::from_ptr(name).to_bytes(), bytes(value, size)) };
        Some(Header { name, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // SAFETY: as in `next`.
        let left = self.list.map_or(0, |list| unsafe { rdsys::rd_kafka_header_cnt(list.as_ptr()) } - self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// # Safety
/// Unless null, `start` must point to `size` readable bytes that stay so for `'a`.
#[inline]
unsafe fn bytes<'a>(start: *const c_void, size: usize) -> Option<&'a [u8]> {
    let start = NonNull::new(start.cast_mut().cast::<u8>())?;
    // SAFETY: promised by the caller.
    Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), size) })
}
