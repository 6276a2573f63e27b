//! Reads the body of a request, up to a number of bytes and within a time.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde_json::json;

use super::too_large;

/// Longest time a body may take to arrive: who sends nothing must not hold a place.
const PATIENCE: Duration = Duration::from_secs(120);
/// Reserved for a body before any of it has come: announcing costs nothing, so it must not take much.
const MOST_RESERVED_BYTES: usize = 1_048_576;

/// The bytes of a body; else the answer that refuses it.
pub(super) async fn read(headers: &HeaderMap, body: Body, what: &str, limit: usize) -> Result<Vec<u8>, Response> {
    let refuse = || {
        let error = format!("{what} takes at most {limit} bytes; send less");
        too_large(&error, limit)
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(refuse());
    }
    let reading = async {
        let mut bytes = Vec::with_capacity(announced.unwrap_or_default().min(MOST_RESERVED_BYTES));
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk =
                chunk.map_err(|error| broken(StatusCode::BAD_REQUEST, &format!("the body broke off: {error}")))?;
            if bytes.len() + chunk.len() > limit {
                return Err(refuse());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(read) => read,
        Err(_) => Err(broken(
            StatusCode::REQUEST_TIMEOUT,
            &format!("the body did not arrive within {PATIENCE:?}; send it again"),
        )),
    }
}

fn broken(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error, "reason": "BODY_INCOMPLETE"}))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_chunks(chunks: &[&'static str], length: Option<&str>) -> Result<Vec<u8>, StatusCode> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok::<_, std::io::Error>(*chunk)).collect();
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        let mut headers = HeaderMap::new();
        headers.extend(length.map(|length| (header::CONTENT_LENGTH, length.parse().unwrap())));
        read(&headers, body, "a test", 6).await.map_err(|refusal| refusal.status())
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit_whatever_it_announces() {
        assert_eq!(read_chunks(&["abc", "def"], None).await, Ok(b"abcdef".to_vec()));
        assert_eq!(read_chunks(&["abc", "defg"], None).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        assert_eq!(read_chunks(&["abc", "defg"], Some("2")).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        assert_eq!(read_chunks(&[], Some("7")).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_body() {
        let chunks = [Ok("abc"), Err(std::io::Error::other("gone"))];
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        let refusal = read(&HeaderMap::new(), body, "a test", 6).await.unwrap_err();
        assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
    }
}
