//! Wakes what fetches. librdkafka decides what to fetch in one thread per broker, and that thread sleeps for up to a second when all it could
//! fetch is paused. Resuming does not wake it. It must not decide which partitions go on.

use std::ptr;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka_sys as rdsys;

use crate::owned::Owned;

/// Nobody waits for the answer; after this librdkafka forgets the question.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);

/// Has the leaders of these partitions fetch at once what may be fetched, instead of within a second. Call it after a resume, and after a
/// rebalance callback has assigned or unassigned, for the partitions that stay: librdkafka pauses all of them for as long as the callback
/// takes. What was asked of librdkafka before takes effect first.
///
/// It asks each leader for the partitions' end and does not wait for the answer: one request per broker. Offsets in the list do not matter.
/// Never blocks. Without memory, or with a leader that is away, nothing happens: then fetching goes on when its thread wakes by itself.
pub fn wake_fetchers<C: ConsumerContext>(consumer: &BaseConsumer<C>, partitions: &TopicPartitionList) {
    let mut list = TopicPartitionList::with_capacity(partitions.count());
    for element in partitions.elements() {
        // The end, in the words of the call below.
        if list.add_partition_offset(element.topic(), element.partition(), rdkafka::Offset::End).is_err() {
            return;
        }
    }
    if list.count() == 0 {
        return;
    }
    let client = consumer.client().native_ptr();
    let timeout_ms = i32::try_from(FORGOTTEN_AFTER.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is alive, held by `consumer`, and outlives the queue and the options, which are ours to destroy.
    let (queue, options) = unsafe {
        (
            Owned::new(rdsys::rd_kafka_queue_new(client), rdsys::rd_kafka_queue_destroy),
            Owned::new(
                rdsys::rd_kafka_AdminOptions_new(client, rdsys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS),
                rdsys::rd_kafka_AdminOptions_destroy,
            ),
        )
    };
    let Some((queue, options)) = queue.zip(options) else {
        return;
    };
    // SAFETY: all four are alive for the calls, which copy the list and the options. No text is asked for, so no buffer is needed. The
    // request holds a reference of its own to what is behind the queue, so the answer finds it disabled, and is freed.
    unsafe {
        rdsys::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), timeout_ms, ptr::null_mut(), 0);
        rdsys::rd_kafka_ListOffsets(client, list.ptr(), options.as_ptr(), queue.as_ptr());
    }
}
