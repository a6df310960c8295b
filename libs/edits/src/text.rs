//! A stored text by its lines, and the only way to change it: spans that are replaced, everything else byte for byte as it was.

use std::ops::Range;

pub(super) const BOM: &str = "\u{feff}";

/// How the lines of a text end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endings {
    /// There is no line end.
    None,
    Lf,
    CrLf,
    /// Some this way, some that.
    Mixed,
}

/// Where a line lies in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) start: usize,
    /// Where its content ends.
    pub(super) end: usize,
    /// Where the next line starts.
    pub(super) next: usize,
}

/// A stored text. Offsets are those of the stored bytes; a byte order mark belongs to no line.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    stored: &'a str,
    body: usize,
    lines: Vec<Line>,
    endings: Endings,
}

/// A span of the stored text and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Splice {
    pub(super) span: Range<usize>,
    pub(super) with: String,
}

impl<'a> Text<'a> {
    pub(super) fn of(stored: &'a str) -> Text<'a> {
        let body = if stored.starts_with(BOM) { BOM.len() } else { 0 };
        let mut lines = Vec::new();
        let (mut lf, mut crlf) = (false, false);
        let mut start = body;
        while start < stored.len() {
            let next = stored[start..].find('\n').map_or(stored.len(), |at| start + at + 1);
            let line = &stored[start..next];
            let end = start + content(line).len();
            match next - end {
                2 => crlf = true,
                1 => lf = true,
                _ => {}
            }
            lines.push(Line { start, end, next });
            start = next;
        }
        let endings = match (lf, crlf) {
            (false, false) => Endings::None,
            (true, false) => Endings::Lf,
            (false, true) => Endings::CrLf,
            (true, true) => Endings::Mixed,
        };
        Text { stored, body, lines, endings }
    }

    pub(super) fn stored(&self) -> &'a str {
        self.stored
    }

    /// The text without the byte order mark.
    pub(super) fn body(&self) -> &'a str {
        &self.stored[self.body..]
    }

    /// Where the body starts in the stored text.
    pub(super) fn body_start(&self) -> usize {
        self.body
    }

    pub(super) fn endings(&self) -> Endings {
        self.endings
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// A line without its end.
    pub(super) fn line(&self, index: usize) -> &'a str {
        let line = self.lines[index];
        &self.stored[line.start..line.end]
    }

    pub(super) fn contents(&self) -> Vec<&'a str> {
        self.lines.iter().map(|line| &self.stored[line.start..line.end]).collect()
    }

    pub(super) fn is_crlf(&self, index: usize) -> bool {
        self.lines.get(index).is_some_and(|line| line.next - line.end == 2)
    }

    /// True where the text has a line and the last one has an end.
    pub(super) fn ends_with_newline(&self) -> bool {
        self.lines.last().is_some_and(|line| line.next > line.end)
    }

    /// The number of the line that holds this byte, from 1.
    pub(super) fn line_number(&self, at: usize) -> usize {
        self.lines.partition_point(|line| line.start <= at).max(1)
    }

    /// Where the line with this index starts; past the last one, where the text ends.
    pub(super) fn start(&self, index: usize) -> usize {
        self.lines.get(index).map_or(self.stored.len(), |line| line.start)
    }

    /// The end that a new line gets: that of the line in whose place it comes, or of the one before, or what the text has.
    pub(super) fn ending_at(&self, index: usize) -> &'static str {
        match self.endings {
            Endings::CrLf => "\r\n",
            Endings::Lf | Endings::None => "\n",
            Endings::Mixed => {
                let terminated = |at: usize| self.lines.get(at).filter(|line| line.next > line.end).map(|_| self.is_crlf(at));
                let before = || index.checked_sub(1).and_then(terminated);
                if terminated(index).or_else(before).unwrap_or(false) { "\r\n" } else { "\n" }
            }
        }
    }

    /// Puts lines in place of the lines of a range, which may be empty. The final newline stays as it is.
    pub(super) fn splice_lines(&self, range: Range<usize>, with: &[String]) -> Splice {
        let span = self.start(range.start)..self.start(range.end);
        let at_open_end = range.end == self.len() && self.len() > 0 && !self.ends_with_newline();
        let mut text = String::new();
        for (offset, line) in with.iter().enumerate() {
            let index = (range.start + offset).min(range.end.saturating_sub(1).max(range.start));
            let ending = self.ending_at(index);
            if at_open_end && (offset > 0 || range.is_empty()) {
                text.push_str(ending);
            }
            text.push_str(line);
            if !at_open_end {
                text.push_str(ending);
            }
        }
        Splice { span, with: text }
    }

    /// Carries out splices that are in order and do not overlap.
    pub(super) fn apply(&self, splices: &[Splice]) -> String {
        let more: usize = splices.iter().map(|s| s.with.len()).sum();
        let mut after = String::with_capacity(self.stored.len() + more);
        let mut at = 0;
        for Splice { span, with } in splices {
            after.push_str(&self.stored[at..span.start]);
            after.push_str(with);
            at = span.end;
        }
        after.push_str(&self.stored[at..]);
        after
    }

    /// Text with the line ends that this one has.
    pub(super) fn with_my_endings(&self, text: &str) -> String {
        match self.endings {
            Endings::CrLf => unix(text).replace('\n', "\r\n"),
            Endings::Lf => unix(text),
            Endings::None | Endings::Mixed => text.to_owned(),
        }
    }
}

