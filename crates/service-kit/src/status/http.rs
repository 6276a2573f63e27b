//! [`ApiError`] as an HTTP answer: a JSON body with `error` first, and Retry-After where it helps.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::ApiError;
use super::error::log_internal;

impl ApiError {
    /// The HTTP status.
    #[must_use]
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::RequestIdReused { .. } => StatusCode::BAD_REQUEST,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::AlreadyExists { .. } | Self::Aborted { .. } | Self::FailedPrecondition { .. } => StatusCode::CONFLICT,
            Self::Unavailable { .. } | Self::ResourceExhausted { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let message = match &self {
            Self::Internal(cause) => log_internal(cause),
            other => other.to_string(),
        };
        let mut body = json!({"error": message, "reason": self.reason()});
        let violations: Vec<Value> = match &self {
            Self::Invalid(violations) => {
                violations.iter().map(|(field, description)| json!({"field": field, "description": description})).collect()
            }
            Self::FailedPrecondition { violations, .. } => violations
                .iter()
                .map(|violation| json!({"type": violation.kind, "subject": violation.subject, "description": violation.description}))
                .collect(),
            _ => Vec::new(),
        };
        if !violations.is_empty() {
            body["violations"] = Value::from(violations);
        }
        let metadata: Map<String, Value> =
            self.metadata().into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
        if !metadata.is_empty() {
            body["metadata"] = Value::from(metadata);
        }
        let mut response = (self.http_status(), Json(body)).into_response();
        if let Some(retry_after) = self.retry_after() {
            // The header counts whole seconds; 0 would mean "at once".
            let seconds = retry_after.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_full_queue_is_503_with_the_error_and_whole_seconds_to_wait() {
        let response = ApiError::resource_exhausted("the queue is full", Duration::from_millis(1200)).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&body["error"], &body["reason"]),
            (&"the queue is full".into(), &contracts::reasons::QUEUE_FULL.into())
        );
    }
}
