//! The error itself: every way a call can be answered other than with success.

use std::fmt;
use std::time::Duration;

use contracts::reasons;

use super::FieldViolations;

/// What clients are told to wait when nothing better is known.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// One precondition that does not hold; `google.rpc.PreconditionFailure.Violation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    /// Kind of condition, e.g. `STARTUP_ITEM`.
    pub kind: String,
    /// What it is about, e.g. `ethics_approval`.
    pub subject: String,
    /// What is missing and how to mend it.
    pub description: String,
}

impl Precondition {
    /// `kind` such as `STARTUP_ITEM`, what it is about, and how to mend it.
    #[must_use]
    pub fn new(kind: impl Into<String>, subject: impl Into<String>, description: impl Into<String>) -> Self {
        Self { kind: kind.into(), subject: subject.into(), description: description.into() }
    }
}

/// Every way an API call can be answered other than with success.
#[derive(Debug)]
#[non_exhaustive]
pub enum ApiError {
    /// The request is wrong, whatever the state. INVALID_ARGUMENT, 400.
    Invalid(FieldViolations),
    /// A request id came again with another body. INVALID_ARGUMENT, 400.
    RequestIdReused {
        /// The id.
        request_id: String,
    },
    /// There is no such thing. NOT_FOUND, 404.
    NotFound {
        /// E.g. `project`.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// It is there already, and differs. ALREADY_EXISTS, 409.
    AlreadyExists {
        /// E.g. `response`.
        kind: &'static str,
        /// Its id.
        id: String,
        /// How it differs and what to do.
        detail: String,
    },
    /// The caller saw an older version. ABORTED, 409.
    Aborted {
        /// E.g. `project`.
        kind: &'static str,
        /// Its id.
        id: String,
        /// The etag the caller sent.
        expected: String,
        /// The etag now.
        current: String,
    },
    /// The state does not allow it. FAILED_PRECONDITION, 409.
    FailedPrecondition {
        /// Machine-readable, from `contracts::reasons`, e.g. `WRONG_STATE`.
        reason: &'static str,
        /// For people.
        message: String,
        /// Each condition that does not hold.
        violations: Vec<Precondition>,
    },
    /// Something we need is away. UNAVAILABLE, 503.
    Unavailable {
        /// What is away.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A bound is reached for now. RESOURCE_EXHAUSTED, 503 over HTTP.
    ResourceExhausted {
        /// Which bound.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A defect of ours; the cause is logged, the caller gets a number to quote. INTERNAL, 500.
    Internal(anyhow::Error),
}

impl ApiError {
    /// One wrong field; for several use [`FieldViolations`].
    #[must_use]
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        let mut violations = FieldViolations::new();
        violations.add(field, description);
        Self::Invalid(violations)
    }

    /// A request id that was used with another body.
    #[must_use]
    pub fn request_id_reused(request_id: impl Into<String>) -> Self {
        Self::RequestIdReused { request_id: request_id.into() }
    }

    /// No such `kind`.
    #[must_use]
    pub fn not_found(kind: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { kind, id: id.into() }
    }

    /// There is such a `kind` already, and it differs.
    #[must_use]
    pub fn already_exists(kind: &'static str, id: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::AlreadyExists { kind, id: id.into(), detail: detail.into() }
    }

    /// The etag does not match.
    #[must_use]
    pub fn aborted(
        kind: &'static str,
        id: impl Into<String>,
        expected: impl Into<String>,
        current: impl Into<String>,
    ) -> Self {
        Self::Aborted { kind, id: id.into(), expected: expected.into(), current: current.into() }
    }

    /// The state does not allow it; `reason` is machine-readable, from `contracts::reasons`.
    #[must_use]
    pub fn failed_precondition(
        reason: &'static str,
        message: impl Into<String>,
        violations: Vec<Precondition>,
    ) -> Self {
        Self::FailedPrecondition { reason, message: message.into(), violations }
    }

    /// A dependency is away; retry after [`DEFAULT_RETRY_AFTER`].
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::unavailable_after(message, DEFAULT_RETRY_AFTER)
    }

    /// A dependency is away; retry after this long.
    #[must_use]
    pub fn unavailable_after(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::Unavailable { message: message.into(), retry_after }
    }

    /// A queue or limit is full; retry after this long.
    #[must_use]
    pub fn resource_exhausted(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::ResourceExhausted { message: message.into(), retry_after }
    }

    /// A defect of ours.
    #[must_use]
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::Internal(cause.into())
    }

    /// The ErrorInfo reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => reasons::INVALID_FIELDS,
            Self::RequestIdReused { .. } => reasons::REQUEST_ID_REUSED,
            Self::NotFound { .. } => reasons::NOT_FOUND,
            Self::AlreadyExists { .. } => reasons::ALREADY_EXISTS,
            Self::Aborted { .. } => reasons::ETAG_MISMATCH,
            Self::FailedPrecondition { reason, .. } => reason,
            Self::Unavailable { .. } => reasons::UNAVAILABLE,
            Self::ResourceExhausted { .. } => reasons::QUEUE_FULL,
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// When to try again, where trying again helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } | Self::ResourceExhausted { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// ErrorInfo metadata: the values a program needs to react.
    pub(super) fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::RequestIdReused { request_id } => vec![("request_id", request_id.clone())],
            Self::NotFound { kind, id } | Self::AlreadyExists { kind, id, .. } => {
                vec![("kind", (*kind).to_owned()), ("id", id.clone())]
            }
            Self::Aborted { kind, id, expected, current } => vec![
                ("kind", (*kind).to_owned()),
                ("id", id.clone()),
                ("expected_etag", expected.clone()),
                ("current_etag", current.clone()),
            ],
            Self::FailedPrecondition { violations, .. } => {
                let subjects: Vec<&str> = violations.iter().map(|violation| violation.subject.as_str()).collect();
                vec![("subjects", subjects.join(","))]
            }
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(violations) => write!(f, "the request is invalid: {violations}"),
            Self::RequestIdReused { request_id } => write!(
                f,
                "request_id {request_id:?} was used before with another body; send a new id for a new request"
            ),
            Self::NotFound { kind, id } => write!(f, "there is no {kind} {id:?}"),
            Self::AlreadyExists { kind, id, detail } => write!(f, "{kind} {id:?} exists already: {detail}"),
            Self::Aborted { kind, id, expected, current } => write!(
                f,
                "{kind} {id:?} changed: its etag is {current:?}, the request has {expected:?}; read it again and retry"
            ),
            Self::FailedPrecondition { message, violations, .. } => {
                f.write_str(message)?;
                for violation in violations {
                    write!(f, "; {}: {}", violation.subject, violation.description)?;
                }
                Ok(())
            }
            Self::Unavailable { message, .. } | Self::ResourceExhausted { message, .. } => f.write_str(message),
            Self::Internal(_) => f.write_str("an internal error"),
        }
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Internal(cause) => Some(cause.as_ref()),
            _ => None,
        }
    }
}

impl From<FieldViolations> for ApiError {
    fn from(violations: FieldViolations) -> Self {
        Self::Invalid(violations)
    }
}

/// Logs a defect under a number and returns the text a caller may see.
pub(super) fn log_internal(cause: &anyhow::Error) -> String {
    let incident = uuid::Uuid::new_v4();
    tracing::error!(%incident, error = crate::sentence(cause), "a call failed by a defect of ours");
    format!("an internal error; quote incident {incident} to the operators")
}
