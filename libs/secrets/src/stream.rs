//! Redacting a text that comes in pieces.

use crate::scanner::Scanner;
use crate::{marker, sections};

/// Redacts a text piece by piece. What comes out, put together, is what [`Scanner::redact`] makes of the whole text,
/// wherever it was cut. At most 64 KiB and a piece are held back: a secret may be longer than what has come of it, and what
/// a document is can stand at its end.
#[derive(Debug)]
pub struct Redactor {
    scanner: Scanner,
    held: String,
    carry: Option<&'static str>,
}

impl Default for Redactor {
    fn default() -> Self {
        Scanner::standard().redactor()
    }
}

impl Redactor {
    pub(crate) fn new(scanner: Scanner) -> Self {
        Self { scanner, held: String::new(), carry: None }
    }

    /// Takes the next piece; gives what is certain by now.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        self.take(false)
    }

    /// The rest. The redactor can be used for another text afterwards.
    pub fn finish(&mut self) -> String {
        let rest = self.take(true);
        self.carry = None;
        rest
    }

    fn take(&mut self, whole: bool) -> String {
        let (mut out, mut at) = (String::new(), 0);
        while let Some(length) = sections::next(&self.held[at..], whole) {
            let section = &self.held[at..at + length];
            let mut kept = 0;
            for hit in self.scanner.section(section, None, &mut self.carry) {
                out.push_str(&section[kept..hit.range.start]);
                out.push_str(&marker(hit.rule));
                kept = hit.range.end;
            }
            out.push_str(&section[kept..]);
            at += length;
        }
        self.held.drain(..at);
        out
    }
}
