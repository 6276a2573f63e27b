//! W3C trace context as text: what travels in gRPC metadata, the outbox row and Kafka headers.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The current span as `traceparent` (`00-<trace id>-<span id>-<flags>`), or None outside of any span.
#[must_use]
pub fn traceparent() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let context = span.span_context();
    context
        .is_valid()
        .then(|| format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8()))
}

/// Makes `span` a child of the remote span that `traceparent` names. Text that is no trace context is ignored, as the standard asks.
pub fn set_parent(span: &Span, traceparent: &str) {
    if let Some(parent) = parse(traceparent) {
        // Fails only where no trace layer is installed: then there is no trace to join.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
}

/// <https://www.w3.org/TR/trace-context/#traceparent-header>, version 00 and what later versions keep of it.
fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = (version.len(), trace.len(), span.len(), flags.len());
    if lengths != (2, 32, 16, 2) || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1);
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const REMOTE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_child_of_a_remote_span_carries_its_trace_on() {
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("reaction");
            set_parent(&span, REMOTE);
            let carried = span.in_scope(traceparent).expect("inside a span there is a trace");
            assert_eq!(carried[..36], REMOTE[..36], "same trace");
            assert_ne!(carried[36..52], REMOTE[36..52], "a span of its own");
            assert!(carried.ends_with("-01"), "sampled as the parent");
        });
    }

    #[test]
    fn only_trace_contexts_are_taken() {
        assert!(parse(REMOTE).is_some());
        assert!(parse(&format!("01{}-later", &REMOTE[2..])).is_some(), "later versions may add fields");
        for wrong in [
            "",
            "00",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(parse(wrong).is_none(), "{wrong:?} was taken");
        }
        assert!(parse(&format!("{REMOTE}-x")).is_none());
    }
}
