//! One queue that many partitions flow into, drained in batches. It must not know about groups, ledgers or order.

use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka_sys as rdsys;

use crate::NativeMessage;

/// A queue that assigned partitions are forwarded to, beside the consumer's own.
///
/// How to use it (each rule is a trap that lost records or hung):
/// - Forward **inside** the rebalance callback of the assignment, before `assign`: later, records go to the consumer's own queue.
/// - Keep polling the consumer as well; it serves rebalances, errors and statistics. A *record* from that poll is a bug.
/// - Do not drop this before the consumer is closed: closing calls the revoke callback, whose drain needs the queue.
/// - Give the context a [`QueueHandle`], never the queue: the queue owns the consumer, so the consumer would never be dropped.
/// - Drop all [`NativeMessage`]s, then this, then the last `Arc` of the consumer, whose drop waits for both and runs callbacks:
///   not on a thread that a callback waits for, not on a runtime thread.
pub struct SharedQueue<C: ConsumerContext> {
    raw: NonNull<rdsys::rd_kafka_queue_t>,
    shared: Arc<Shared>,
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues are thread-safe (a mutex inside); the consumer is `Send + Sync` as its context is.
unsafe impl<C: ConsumerContext> Send for SharedQueue<C> {}
// SAFETY: as above; every method takes `&self` and calls thread-safe functions.
unsafe impl<C: ConsumerContext> Sync for SharedQueue<C> {}

/// Forwards to and wakes a [`SharedQueue`] without keeping it or its consumer alive: what a consumer context may hold.
#[derive(Clone)]
pub struct QueueHandle(Arc<Shared>);

/// What the queue and its handles have in common.
struct Shared {
    /// `None` once the queue is gone. A handle uses the pointer only under the read lock, so the queue, and with it the
    /// consumer, cannot go meanwhile.
    queue: RwLock<Option<QueuePtr>>,
    /// Address of the client the queue was made for, to refuse partitions of another.
    client: usize,
    /// Set before each native yield: an empty batch swallows the native one, this one stays for `consume_one`.
    yielded: AtomicBool,
}

#[derive(Clone, Copy)]
struct QueuePtr(NonNull<rdsys::rd_kafka_queue_t>);

// SAFETY: the functions called with it are thread-safe; lifetime is guarded by the lock around it.
unsafe impl Send for QueuePtr {}
// SAFETY: as above.
unsafe impl Sync for QueuePtr {}

/// Why a queue could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// librdkafka gave none.
    #[error("librdkafka made no queue: it is out of memory")]
    NoQueue,
}

/// Why a partition was not forwarded. Its records then come from the consumer's own queue, so do not assign it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The name cannot be passed to C.
    #[error("topic name {0:?} holds a NUL byte")]
    BadTopic(String),
    /// librdkafka knows no such partition.
    #[error("librdkafka has no queue for {topic} [{partition}]; is it a consumer's assignment?")]
    NoPartitionQueue {
        /// The topic asked for.
        topic: String,
        /// The partition asked for.
        partition: i32,
    },
    /// The consumer is not the one the queue was made for.
    #[error("{topic} [{partition}] belongs to another consumer than the queue it should flow into")]
    OtherConsumer {
        /// The topic asked for.
        topic: String,
        /// The partition asked for.
        partition: i32,
    },
    /// The queue was dropped.
    #[error("the shared queue is gone; keep it until the consumer is closed")]
    QueueGone,
}

