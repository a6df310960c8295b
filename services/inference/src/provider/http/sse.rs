//! Server-sent events from arbitrary chunks of bytes, with as little copying as the chunks allow.
//!
//! Only the data of each event: what kind it is every provider repeats in there. Names, ids and comments are passed over.

use super::frames::{MAX_EVENT, TooLarge};

/// Splits a byte stream into events.
#[derive(Default)]
pub(super) struct Decoder {
    // A line that its chunk did not end.
    partial: Vec<u8>,
    // The data of an event whose blank line has not come.
    data: Vec<u8>,
    has_data: bool,
    // The chunk before ended in CR: a LF that comes now belongs to it.
    after_cr: bool,
    begun: bool,
}

impl Decoder {
    /// Feeds a chunk; `on_event` is called with the data of each event that it completes.
    pub(super) fn feed<E: From<TooLarge>>(
        &mut self,
        mut chunk: &[u8],
        mut on_event: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.after_cr && !chunk.is_empty() {
            self.after_cr = false;
            chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
        }
        while let Some(end) = chunk.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            let (line, rest) = (&chunk[..end], &chunk[end + 1..]);
            if chunk[end] == b'\r' {
                self.after_cr = rest.is_empty();
                chunk = rest.strip_prefix(b"\n").unwrap_or(rest);
            } else {
                chunk = rest;
            }
            if self.partial.is_empty() {
                self.line(line, &mut on_event)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole, &mut on_event)?;
                whole.clear();
                self.partial = whole;
            }
        }
        self.partial.extend_from_slice(chunk);
        if self.partial.len() + self.data.len() > MAX_EVENT { Err(TooLarge.into()) } else { Ok(()) }
    }

    /// The end of the bytes. Some servers leave the last blank line out; what was complete counts.
    pub(super) fn finish<E>(&mut self, mut on_event: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let last = std::mem::take(&mut self.partial);
        if last.starts_with(b"data:") {
            self.line(&last, &mut on_event)?;
        }
        self.line(b"", &mut on_event)
    }

    fn line<E>(&mut self, line: &[u8], on_event: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let line = if self.begun { line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) };
        self.begun = true;
        if line.is_empty() {
            if !std::mem::take(&mut self.has_data) {
                return Ok(());
            }
            let mut data = std::mem::take(&mut self.data);
            let result = on_event(&data);
            data.clear();
            self.data = data;
            return result;
        }
        if let Some(value) = line.strip_prefix(b"data").and_then(|l| l.strip_prefix(b":").or(l.is_empty().then_some(l))) {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            self.has_data = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use eventsource_stream::Eventsource as _;
    use futures::StreamExt as _;

    use super::*;

    impl From<TooLarge> for () {
        fn from(_: TooLarge) {}
    }

    fn decode(chunks: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for chunk in chunks {
            decoder
                .feed::<()>(chunk, |data| {
                    events.push(String::from_utf8(data.to_vec()).unwrap());
                    Ok(())
                })
                .unwrap();
        }
        events
    }

    const ODD: &str = "\u{feff}data: one\n\ndata:two\r\n\r\n: comment\nevent: x\nid: 7\ndata: three\rdata:  four\r\rdata\n\n\n\ndata: h\u{e9}llo \u{1f600}\n\nretry: 5\n\ndata: [DONE]\n\n";

    #[test]
    fn any_cut_gives_the_same_events() {
        let whole = decode(&[ODD.as_bytes()]);
        assert_eq!(whole, ["one", "two", "three\n four", "", "h\u{e9}llo \u{1f600}", "[DONE]"]);
        for cut in 0..=ODD.len() {
            let (a, b) = ODD.as_bytes().split_at(cut);
            assert_eq!(decode(&[a, b]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = ODD.as_bytes().chunks(1).collect();
        assert_eq!(decode(&bytes), whole);
    }

    #[tokio::test]
    async fn agrees_with_another_implementation() {
        let text = "data: a\n\nevent: e\ndata: b\ndata: c\n\n: note\n\ndata:d\r\n\r\ndata: {\"x\":1}\n\n";
        let theirs: Vec<String> = futures::stream::iter([Ok::<_, std::io::Error>(text.as_bytes())])
            .eventsource()
            .map(|event| event.unwrap().data)
            .collect()
            .await;
        assert_eq!(decode(&[text.as_bytes()]), theirs);
    }

    #[test]
    fn a_missing_last_blank_line_is_forgiven() {
        let mut decoder = Decoder::default();
        decoder.feed::<()>(b"data: a\n\ndata: b", |_| Ok(())).unwrap();
        let mut last = Vec::new();
        decoder
            .finish::<()>(|data| {
                last.push(data.to_vec());
                Ok(())
            })
            .unwrap();
        assert_eq!(last, [b"b".to_vec()]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut decoder = Decoder::default();
        let megabyte = vec![b'x'; 1 << 20];
        let refused = (0..20).any(|_| decoder.feed::<()>(&megabyte, |_| Ok(())).is_err());
        assert!(refused);
    }
}
