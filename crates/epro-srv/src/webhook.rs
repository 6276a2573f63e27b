//! One push over HTTP. Knows the request and what an answer means; must not know rows or retries.

use std::error::Error;
use std::time::Duration;

use serde::Serialize;

use crate::domain::push::{self, Failure};
use crate::store::push::Leased;

/// Longest cause that is kept.
const MAX_CAUSE_CHARS: usize = 500;

/// Where pushes are posted.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    client: reqwest::Client,
    url: reqwest::Url,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct SendError {
    /// Whether another attempt may go well.
    pub(crate) failure: Failure,
    /// What happened.
    pub(crate) cause: String,
}

/// What the receiver gets as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    notification_id: String,
    kind: &'a str,
    study_id: &'a str,
    subject_id: &'a str,
    assignment_id: String,
    visit_id: &'a str,
    instrument_id: &'a str,
    due_on: String,
    window_closes_on: String,
    attempt: i64,
}

impl Webhook {
    /// Posts to `url`; an attempt takes at most `timeout`. Redirects are not followed: a push goes where the configuration says.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub(crate) fn new(url: reqwest::Url, timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("epro-srv/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, url })
    }

    /// Makes one attempt. The key is the same in every attempt, so that a receiver can tell a repetition.
    ///
    /// # Errors
    /// What happened, and whether another attempt may go well.
    pub(crate) async fn send(&self, push: &Leased) -> Result<(), SendError> {
        let body = Body {
            notification_id: push.id.to_string(),
            kind: push.kind.as_str(),
            study_id: &push.study_id,
            subject_id: &push.subject_id,
            assignment_id: push.assignment_id.to_string(),
            visit_id: &push.visit_id,
            instrument_id: &push.instrument_id,
            due_on: push.due_on.to_string(),
            window_closes_on: push.window_closes_on.to_string(),
            attempt: push.attempt,
        };
        let request = self.client.post(self.url.clone()).header("Idempotency-Key", push.id.to_string()).json(&body);
        let answer = request.send().await.map_err(|error| SendError {
            failure: Failure::Passing,
            cause: shortened(&causes(&error.without_url())),
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(SendError { failure: push::classify(status.as_u16()), cause: format!("the receiver answered {status}") })
    }
}

fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(MAX_CAUSE_CHARS).collect()
}
