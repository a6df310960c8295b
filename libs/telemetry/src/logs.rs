//! One line per event, for people or as JSON, with the ids of the spans around it.
//!
//! The ids are few and known ([`IDS`]); each span keeps those it was given, and a line takes the innermost of each. Spans
//! without any of them cost nothing here, and nothing is formatted before there is a line to write.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::TraceContextExt as _;
use tracing::dispatcher::WeakDispatch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime as Rfc3339};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::Format;

/// The span fields that a log line repeats.
const IDS: [&str; 7] = ["method", "request_id", "project", "conversation_id", "run_id", "plan_id", "workspace_id"];
/// Names that a JSON line uses itself; an event's field of that name gets a `_` behind it.
const RESERVED: [&str; 5] = ["timestamp", "level", "target", "trace_id", "span_id"];

/// The layer that writes log lines.
pub(crate) struct Logs<W> {
    json: bool,
    ansi: bool,
    writer: W,
    dispatch: OnceLock<WeakDispatch>,
}

impl<W> Logs<W> {
    pub(crate) fn new(format: Format, writer: W) -> Logs<W> {
        let terminal = std::io::stderr().is_terminal();
        let json = format == Format::Json || format == Format::Auto && !terminal;
        let ansi = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Logs { json, ansi, writer, dispatch: OnceLock::new() }
    }
}

/// The ids that one span was given, in the order of [`IDS`].
#[derive(Default)]
struct SpanIds([Option<Box<str>>; IDS.len()]);

impl SpanIds {
    fn set(&mut self, field: &Field, value: impl Into<Box<str>>) {
        if let Some(i) = position(field.name()) {
            self.0[i] = Some(value.into());
        }
    }
}

impl Visit for SpanIds {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if position(field.name()).is_some() {
            self.set(field, format!("{value:?}"));
        }
    }
}

fn position(name: &str) -> Option<usize> {
    IDS.iter().position(|id| *id == name)
}

/// What a line knows about the spans around it.
#[derive(Default)]
struct Around {
    ids: SpanIds,
    trace: Option<(String, String)>,
}

impl<S, W> Layer<S> for Logs<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        // Set once: a layer belongs to one subscriber.
        let _ = self.dispatch.set(dispatch.downgrade());
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if !attributes.fields().iter().any(|f| position(f.name()).is_some()) {
            return;
        }
        let mut ids = SpanIds::default();
        attributes.record(&mut ids);
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().insert(Box::new(ids));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id)
            && let Some(ids) = span.extensions_mut().get_mut::<Box<SpanIds>>()
        {
            values.record(ids.as_mut());
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        thread_local! {
            static LINE: RefCell<String> = const { RefCell::new(String::new()) };
        }
        LINE.with(|line| {
            // Writing a line logs nothing; should it ever, that line is lost rather than the process.
            let Ok(mut line) = line.try_borrow_mut() else { return };
            line.clear();
            let around = ctx.event_span(event).map(|span| self.around(&span)).unwrap_or_default();
            let written = if self.json { json(event, &around, &mut line) } else { pretty(event, &around, self.ansi, &mut line) };
            if written.is_ok() {
                line.push('\n');
                // A log that cannot be written has nowhere to complain to.
                let _ = self.writer.make_writer_for(event.metadata()).write_all(line.as_bytes());
            }
        });
    }
}

impl<W> Logs<W> {
    fn around<S: for<'a> LookupSpan<'a>>(&self, span: &SpanRef<'_, S>) -> Around {
        let mut around = Around::default();
        for span in span.scope() {
            let extensions = span.extensions();
            let Some(found) = extensions.get::<Box<SpanIds>>() else { continue };
            for (ours, theirs) in around.ids.0.iter_mut().zip(&found.0) {
                if ours.is_none() {
                    ours.clone_from(theirs);
                }
            }
        }
        let dispatch = self.dispatch.get().and_then(WeakDispatch::upgrade);
        let context = dispatch.and_then(|d| tracing_opentelemetry::get_otel_context(&span.id(), &d));
        if let Some(context) = context {
            let span = context.span();
            let ids = span.span_context();
            around.trace = ids.is_valid().then(|| (ids.trace_id().to_string(), ids.span_id().to_string()));
        }
        around
    }
}

fn json(event: &Event<'_>, around: &Around, out: &mut String) -> fmt::Result {
    out.push_str("{\"timestamp\":\"");
    Rfc3339.format_time(&mut Writer::new(out))?;
    write!(out, "\",\"level\":\"{}\"", event.metadata().level())?;
    let mut fields = JsonFields { out, target: None, own: [false; IDS.len()] };
    event.record(&mut fields);
    let (target, own) = (fields.target.take(), fields.own);
    pair(out, "target", target.as_deref().unwrap_or(event.metadata().target()));
    for (i, id) in around.ids.0.iter().enumerate().filter(|(i, _)| !own[*i]) {
        if let Some(id) = id {
            pair(out, IDS[i], id);
        }
    }
    if let Some((trace, span)) = &around.trace {
        pair(out, "trace_id", trace);
        pair(out, "span_id", span);
    }
    out.push('}');
    Ok(())
}

fn pair(out: &mut String, name: &str, value: &str) {
    out.push(',');
    string(out, name);
    out.push(':');
    string(out, value);
}

