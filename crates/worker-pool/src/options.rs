//! Settings

/// What happens to a handler call past its timeout. Either way the call counts as a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnTimeout {
    /// The future is dropped. For handlers that own nothing whose outcome must be known.
    #[default]
    Drop,
    /// The future is polled to its end, and only then is the attempt over: `Ok` then is a success, an error the failed attempt. For handlers that run their
    /// transaction in a task of its own and join it, so that no retry starts while an outcome is unknown. Such a handler must bound
    /// its transaction itself (a statement timeout below the handler's timeout).
    Await,
}
