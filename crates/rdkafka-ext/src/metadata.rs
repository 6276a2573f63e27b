//! What a commit carries beside its offset, as it is: rdkafka's own accessor panics where the bytes are no text. It must not know what they mean.

use std::ptr::NonNull;

use rdkafka::TopicPartitionList;

/// The metadata of each element of a list that a broker filled, in the list's order; empty where there is none. Bytes that are not UTF-8
/// become `U+FFFD`.
#[must_use]
pub fn commit_metadata(list: &TopicPartitionList) -> Vec<String> {
    let Some(native) = NonNull::new(list.ptr()) else {
        return Vec::new();
    };
    // SAFETY: the list is alive and owned by the wrapper we borrow; nothing else changes it meanwhile.
    let (elements, count) = unsafe { (native.as_ref().elems, native.as_ref().cnt) };
    let (Some(elements), Ok(count)) = (NonNull::new(elements), usize::try_from(count)) else {
        return Vec::new();
    };
    // SAFETY: `elems` points to `cnt` elements, which live as long as the list.
    let elements = unsafe { std::slice::from_raw_parts(elements.as_ptr(), count) };
    let text = |start: NonNull<u8>, size| {
        // SAFETY: `metadata` points to `metadata_size` bytes, which live as long as their element.
        String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(start.as_ptr(), size) }).into_owned()
    };
    elements
        .iter()
        .map(|one| NonNull::new(one.metadata.cast()).map_or_else(String::new, |start| text(start, one.metadata_size)))
        .collect()
}