fn string(out: &mut String, value: &str) {
    // A text always has a JSON form.
    out.push_str(&serde_json::to_string(value).unwrap_or_default());
}

struct JsonFields<'a> {
    out: &'a mut String,
    /// The real target of a line that came through the `log` crate.
    target: Option<String>,
    own: [bool; IDS.len()],
}

impl JsonFields<'_> {
    fn value(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.name(field) {
            // Writing to a string cannot fail.
            let _ = self.out.write_fmt(value);
        }
    }

    fn text(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            self.target = Some(value.to_owned());
        }
        if self.name(field) {
            string(self.out, value);
        }
    }

    /// Writes the name and the colon; false for the fields that only the `log` bridge wants.
    fn name(&mut self, field: &Field) -> bool {
        let name = field.name();
        if name.starts_with("log.") {
            return false;
        }
        if let Some(i) = position(name) {
            self.own[i] = true;
        }
        self.out.push(',');
        if RESERVED.contains(&name) {
            string(self.out, &format!("{name}_"))
        } else {
            string(self.out, name)
        }
        self.out.push(':');
        true
    }
}

impl Visit for JsonFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() { self.value(field, format_args!("{value}")) } else { self.text(field, &value.to_string()) }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
}

/// An error and everything that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

fn pretty(event: &Event<'_>, around: &Around, ansi: bool, out: &mut String) -> fmt::Result {
    let paint = |code: &'static str| if ansi { code } else { "" };
    let (dim, reset) = (paint("\x1b[2m"), paint("\x1b[0m"));
    let level = match *event.metadata().level() {
        Level::ERROR => paint("\x1b[31m"),
        Level::WARN => paint("\x1b[33m"),
        Level::INFO => paint("\x1b[32m"),
        _ => paint("\x1b[34m"),
    };
    let mut fields = PrettyFields { message: String::new(), rest: String::new(), target: None };
    event.record(&mut fields);
    let target = fields.target.as_deref().unwrap_or(event.metadata().target());
    write!(
        out,
        "{dim}{}{reset} {level}{:>5}{reset} {dim}{target}:{reset} {}",
        clock(),
        event.metadata().level(),
        fields.message
    )?;
    out.push_str(&fields.rest);
    for (name, id) in IDS.iter().zip(&around.ids.0) {
        if let Some(id) = id {
            write!(out, " {dim}{name}={id}{reset}")?;
        }
    }
    match &around.trace {
        Some((trace, _)) => write!(out, " {dim}trace_id={trace}{reset}"),
        None => Ok(()),
    }
}

/// The time of day, UTC, to the millisecond.
fn clock() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let s = now.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}.{:03}Z", s / 3600, s / 60 % 60, s % 60, now.subsec_millis())
}

struct PrettyFields {
    message: String,
    rest: String,
    target: Option<String>,
}

impl PrettyFields {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => self.message.write_fmt(value),
            "log.target" => {
                self.target = Some(value.to_string());
                Ok(())
            }
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.rest, " {name}={value}"),
        };
    }
}

impl Visit for PrettyFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" | "log.target" => self.put(field, format_args!("{value}")),
            _ => self.put(field, format_args!("{value:?}")),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, format_args!("{:?}", chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::{Settings, provider, traces};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: Format, work: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let settings = Settings::default();
        let provider = provider(&settings).unwrap();
        let logs = Logs { ansi: false, ..Logs::new(format, move || writer.clone()) };
        let subscriber = tracing_subscriber::registry().with(traces(&provider, &settings)).with(logs);
        tracing::subscriber::with_default(subscriber, work);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn work() {
        let call = tracing::info_span!("call", method = "/a.B/C", request_id = %"r1", run_id = tracing::field::Empty);
        let _call = call.enter();
        call.record("run_id", "run1");
        let inner = tracing::info_span!("step", request_id = "r2");
        let _inner = inner.enter();
        let error = std::io::Error::other(TestError(std::io::Error::other("disk full")));
        tracing::warn!(error = &error as &dyn std::error::Error, n = 3, level = "x", text = "a\n\"b\"", "it went wrong");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write")]
    struct TestError(#[source] std::io::Error);

    #[test]
    fn json_lines_carry_the_ids_of_their_spans() {
        let text = lines(Format::Json, work);
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(line["message"], "it went wrong");
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["level_"], "x");
        assert_eq!(line["n"], 3);
        assert_eq!(line["text"], "a\n\"b\"");
        assert_eq!(line["error"], "cannot write: disk full");
        assert_eq!(line["method"], "/a.B/C");
        assert_eq!(line["request_id"], "r2", "the innermost");
        assert_eq!(line["run_id"], "run1", "recorded later");
        assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
        assert_eq!(line["target"], module_path!());
    }

    #[test]
    fn pretty_lines_are_one_line() {
        let text = lines(Format::Pretty, work);
        assert!(text.contains(" WARN ") && text.contains("it went wrong") && text.contains("run_id=run1"), "{text}");
        assert_eq!(text.trim().lines().count(), 1, "{text}");
    }

    #[test]
    fn an_event_s_own_id_goes_before_its_span_s() {
        let text = lines(Format::Json, || {
            tracing::info_span!("call", run_id = "outer").in_scope(|| tracing::info!(run_id = "own", "m"));
        });
        assert_eq!(text.matches("run_id").count(), 1, "{text}");
        assert!(text.contains("\"run_id\":\"own\""), "{text}");
    }
}
