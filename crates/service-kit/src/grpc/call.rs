//! One call: its deadline, its span, and the one measurement it leaves behind however it ends.

use std::time::{Duration, Instant};

use tonic::Code;
use tonic::codegen::http::HeaderMap;
use tracing::Span;

use crate::telemetry;

/// Records duration and code exactly once, when dropped: a call that nobody finished was cancelled.
#[derive(Debug)]
pub(super) struct Measurement {
    method: String,
    begun: Instant,
    code: Code,
    pub(super) span: Span,
}

impl Measurement {
    pub(super) fn begin(method: String, headers: &HeaderMap) -> Self {
        let span =
            tracing::info_span!("grpc", otel.kind = "server", otel.name = method, method, code = tracing::field::Empty);
        if let Some(parent) = headers.get("traceparent").and_then(|value| value.to_str().ok()) {
            telemetry::set_parent(&span, parent);
        }
        Self { method, begun: Instant::now(), code: Code::Cancelled, span }
    }

    pub(super) fn ends_with(&mut self, code: Code) {
        self.code = code;
    }

    /// The code in headers or trailers, if they hold one.
    pub(super) fn code_in(headers: &HeaderMap) -> Option<Code> {
        headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        let code = format!("{:?}", self.code);
        self.span.record("code", code.as_str());
        let elapsed = self.begun.elapsed();
        tracing::debug!(parent: &self.span, method = self.method, code, ?elapsed, "call ended");
        let method = std::mem::take(&mut self.method);
        metrics::histogram!("grpc_server_seconds", "method" => method, "code" => code).record(elapsed);
    }
}

/// The time a call may take: its client's deadline, but never more than the server's own limit.
pub(super) fn time_allowed(headers: &HeaderMap, limit: Duration) -> Duration {
    // tonic looks at the same header outside of this layer and answers CANCELLED; a moment earlier, the answer is DEADLINE_EXCEEDED.
    const EARLIER: Duration = Duration::from_millis(1);
    headers
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(parse_timeout)
        .map_or(limit, |asked| asked.saturating_sub(EARLIER).min(limit))
}

/// `<1 to 8 digits><unit>`: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests>.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_the_clients_up_to_the_servers_limit() {
        let limit = Duration::from_secs(30);
        for (header, allowed) in [
            (Some("250m"), Duration::from_millis(249)),
            (Some("5S"), Duration::from_millis(4999)),
            (Some("2H"), limit),
            (Some("100u"), Duration::ZERO),
            (Some("nonsense"), limit),
            (Some("123456789S"), limit),
            (None, limit),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert("grpc-timeout", header.parse().unwrap());
            }
            assert_eq!(time_allowed(&headers, limit), allowed, "{header:?}");
        }
    }
}
