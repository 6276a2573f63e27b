//! Failures by what they mean, so that a handler says so with `?`: [`Retry`], [`Reject`], [`Hold`], [`Unavailable`], and [`OrFail`], which turns
//! any error into one of them. Pure types.

use std::time::Duration;

use crate::failure::{BoxError, HandlerError};

/// May work next time. `?` makes it [`HandlerError::Retry`].
///
/// ```
/// use std::time::Duration;
/// use worker_pool::{HandlerError, Retry};
///
/// fn book(status: u16) -> Result<(), HandlerError> {
///     match status {
///         200 => Ok(()),
///         429 => Err(Retry::new("the ledger is busy").after(Duration::from_secs(5)))?,
///         _ => Err(Retry::new(format!("the ledger said {status}")))?,
///     }
/// }
/// assert!(matches!(book(429), Err(HandlerError::Retry { after: Some(_), .. })));
/// ```
#[derive(Debug)]
pub struct Retry {
    cause: BoxError,
    after: Option<Duration>,
}

impl Retry {
    /// After the pool's own backoff.
    pub fn new(cause: impl Into<BoxError>) -> Self {
        Self { cause: cause.into(), after: None }
    }

    /// After exactly this long instead.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.after = Some(wait);
        self
    }
}

/// Can never work. `?` makes it [`HandlerError::Reject`].
#[derive(Debug)]
pub struct Reject(BoxError);

/// Not now, and somebody must decide. `?` makes it [`HandlerError::Hold`].
#[derive(Debug)]
pub struct Hold(BoxError);

/// The environment failed, not the job. `?` makes it [`HandlerError::Unavailable`].
#[derive(Debug)]
pub struct Unavailable(BoxError);

macro_rules! verdicts {
    ($($name:ident),+) => { $(
        impl $name {
            /// For this cause.
            pub fn new(cause: impl Into<BoxError>) -> Self {
                Self(cause.into())
            }
        }

        impl From<$name> for HandlerError {
            fn from($name(cause): $name) -> Self {
                Self::$name { cause }
            }
        }
    )+ };
}

verdicts!(Reject, Hold, Unavailable);

impl From<Retry> for HandlerError {
    fn from(Retry { cause, after }: Retry) -> Self {
        Self::Retry { cause, after }
    }
}

/// An error nobody judged may pass: it is tried again, up to `max_attempts`.
impl From<BoxError> for HandlerError {
    fn from(cause: BoxError) -> Self {
        match cause.downcast::<Self>() {
            Ok(judged) => *judged,
            Err(cause) => Self::retry(cause),
        }
    }
}

/// Says what an error means, whatever its type: anything that is or becomes a boxed error, so also `anyhow::Error` and text.
///
/// ```
/// use worker_pool::{HandlerError, OrFail};
///
/// async fn apply(text: &str) -> Result<(), HandlerError> {
///     let number: u32 = text.parse().or_reject()?;
///     store(number).await.or_retry()
/// }
/// # async fn store(_number: u32) -> std::io::Result<()> { Ok(()) }
/// ```
pub trait OrFail<T> {
    /// The error may pass: [`HandlerError::Retry`].
    fn or_retry(self) -> Result<T, HandlerError>;
    /// As [`or_retry`](Self::or_retry), after exactly this long.
    fn or_retry_after(self, wait: Duration) -> Result<T, HandlerError>;
    /// The job can never work: [`HandlerError::Reject`].
    fn or_reject(self) -> Result<T, HandlerError>;
    /// Somebody must decide: [`HandlerError::Hold`].
    fn or_hold(self) -> Result<T, HandlerError>;
    /// The environment failed: [`HandlerError::Unavailable`].
    fn or_unavailable(self) -> Result<T, HandlerError>;
}

impl<T, E: Into<BoxError>> OrFail<T> for Result<T, E> {
    fn or_retry(self) -> Result<T, HandlerError> {
        self.map_err(HandlerError::retry)
    }

    fn or_retry_after(self, wait: Duration) -> Result<T, HandlerError> {
        self.map_err(|error| Retry::new(error).after(wait).into())
    }

    fn or_reject(self) -> Result<T, HandlerError> {
        self.map_err(HandlerError::reject)
    }

    fn or_hold(self) -> Result<T, HandlerError> {
        self.map_err(HandlerError::hold)
    }

    fn or_unavailable(self) -> Result<T, HandlerError> {
        self.map_err(HandlerError::unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_question_mark(error: impl Into<HandlerError>) -> HandlerError {
        let failed = move || -> Result<(), HandlerError> {
            Err(error.into())?;
            Ok(())
        };
        failed().unwrap_err()
    }

    #[test]
    fn the_question_mark_keeps_what_an_error_means() {
        assert!(matches!(by_question_mark(Retry::new("busy")), HandlerError::Retry { after: None, .. }));
        assert!(matches!(by_question_mark(Reject::new("bad")), HandlerError::Reject { .. }));
        assert!(matches!(by_question_mark(Hold::new("full")), HandlerError::Hold { .. }));
        assert!(matches!(by_question_mark(Unavailable::new("away")), HandlerError::Unavailable { .. }));
        let unjudged: BoxError = "who knows".into();
        assert!(matches!(by_question_mark(unjudged), HandlerError::Retry { .. }));
        let judged: BoxError = Box::new(HandlerError::reject("bad"));
        assert!(matches!(by_question_mark(judged), HandlerError::Reject { .. }), "a box does not lose the verdict");
    }

    #[test]
    fn any_error_can_be_judged() {
        let parsed = || "x".parse::<u32>();
        assert!(matches!(parsed().or_reject(), Err(HandlerError::Reject { .. })));
        assert!(matches!(parsed().or_hold(), Err(HandlerError::Hold { .. })));
        let text: Result<(), &str> = Err("text");
        assert!(matches!(text.or_unavailable(), Err(HandlerError::Unavailable { .. })));
        let wait = Duration::from_secs(7);
        let boxed: Result<(), BoxError> = Err("boxed".into());
        assert!(
            matches!(boxed.or_retry_after(wait), Err(HandlerError::Retry { after: Some(after), .. }) if after == wait)
        );
    }
}
