//! Machine-readable reasons in `google.rpc.ErrorInfo`, the same in all services. A reason never changes its meaning.

/// `ErrorInfo.domain` of every error of the platform.
pub const DOMAIN: &str = "ctms";

/// One or more fields are wrong: see BadRequest for all of them.
pub const INVALID_FIELDS: &str = "INVALID_FIELDS";
/// The request id was used before with another body.
pub const REQUEST_ID_REUSED: &str = "REQUEST_ID_REUSED";
/// The resource does not exist.
pub const NOT_FOUND: &str = "NOT_FOUND";
/// A resource of this id exists already, or this submission id has another body.
pub const ALREADY_EXISTS: &str = "ALREADY_EXISTS";
/// The etag is not the current one: read again, decide again.
pub const ETAG_MISMATCH: &str = "ETAG_MISMATCH";
/// The state of the resource forbids the call.
pub const WRONG_STATE: &str = "WRONG_STATE";
/// Start-up items are open: one PreconditionFailure violation each.
pub const STARTUP_INCOMPLETE: &str = "STARTUP_INCOMPLETE";
/// A bounded queue is full: repeat after RetryInfo's delay.
pub const QUEUE_FULL: &str = "QUEUE_FULL";
/// A dependency is away or the outcome is unknown: repeat with the same request id after RetryInfo's delay.
pub const UNAVAILABLE: &str = "UNAVAILABLE";
