//! Errors made on purpose, so that tests can see a client survive what it must survive. Nothing outside tests calls this.

use std::ffi::CString;

use rdkafka::client::Client;
use rdkafka::{ClientContext, error::RDKafkaErrorCode};
use rdkafka_sys as rdsys;
use rdsys::rd_kafka_resp_err_t;

/// Why the error was not raised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// A client's first fatal error is its last.
    #[error("this client is in a fatal error already; rebuild it")]
    AlreadyFatal,
    /// The reason cannot be passed to C.
    #[error("reason {0:?} holds a NUL byte")]
    BadReason(String),
}

/// Puts a producer or consumer (`producer.client()`) into the fatal state `code`, as a fenced or out-of-order idempotent
/// producer would be: it never heals, every later send fails, and only a new client helps. **For tests.**
///
/// # Errors
/// If the client is in a fatal state already, or the reason holds a NUL byte.
pub fn test_fatal_error<C: ClientContext>(
    client: &Client<C>,
    code: rd_kafka_resp_err_t,
    reason: &str,
) -> Result<(), FaultError> {
    let text = CString::new(reason).map_err(|_| FaultError::BadReason(reason.to_owned()))?;
    // SAFETY: the client is alive for the call, and the text outlives it; librdkafka copies it.
    let answer = unsafe { rdsys::rd_kafka_test_fatal_error(client.native_ptr(), code, text.as_ptr()) };
    match RDKafkaErrorCode::from(answer) {
        RDKafkaErrorCode::NoError => Ok(()),
        _ => Err(FaultError::AlreadyFatal),
    }
}
