//! JSON documents, one a line, from arbitrary chunks of bytes.

use super::frames::{MAX_EVENT, TooLarge};

/// Splits a byte stream into lines.
#[derive(Default)]
pub(super) struct Decoder {
    // A line that its chunk did not end.
    partial: Vec<u8>,
}

impl Decoder {
    /// Feeds a chunk; `on_line` is called with each line that it completes, blank ones excepted.
    pub(super) fn feed<E: From<TooLarge>>(
        &mut self,
        mut chunk: &[u8],
        mut on_line: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = chunk.iter().position(|b| *b == b'\n') {
            let line = &chunk[..end];
            chunk = &chunk[end + 1..];
            if self.partial.is_empty() {
                visit(line, &mut on_line)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                visit(&whole, &mut on_line)?;
                whole.clear();
                self.partial = whole;
            }
        }
        self.partial.extend_from_slice(chunk);
        if self.partial.len() > MAX_EVENT { Err(TooLarge.into()) } else { Ok(()) }
    }

    /// The end of the bytes. A document without a line end counts when it is whole.
    pub(super) fn finish<E>(&mut self, mut on_line: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let last = std::mem::take(&mut self.partial);
        if last.trim_ascii_end().ends_with(b"}") { visit(&last, &mut on_line) } else { Ok(()) }
    }
}

fn visit<E>(line: &[u8], on_line: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let line = line.trim_ascii();
    if line.is_empty() { Ok(()) } else { on_line(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut lines = Vec::new();
        let mut keep = |line: &[u8]| {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            Ok::<_, ()>(())
        };
        for chunk in chunks {
            decoder.feed(chunk, &mut keep).unwrap();
        }
        decoder.finish(&mut keep).unwrap();
        lines
    }

    #[test]
    fn any_cut_gives_the_same_lines() {
        let text = "{\"a\":1}\n\r\n {\"b\":\"h\u{e9}\"}\r\n{\"c\":3}".as_bytes();
        let whole = decode(&[text]);
        assert_eq!(whole, ["{\"a\":1}", "{\"b\":\"h\u{e9}\"}", "{\"c\":3}"]);
        for cut in 0..=text.len() {
            assert_eq!(decode(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
        assert_eq!(decode(&[b"{\"a\":1}\n{\"b\":"]), ["{\"a\":1}"]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut decoder = Decoder::default();
        let megabyte = vec![b'x'; 1 << 20];
        assert!((0..20).any(|_| decoder.feed::<()>(&megabyte, |_| Ok(())).is_err()));
    }
}
