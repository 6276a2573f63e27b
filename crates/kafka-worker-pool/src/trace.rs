//! A span around each handler call, and where the records in it come from: W3C trace context as producers put it into the header
//! `traceparent`. With the feature `opentelemetry` the span joins their traces; without it, who wants that reads [`Record::trace_parent`] and
//! joins spans of their own.

use std::fmt;
use std::str::FromStr;

use tracing::Span;

use crate::record::Record;

/// The header's name.
const HEADER: &str = "traceparent";

/// One span of another process: <https://www.w3.org/TR/trace-context/#traceparent-header>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace, never all zero.
    pub trace_id: [u8; 16],
    /// The span in it, never all zero.
    pub span_id: [u8; 8],
    /// Whether it is recorded over there.
    pub is_sampled: bool,
}

/// The text is no trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no W3C traceparent: expected 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, ids not zero")]
pub struct NoTraceParent;

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    /// Version 00, and what later versions keep of it.
    fn from_str(text: &str) -> Result<Self, NoTraceParent> {
        let mut parts = text.trim().split('-');
        let mut part = |digits: usize| parts.next().filter(|part| part.len() == digits).ok_or(NoTraceParent);
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let [version] = hex(version)?;
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return Err(NoTraceParent);
        }
        let [flags] = hex(flags)?;
        let parsed = Self { trace_id: hex(trace)?, span_id: hex(span)?, is_sampled: flags & 1 == 1 };
        if parsed.trace_id == [0; 16] || parsed.span_id == [0; 8] { Err(NoTraceParent) } else { Ok(parsed) }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", u8::from(self.is_sampled))
    }
}

/// Lower-case digits only, as the standard asks.
fn hex<const BYTES: usize>(digits: &str) -> Result<[u8; BYTES], NoTraceParent> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NoTraceParent),
    };
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Ok(bytes)
}

impl Record {
    /// The producer's span, where it put one into the header `traceparent`. Text that is no trace context is ignored, as the standard
    /// asks.
    pub fn trace_parent(&self) -> Option<TraceParent> {
        std::str::from_utf8(self.headers.get(HEADER)?).ok()?.parse().ok()
    }
}

/// The span of one handler call.
pub(crate) fn batch_span(group: &str, records: &[Record], attempt: u32) -> Span {
    let first = &records[0];
    let span = tracing::info_span!(
        "batch",
        otel.kind = "consumer",
        group,
        records = records.len(),
        topic = &*first.topic,
        partition = first.partition,
        offset = first.offset,
        attempt,
        traceparent = first.trace_parent().map(tracing::field::display),
    );
    #[cfg(feature = "opentelemetry")]
    join(&span, records);
    span
}

/// Links of one span: beyond it, further producers are not named.
#[cfg(feature = "opentelemetry")]
const LINKS_MAX: usize = 128;

/// One record: its producer's span is the parent. Several: a span has one parent, so each producer's span is linked, once.
#[cfg(feature = "opentelemetry")]
fn join(span: &Span, records: &[Record]) {
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    if span.is_disabled() {
        return;
    }
    let context = |parent: TraceParent| {
        let flags = if parent.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace, span) = (TraceId::from_bytes(parent.trace_id), SpanId::from_bytes(parent.span_id));
        SpanContext::new(trace, span, flags, true, TraceState::default())
    };
    if let [record] = records {
        if let Some(parent) = record.trace_parent() {
            // Fails only where no OpenTelemetry layer is installed: then there is no trace to join.
            let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(context(parent)));
        }
        return;
    }
    let mut linked = std::collections::HashSet::new();
    for parent in records.iter().filter_map(Record::trace_parent) {
        if linked.len() < LINKS_MAX && linked.insert(parent) {
            span.add_link(context(parent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Headers;

    const REMOTE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_trace_contexts_are_taken_and_told_as_they_came() {
        assert_eq!(REMOTE.parse::<TraceParent>().unwrap().to_string(), REMOTE);
        let later = format!("01{}-later", &REMOTE[2..]);
        assert!(later.parse::<TraceParent>().is_ok(), "later versions may add fields");
        let wrong = [
            "",
            "00",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ];
        for text in wrong {
            assert_eq!(text.parse::<TraceParent>(), Err(NoTraceParent), "{text:?} was taken");
        }
        assert!(format!("{REMOTE}-x").parse::<TraceParent>().is_err());
    }

    fn record(traceparent: Option<&str>) -> Record {
        Record { headers: Headers::from_pairs(traceparent.map(|value| (HEADER, value))), ..Record::empty() }
    }

    #[test]
    fn a_record_tells_its_producers_span() {
        assert_eq!(record(Some(REMOTE)).trace_parent(), REMOTE.parse().ok());
        assert_eq!(record(Some("nonsense")).trace_parent(), None);
        assert_eq!(record(None).trace_parent(), None);
    }

    #[cfg(feature = "opentelemetry")]
    #[test]
    fn a_record_alone_joins_its_producers_trace_and_a_batch_links_to_each() {
        use opentelemetry::trace::TracerProvider as _;
        use tracing_subscriber::layer::SubscriberExt as _;

        const OTHER: &str = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01";
        let exporter = opentelemetry_sdk::trace::InMemorySpanExporter::default();
        let provider =
            opentelemetry_sdk::trace::SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            drop(batch_span("g", &[record(Some(REMOTE))], 1));
            let batch = [record(Some(REMOTE)), record(None), record(Some(OTHER)), record(Some(REMOTE))];
            drop(batch_span("g", &batch, 1));
        });
        let spans = exporter.get_finished_spans().unwrap();
        let (alone, batch) = (&spans[0], &spans[1]);
        assert_eq!(alone.span_context.trace_id().to_string(), REMOTE[3..35]);
        assert_eq!(alone.parent_span_id.to_string(), REMOTE[36..52]);
        let linked: Vec<String> = batch.links.iter().map(|link| link.span_context.span_id().to_string()).collect();
        assert_eq!(linked, [&REMOTE[36..52], &OTHER[36..52]], "each producer once");
    }
}
