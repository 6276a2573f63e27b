//! What a handler's failure means, and so what the pool does next. Pure types.

use std::fmt;
use std::time::Duration;

/// Any error that can cross threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why a batch was not applied, and so what the pool does next.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandlerError {
    /// May work next time: counts as an attempt, the key waits (backoff with jitter, or `after`), others go on. At `max_attempts` the
    /// job is given up (a dead letter).
    Retry {
        /// What failed.
        cause: BoxError,
        /// Wait exactly this long instead of the backoff.
        after: Option<Duration>,
    },
    /// Can never work: the job is given up at once (a dead letter).
    Reject {
        /// What is wrong with the job.
        cause: BoxError,
    },
    /// Not now, and somebody must decide: the job waits until its group (a Kafka partition) is released, and its source stops that group.
    Hold {
        /// What is in the way.
        cause: BoxError,
    },
    /// The environment failed (database away, busy), not the job: no attempt is counted, the circuit opens and the whole pool pauses.
    Unavailable {
        /// What is away.
        cause: BoxError,
    },
}

impl HandlerError {
    /// [`HandlerError::Retry`] with the pool's own backoff.
    pub fn retry(cause: impl Into<BoxError>) -> Self {
        Self::Retry { cause: cause.into(), after: None }
    }

    /// [`HandlerError::Reject`].
    pub fn reject(cause: impl Into<BoxError>) -> Self {
        Self::Reject { cause: cause.into() }
    }

    /// [`HandlerError::Hold`].
    pub fn hold(cause: impl Into<BoxError>) -> Self {
        Self::Hold { cause: cause.into() }
    }

    /// [`HandlerError::Unavailable`].
    pub fn unavailable(cause: impl Into<BoxError>) -> Self {
        Self::Unavailable { cause: cause.into() }
    }
}

impl HandlerError {
    /// Says in words what the cause says, and lets go of it: code of the user's, which may panic, so it belongs where the call does.
    pub(crate) fn into_words(self) -> Self {
        let words = |cause: BoxError| BoxError::from(in_words(&*cause));
        match self {
            Self::Retry { cause, after } => Self::Retry { cause: words(cause), after },
            Self::Reject { cause } => Self::Reject { cause: words(cause) },
            Self::Hold { cause } => Self::Hold { cause: words(cause) },
            Self::Unavailable { cause } => Self::Unavailable { cause: words(cause) },
        }
    }
}

/// An error in words, with what caused it where its own words do not say so: `no account: connection refused`.
pub(crate) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        source = cause.source();
    }
    words
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry { cause, .. } => write!(f, "{cause}"),
            Self::Reject { cause } => write!(f, "rejected: {cause}"),
            Self::Hold { cause } => write!(f, "held: {cause}"),
            Self::Unavailable { cause } => write!(f, "unavailable: {cause}"),
        }
    }
}

impl std::error::Error for HandlerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let (Self::Retry { cause, .. } | Self::Reject { cause } | Self::Hold { cause } | Self::Unavailable { cause }) =
            self;
        cause.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn causes_are_told_once_each() {
        let inner = Layer { text: "connection refused", source: None };
        let middle = Layer { text: "no account: connection refused", source: Some(Box::new(inner)) };
        let outer = Layer { text: "billing", source: Some(Box::new(middle)) };
        assert_eq!(in_words(&outer), "billing: no account: connection refused");
        assert_eq!(in_words(&HandlerError::reject(outer)), "rejected: billing: no account: connection refused");
    }
}
