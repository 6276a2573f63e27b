//! Which cluster, and which life of a topic, an offset belongs to. It must not decide what a change of either means.

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as rdsys;
use rdsys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

use crate::owned::Owned;

/// How Kafka prints the id of a topic that has none.
const NO_TOPIC_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// What every embedded broker's cluster id begins with.
const EMBEDDED_CLUSTER: &str = "mockCluster";

/// Why topics could not be described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescribeError {
    /// A name cannot be passed to C.
    #[error("topic name {0:?} holds a NUL byte")]
    BadTopic(String),
    /// No answer about the cluster.
    #[error("no broker told its cluster id within {timeout_ms} ms; are bootstrap.servers right and reachable?")]
    NoCluster {
        /// How long we waited.
        timeout_ms: i32,
    },
    /// The request failed as a whole.
    #[error("describing topics failed: {reason} ({code:?})")]
    Request {
        /// librdkafka's error code.
        code: RDKafkaErrorCode,
        /// librdkafka's words.
        reason: String,
    },
    /// One topic was refused, for instance because it is unknown or may not be described.
    #[error("describing topic {topic} failed: {reason} ({code:?})")]
    Topic {
        /// The topic.
        topic: String,
        /// The broker's error code.
        code: RDKafkaErrorCode,
        /// The broker's words.
        reason: String,
    },
}

/// Whether this is the id of an embedded broker, which has no admin interface: what it is asked there, it never answers.
#[must_use]
pub fn is_embedded_cluster(cluster_id: &str) -> bool {
    cluster_id.starts_with(EMBEDDED_CLUSTER)
}

/// The cluster's id, or `None` if no broker told it within `timeout`. Blocks: not for a runtime's thread.
#[must_use]
pub fn cluster_id<C: ClientContext>(client: &Client<C>, timeout: Duration) -> Option<String> {
    let mut metadata = ptr::null();
    // An idle client has asked nothing yet, so ask (for the topics it knows: none is cheap); the answer carries the id.
    // SAFETY: the client is alive; the answer is written to `metadata`, which outlives the call.
    let code = unsafe {
        rdsys::rd_kafka_metadata(client.native_ptr(), 0, ptr::null_mut(), &raw mut metadata, timeout_ms(timeout))
    };
    if code != RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    // SAFETY: the call succeeded, so `metadata` is ours to destroy, once.
    unsafe { rdsys::rd_kafka_metadata_destroy(metadata) };
    // SAFETY: the client is alive. Nothing to wait for: the id has come with the metadata.
    let id = unsafe { rdsys::rd_kafka_clusterid(client.native_ptr(), 0) };
    if id.is_null() {
        return None;
    }
    // SAFETY: a string of its own, ended with a NUL, freed once after the copy.
    unsafe {
        let copy = CStr::from_ptr(id).to_string_lossy().into_owned();
        rdsys::rd_kafka_mem_free(client.native_ptr(), id.cast());
        Some(copy)
    }
}

/// The id of each topic, in the order asked, as Kafka prints it (base64). An id belongs to one life of a topic: deleted and
/// created again, it has another. `None` where there is none: an embedded broker (which is not asked: its admin requests
/// never get an answer), or a broker older than 2.8. Blocks up to twice `timeout`: not for a runtime's thread.
///
/// # Errors
/// If the cluster does not answer in time, or refuses one of the topics.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<Vec<Option<String>>, DescribeError> {
    let cluster = cluster_id(client, timeout).ok_or(DescribeError::NoCluster { timeout_ms: timeout_ms(timeout) })?;
    if topics.is_empty() || is_embedded_cluster(&cluster) {
        return Ok(vec![None; topics.len()]);
    }
    let answer = describe(client, topics, timeout)?;
    let described = descriptions(&answer)?;
    Ok(topics
        .iter()
        .map(|topic| described.iter().find(|(name, _)| name == topic).and_then(|(_, id)| id.clone()))
        .collect())
}

