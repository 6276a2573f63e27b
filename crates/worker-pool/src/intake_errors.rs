//! How an intake refuses a job, and how an accepted job fails.

/// Why a job was not accepted. Nothing of the call was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// No room now; later there may be.
    #[error("the queue is full: {in_queue} of {capacity} places taken; try again later")]
    Full {
        /// Places in the queue.
        capacity: usize,
        /// Places taken.
        in_queue: usize,
    },
    /// More jobs in one call than the queue could ever take.
    #[error("{submitted} jobs in one call: the queue never takes more than {limit}; send fewer")]
    TooLarge {
        /// Jobs in the call.
        submitted: usize,
        /// Places in the queue.
        limit: usize,
    },
    /// The intake has been closed for a shutdown.
    #[error("the intake is closed: the process is shutting down")]
    Closed,
}

/// Why an accepted job has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The handler refused the job, or held it.
    #[error("rejected: {cause}")]
    Rejected {
        /// The handler's reason.
        cause: String,
    },
    /// Every attempt failed (error, timeout or panic).
    #[error("failed after {attempts} attempts: {cause}")]
    Failed {
        /// How many attempts.
        attempts: u32,
        /// The last failure.
        cause: String,
    },
    /// The environment failed and the intake answers such failures at once. Whether the job took effect is unknown.
    #[error("unavailable: {cause}")]
    Unavailable {
        /// What is away.
        cause: String,
    },
    /// The intake ended before the job was done. Whether it took effect is unknown.
    #[error("the intake stopped before the job was done")]
    Stopped,
}
