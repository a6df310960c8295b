//! W3C trace context in and out of `tracing` spans.

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The header that carries it.
pub(crate) const HEADER: &str = "traceparent";

struct One(String);

impl Injector for One {
    fn set(&mut self, key: &str, value: String) {
        if key == HEADER {
            self.0 = value;
        }
    }
}

impl Extractor for One {
    fn get(&self, key: &str) -> Option<&str> {
        (key == HEADER).then_some(self.0.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        vec![HEADER]
    }
}

/// The current span's `traceparent`; `None` outside a trace.
pub(crate) fn current() -> Option<String> {
    let context = tracing::Span::current().context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = One(String::new());
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    Some(carrier.0)
}

/// Makes `span` a child of the span that `traceparent` names.
pub fn set_parent(span: &tracing::Span, traceparent: &str) {
    if !traceparent.is_empty() {
        let parent = TraceContextPropagator::new().extract(&One(traceparent.to_owned()));
        // Refused only when the span is disabled or has begun: then there is no trace to join.
        let _ = span.set_parent(parent);
    }
}