/// Sends the request and waits for its answer.
fn describe<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<Owned<rdsys::rd_kafka_event_t>, DescribeError> {
    let failed = |code, reason: &str| DescribeError::Request { code, reason: reason.to_owned() };
    let no_memory = || failed(RDKafkaErrorCode::Fail, "librdkafka is out of memory");
    let names = topics
        .iter()
        .map(|topic| CString::new(*topic).map_err(|_| DescribeError::BadTopic((*topic).to_owned())))
        .collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let rk = client.native_ptr();
    // SAFETY: `pointers` has as many C strings as said; librdkafka copies them. The result is ours to destroy.
    let collection = unsafe {
        Owned::new(
            rdsys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            rdsys::rd_kafka_TopicCollection_destroy,
        )
    }
    .ok_or_else(no_memory)?;
    // SAFETY: the client is alive for both calls and outlives both results, which are ours to destroy.
    let (options, queue) = unsafe {
        (
            Owned::new(
                rdsys::rd_kafka_AdminOptions_new(rk, rdsys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
                rdsys::rd_kafka_AdminOptions_destroy,
            ),
            Owned::new(rdsys::rd_kafka_queue_new(rk), rdsys::rd_kafka_queue_destroy),
        )
    };
    let (options, queue) = options.zip(queue).ok_or_else(no_memory)?;
    // SAFETY: the options are alive; no text is asked for, so no buffer is needed.
    let code = unsafe {
        rdsys::rd_kafka_AdminOptions_set_request_timeout(
            options.as_ptr(),
            timeout_ms(timeout).max(1),
            ptr::null_mut(),
            0,
        )
    };
    if code != RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(failed(code.into(), "the timeout was refused"));
    }
    // SAFETY: all four are alive; librdkafka copies what it keeps and holds its own reference to the queue.
    unsafe { rdsys::rd_kafka_DescribeTopics(rk, collection.as_ptr(), options.as_ptr(), queue.as_ptr()) };
    // The request ends by itself at its timeout; the grace lets us see it say so.
    let wait_ms = timeout_ms(timeout).saturating_add(500);
    // SAFETY: the queue is alive; the event, if any, is ours to destroy.
    unsafe { Owned::new(rdsys::rd_kafka_queue_poll(queue.as_ptr(), wait_ms), rdsys::rd_kafka_event_destroy) }
        .ok_or_else(|| failed(RDKafkaErrorCode::OperationTimedOut, "no answer"))
}

/// Reads names and ids out of the answer.
fn descriptions(answer: &Owned<rdsys::rd_kafka_event_t>) -> Result<Vec<(String, Option<String>)>, DescribeError> {
    // SAFETY: the event is alive; both calls only read it, and the text lives as long as the event.
    let (code, reason) =
        unsafe { (rdsys::rd_kafka_event_error(answer.as_ptr()), rdsys::rd_kafka_event_error_string(answer.as_ptr())) };
    if code != RD_KAFKA_RESP_ERR_NO_ERROR {
        // SAFETY: as above.
        return Err(DescribeError::Request { code: code.into(), reason: unsafe { text(reason) } });
    }
    // SAFETY: the event is alive; null is returned if it is of another kind.
    let result = unsafe { rdsys::rd_kafka_event_DescribeTopics_result(answer.as_ptr()) };
    if result.is_null() {
        let reason = "the answer is of another kind".to_owned();
        return Err(DescribeError::Request { code: RDKafkaErrorCode::Fail, reason });
    }
    let mut count = 0;
    // SAFETY: the result is alive with its event; `count` outlives the call.
    let first = unsafe { rdsys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
    // SAFETY: the call says that `count` descriptions are there, which live as long as the event.
    let topics = if first.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(first, count) } };
    topics
        .iter()
        .map(|&topic| {
            // SAFETY: a description of this event, and everything read here lives as long as the event.
            let (name, error, id) = unsafe {
                (
                    text(rdsys::rd_kafka_TopicDescription_name(topic)),
                    rdsys::rd_kafka_TopicDescription_error(topic),
                    rdsys::rd_kafka_TopicDescription_topic_id(topic),
                )
            };
            // SAFETY: a null error reads as no error; otherwise it lives as long as the event.
            let code = unsafe { rdsys::rd_kafka_error_code(error) };
            if code != RD_KAFKA_RESP_ERR_NO_ERROR {
                // SAFETY: as above.
                let reason = unsafe { text(rdsys::rd_kafka_error_string(error)) };
                return Err(DescribeError::Topic { topic: name, code: code.into(), reason });
            }
            // SAFETY: the id is part of the description; its text lives as long.
            let id = (!id.is_null()).then(|| unsafe { text(rdsys::rd_kafka_Uuid_base64str(id)) });
            Ok((name, id.filter(|id| !id.is_empty() && id != NO_TOPIC_ID)))
        })
        .collect()
}

fn timeout_ms(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// # Safety
/// `text` is null or a C string valid for the call.
unsafe fn text(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
