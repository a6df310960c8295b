//! How the bytes of an answer are cut into events: server-sent events, JSON lines, or one document.

use reqwest::header::{CONTENT_TYPE, HeaderMap};

use super::{lines, sse};

/// No real event is larger.
pub(super) const MAX_EVENT: usize = 16 << 20;
const MAX_WHOLE_ANSWER: usize = 32 << 20;

/// A kind of framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Events,
    /// A JSON document on each line.
    Lines,
}

/// Cuts the bytes of one answer.
pub(super) enum Frames {
    Events(sse::Decoder),
    Lines(lines::Decoder),
    // Servers that do not stream answer with one JSON document.
    Whole(Vec<u8>),
}

/// An event, or a whole answer, is larger than any real one.
#[derive(Debug)]
pub(super) struct TooLarge;

impl Frames {
    /// The framing that a response has by its headers, else the protocol's usual one.
    pub(super) fn of(headers: &HeaderMap, usual: Framing) -> Self {
        let said = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let is = |name: &str| said.split(';').next().is_some_and(|s| s.trim().eq_ignore_ascii_case(name));
        if is("text/event-stream") {
            Self::Events(sse::Decoder::default())
        } else if is("application/json") {
            Self::Whole(Vec::new())
        } else if usual == Framing::Lines || is("application/x-ndjson") {
            Self::Lines(lines::Decoder::default())
        } else {
            Self::Events(sse::Decoder::default())
        }
    }

    /// Feeds some bytes; `on_event` is called with each event that they complete.
    pub(super) fn feed<E: From<TooLarge>>(
        &mut self,
        bytes: &[u8],
        on_event: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Events(decoder) => decoder.feed(bytes, on_event),
            Self::Lines(decoder) => decoder.feed(bytes, on_event),
            Self::Whole(whole) => {
                whole.extend_from_slice(bytes);
                if whole.len() > MAX_WHOLE_ANSWER { Err(TooLarge.into()) } else { Ok(()) }
            }
        }
    }

    /// The end of the bytes.
    pub(super) fn finish<E>(&mut self, mut on_event: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Events(decoder) => decoder.finish(on_event),
            Self::Lines(decoder) => decoder.finish(on_event),
            Self::Whole(whole) => on_event(whole),
        }
    }
}