impl<C: ConsumerContext> SharedQueue<C> {
    /// A queue of this consumer, which nothing flows into yet.
    ///
    /// # Errors
    /// If librdkafka has no memory for it.
    pub fn new(consumer: Arc<BaseConsumer<C>>) -> Result<Self, QueueError> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client is alive, held by `consumer`.
        let raw = NonNull::new(unsafe { rdsys::rd_kafka_queue_new(client) }).ok_or(QueueError::NoQueue)?;
        let shared = Arc::new(Shared {
            queue: RwLock::new(Some(QueuePtr(raw))),
            client: client.addr(),
            yielded: AtomicBool::new(false),
        });
        Ok(Self { raw, shared, consumer })
    }

    /// The consumer this queue belongs to.
    #[must_use]
    pub fn consumer(&self) -> &Arc<BaseConsumer<C>> {
        &self.consumer
    }

    /// What the consumer's context may hold.
    #[must_use]
    pub fn handle(&self) -> QueueHandle {
        QueueHandle(Arc::clone(&self.shared))
    }

    /// As [`QueueHandle::forward_partition`], for the queue's own consumer (an assignment made by hand).
    ///
    /// # Errors
    /// As there.
    pub fn forward_partition(&self, topic: &str, partition: i32) -> Result<(), ForwardError> {
        self.handle().forward_partition(&self.consumer, topic, partition)
    }

    /// As [`QueueHandle::unforward_partition`], for the queue's own consumer.
    ///
    /// # Errors
    /// As there.
    pub fn unforward_partition(&self, topic: &str, partition: i32) -> Result<(), ForwardError> {
        self.handle().unforward_partition(&self.consumer, topic, partition)
    }

    /// As [`QueueHandle::yield_now`].
    pub fn yield_now(&self) {
        self.shared.yield_now();
    }

    /// Appends up to `max` messages that are here already and returns how many; never waits. (With a timeout librdkafka
    /// waits for a *full* batch.) Errors come as messages too: see [`NativeMessage::error`].
    pub fn consume_batch(&self, max: usize, into: &mut Vec<NativeMessage>) -> usize {
        into.reserve(max);
        let free = into.spare_capacity_mut().as_mut_ptr().cast::<*mut rdsys::rd_kafka_message_t>();
        // SAFETY: the queue is alive; `free` has room for `max` pointers, and `NativeMessage` is one non-null pointer.
        let taken = unsafe { rdsys::rd_kafka_consume_batch_queue(self.raw.as_ptr(), 0, free, max) };
        let taken = usize::try_from(taken).unwrap_or(0).min(max);
        // SAFETY: the call has written `taken` non-null messages, now ours, into the room behind the old length.
        unsafe { into.set_len(into.len() + taken) };
        taken
    }

    /// Waits up to `timeout` (whole milliseconds, rounded up) for one message or error. `None` at the timeout, or early after
    /// [`yield_now`](Self::yield_now), also one called since the last return of this method: no wake-up is lost.
    #[must_use]
    pub fn consume_one(&self, timeout: Duration) -> Option<NativeMessage> {
        let timeout = if self.shared.yielded.swap(false, Ordering::AcqRel) { Duration::ZERO } else { timeout };
        let timeout_ms = i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive; null means nothing came.
        let message = unsafe { rdsys::rd_kafka_consume_queue(self.raw.as_ptr(), timeout_ms) };
        // SAFETY: not null, so a message that now is ours.
        NonNull::new(message).map(|message| unsafe { NativeMessage::from_raw(message) })
    }

    /// How many entries wait in the queue. Some are marks of librdkafka's own, which taking a batch removes without a message.
    #[must_use]
    pub fn len(&self) -> usize {
        // SAFETY: the queue is alive.
        unsafe { rdsys::rd_kafka_queue_length(self.raw.as_ptr()) }
    }

    /// Whether nothing waits in the queue, no mark either.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<C: ConsumerContext> Drop for SharedQueue<C> {
    fn drop(&mut self) {
        *self.shared.queue.write().unwrap_or_else(PoisonError::into_inner) = None;
        // SAFETY: no handle reaches the pointer any more, and the consumer, dropped after this, still lives. Partitions that
        // are forwarded hold references of their own to what is behind it.
        unsafe { rdsys::rd_kafka_queue_destroy(self.raw.as_ptr()) }
    }
}

impl QueueHandle {
    /// From now on the records of this partition come from the shared queue. Call it in the rebalance callback of every
    /// assignment, before `assign`: revoking ends it, and a partition that comes back and is not forwarded again is silent.
    /// (Outside of a group: the stop that `unassign` starts ends it too, some time later.) The consumer must be the queue's own.
    ///
    /// # Errors
    /// If the partition has no queue, the consumer is another, or the queue is gone: then do not assign the partition.
    pub fn forward_partition<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        partition: i32,
    ) -> Result<(), ForwardError> {
        self.steer_partition(consumer, topic, partition, |shared| shared.0.as_ptr())
    }

    /// Holds an assigned partition back: what is fetched from now on waits in the partition's own queue (librdkafka stops
    /// fetching at `queued.max.messages.kbytes`), and [`forward_partition`](Self::forward_partition) lets it flow again, in order.
    /// Nothing is fetched twice, unlike after a pause. What is in the shared queue already stays there.
    ///
    /// # Errors
    /// As there.
    pub fn unforward_partition<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        partition: i32,
    ) -> Result<(), ForwardError> {
        self.steer_partition(consumer, topic, partition, |_| ptr::null_mut())
    }

    /// Sets where a partition's queue leads to: another queue of the same client, or nowhere (null).
    fn steer_partition<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        partition: i32,
        target: impl FnOnce(QueuePtr) -> *mut rdsys::rd_kafka_queue_t,
    ) -> Result<(), ForwardError> {
        let client = consumer.client().native_ptr();
        if client.addr() != self.0.client {
            return Err(ForwardError::OtherConsumer { topic: topic.to_owned(), partition });
        }
        let name = CString::new(topic).map_err(|_| ForwardError::BadTopic(topic.to_owned()))?;
        let queue = self.0.queue.read().unwrap_or_else(PoisonError::into_inner);
        let shared = queue.ok_or(ForwardError::QueueGone)?;
        // SAFETY: the client is alive, held by `consumer`; the name outlives the call.
        let source = unsafe { rdsys::rd_kafka_queue_get_partition(client, name.as_ptr(), partition) };
        let Some(source) = NonNull::new(source) else {
            return Err(ForwardError::NoPartitionQueue { topic: topic.to_owned(), partition });
        };
        // SAFETY: the partition's queue is alive, and so is the target (the shared one by the read lock), of the same client.
        // The handle is destroyed at once: one that stays makes the consumer's drop hang.
        unsafe {
            rdsys::rd_kafka_queue_forward(source.as_ptr(), target(shared));
            rdsys::rd_kafka_queue_destroy(source.as_ptr());
        }
        Ok(())
    }

    /// Makes a [`SharedQueue::consume_one`] that waits return, or the next one; nothing happens if the queue is gone.
    pub fn yield_now(&self) {
        self.0.yield_now();
    }
}

impl Shared {
    fn yield_now(&self) {
        self.yielded.store(true, Ordering::Release);
        if let Some(queue) = *self.queue.read().unwrap_or_else(PoisonError::into_inner) {
            // SAFETY: the queue is alive while the read lock is held.
            unsafe { rdsys::rd_kafka_queue_yield(queue.0.as_ptr()) }
        }
    }
}
