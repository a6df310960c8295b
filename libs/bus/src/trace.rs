//! Carries a trace across a queue: from a W3C `traceparent` to a span's parent and back.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Makes `span` a child of the call that `traceparent` names. A missing or malformed one changes nothing: a trace that
/// cannot be continued is no reason to drop the work.
pub fn set_parent(span: &Span, traceparent: &str) {
    if let Some(parent) = parse(traceparent) {
        let context = opentelemetry::Context::new().with_remote_span_context(parent);
        // Fails only when no telemetry layer is installed: then there is no trace to continue.
        let _ = span.set_parent(context);
    }
}

/// The `traceparent` of the span we are in; empty when it is not traced.
pub fn current() -> String {
    let context = Span::current().context();
    let span = context.span();
    let found = span.span_context();
    if !found.is_valid() {
        return String::new();
    }
    format!("00-{}-{}-{:02x}", found.trace_id(), found.span_id(), found.trace_flags().to_u8())
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version.len() != 2 || version == "ff" || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_parents_are_read() {
        let parent = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("valid");
        assert_eq!(parent.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span_id().to_string(), "00f067aa0ba902b7");
        assert!(parent.is_sampled() && parent.is_remote());
    }

    #[test]
    fn malformed_parents_are_passed_over() {
        for bad in ["", "00", "00-0-0-0", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "zz-é"] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
        set_parent(&Span::none(), "nonsense");
        assert_eq!(current(), "");
    }
}