/// A line without its end.
pub(super) fn content(line: &str) -> &str {
    match line.strip_suffix('\n') {
        Some(rest) => rest.strip_suffix('\r').unwrap_or(rest),
        None => line,
    }
}

/// Every CRLF as one LF.
pub(super) fn unix(text: &str) -> String {
    text.replace("\r\n", "\n")
}

pub(super) fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

/// A line without blanks at its end.
pub(super) fn trim_end(line: &str) -> &str {
    line.trim_end_matches([' ', '\t', '\r'])
}

/// The blanks that a line starts with.
pub(super) fn indent(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(stored: &str, range: Range<usize>, with: &[&str]) -> String {
        let text = Text::of(stored);
        let with: Vec<String> = with.iter().map(|l| (*l).to_owned()).collect();
        text.apply(&[text.splice_lines(range, &with)])
    }

    #[test]
    fn lines_are_found_whatever_ends_them() {
        let text = Text::of("\u{feff}a\r\n\nb\rc\nd");
        assert_eq!(text.contents(), ["a", "", "b\rc", "d"]);
        assert_eq!((text.endings(), text.ends_with_newline(), text.body_start()), (Endings::Mixed, false, 3));
        assert_eq!((text.line_number(3), text.line_number(6), text.line_number(text.stored().len())), (1, 2, 4));
        assert_eq!(Text::of("").len(), 0);
        assert_eq!(Text::of("\n").contents(), [""]);
        assert_eq!(Text::of("a").endings(), Endings::None);
    }

    #[test]
    fn lines_are_put_in_place_and_the_end_stays_as_it_is() {
        assert_eq!(put("a\nb\n", 1..2, &["x", "y"]), "a\nx\ny\n");
        assert_eq!(put("a\nb", 1..2, &["x", "y"]), "a\nx\ny");
        assert_eq!(put("a\nb", 2..2, &["x"]), "a\nb\nx");
        assert_eq!(put("a\nb\n", 2..2, &["x"]), "a\nb\nx\n");
        assert_eq!(put("a\nb\n", 0..0, &["x"]), "x\na\nb\n");
        assert_eq!(put("a\r\nb\r\n", 1..1, &["x", "y"]), "a\r\nx\r\ny\r\nb\r\n");
        assert_eq!(put("\u{feff}a\n", 0..0, &["x"]), "\u{feff}x\na\n");
        assert_eq!(put("", 0..0, &["x"]), "x\n");
        assert_eq!(put("a\nb\nc\n", 1..2, &[]), "a\nc\n");
        assert_eq!(put("a\nb", 1..2, &[]), "a\n");
    }

    #[test]
    fn in_a_mixed_file_a_line_ends_like_the_one_that_it_replaces() {
        assert_eq!(put("a\r\nb\nc\r\n", 1..2, &["x"]), "a\r\nx\nc\r\n");
        assert_eq!(put("a\r\nb\nc\r\n", 0..1, &["x", "y"]), "x\r\ny\r\nb\nc\r\n");
        assert_eq!(put("a\nb\r\n", 2..2, &["x"]), "a\nb\r\nx\r\n");
    }
}
