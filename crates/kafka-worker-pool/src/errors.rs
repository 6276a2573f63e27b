//! What can go wrong with a pool as a whole. What goes wrong with one record is `HandlerError`.

use crate::report::RunReport;

/// Why a pool did not start. An unreachable broker or a missing topic is not among them: the pool waits for those.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An option has an impossible value.
    #[error("option {name} = {value}: {remedy}")]
    Option {
        /// The option.
        name: String,
        /// The value found.
        value: String,
        /// What to do.
        remedy: String,
    },
    /// No topic was named.
    #[error("no topic to read: give at least one name or pattern with `topics`")]
    NoTopics,
    /// A topic pattern is no regular expression.
    #[error("topic pattern {pattern:?} cannot be read: {cause}; it is a regular expression of the Rust crate regex")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Started outside a tokio runtime.
    #[error("no tokio runtime here: start the pool from inside one, its lanes run there")]
    NoRuntime,
    /// librdkafka refused its configuration, or could not be set up.
    #[error("Kafka client: {0}; check the client properties")]
    Client(String),
    /// The operating system gave no thread.
    #[error("no thread for the pool: {0}")]
    Thread(std::io::Error),
}

impl StartError {
    pub(crate) fn option(name: &str, value: &str, remedy: &str) -> Self {
        Self::Option { name: name.to_owned(), value: value.to_owned(), remedy: remedy.to_owned() }
    }
}

/// Why a running pool ended by itself.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// librdkafka reports that this client cannot go on (fenced, authorisation, protocol).
    #[error("Kafka client failed for good: {0}; start a new pool")]
    Client(String),
    /// A rule of the pool itself was broken; going on could lose records.
    #[error("the pool stopped itself: {0}")]
    Invariant(String),
}

/// Why a stop was not clean.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// Records in hand were not done by the deadline. Nothing is lost: they will be read again.
    #[error("{} records were not done by the drain deadline; they will be read again", .0.undone)]
    Deadline(RunReport),
    /// The last commit did not go through. Nothing is lost: some records will be read again.
    #[error("the last commit failed: {cause}; up to {} handled records will be read again", .report.handled)]
    Commit {
        /// librdkafka's reason.
        cause: String,
        /// What was done.
        report: RunReport,
    },
    /// The pool had ended by itself before. Nothing is lost: what was not committed will be read again.
    #[error("{error}")]
    Pool {
        /// Why.
        error: PoolError,
        /// What was done.
        report: RunReport,
    },
}

impl StopError {
    /// What was done until then.
    pub fn report(&self) -> &RunReport {
        match self {
            Self::Deadline(report) | Self::Commit { report, .. } | Self::Pool { report, .. } => report,
        }
    }
}
