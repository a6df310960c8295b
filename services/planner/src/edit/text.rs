//! Text as a model sees it (`\n`, no byte order mark) over text as it is stored (CRLF and the mark kept).

const BOM: &str = "\u{feff}";

/// Why a text was not found exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// It does not occur; perhaps a text that differs in white space alone does, at this line.
    None { similar_line: Option<usize> },
    /// It occurs more than once, at these lines.
    Many { lines: Vec<usize> },
}

/// A stored text and the way to change it without touching what is not changed.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    bom: bool,
    /// As stored, without the byte order mark.
    raw: String,
    /// As seen: every CRLF is one `\n`.
    seen: String,
    /// Offsets in `seen` of each `\n` that is a CRLF in `raw`, ascending.
    crlf: Vec<usize>,
}

impl Text {
    /// Reads a stored text.
    pub(crate) fn of(stored: &str) -> Text {
        let (bom, raw) = match stored.strip_prefix(BOM) {
            Some(rest) => (true, rest),
            None => (false, stored),
        };
        let mut seen = String::with_capacity(raw.len());
        let mut crlf = Vec::new();
        let mut rest = raw;
        while let Some(at) = rest.find("\r\n") {
            seen.push_str(&rest[..at]);
            crlf.push(seen.len());
            seen.push('\n');
            rest = &rest[at + 2..];
        }
        seen.push_str(rest);
        Text { bom, raw: raw.to_owned(), seen, crlf }
    }

    /// As a model sees it.
    pub(crate) fn seen(&self) -> &str {
        &self.seen
    }

    /// How many lines it has; a last line without an end counts.
    pub(crate) fn line_count(&self) -> usize {
        self.seen.lines().count()
    }

    /// Replaces the one occurrence of `old`. Gives the stored text and the line of the change.
    pub(crate) fn replace(&self, old: &str, new: &str) -> Result<(String, usize), Mismatch> {
        let (old, new) = (unix(old), unix(new));
        let at = self.find_once(&old)?;
        // Only what differs is written, so that mixed line ends around it stay as they are.
        let (start, end) = common_ends(&old, &new);
        let stored = self.splice(at + start, at + old.len() - end, &new[start..new.len() - end]);
        Ok((stored, self.line_of(at)))
    }

    /// Puts `text` after line `line`; 0 is the top. `Err` carries the number of lines there are.
    pub(crate) fn insert(&self, line: usize, text: &str) -> Result<String, usize> {
        let count = self.line_count();
        if line > count {
            return Err(count);
        }
        let at = self.seen.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
        let mut text = unix(text);
        let open_end = at == self.seen.len() && at > 0 && !self.seen.ends_with('\n');
        if open_end {
            text.insert(0, '\n');
        } else if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(self.splice(at, at, &text))
    }

    fn find_once(&self, old: &str) -> Result<usize, Mismatch> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(at) = self.seen[from..].find(old) {
            found.push(from + at);
            // One character on, not one match on: overlapping occurrences are ambiguous, too.
            from += at + self.seen[from + at..].chars().next().map_or(1, char::len_utf8);
            if from > self.seen.len() || found.len() > 100 {
                break;
            }
        }
        match found.as_slice() {
            [at] => Ok(*at),
            [] => Err(Mismatch::None { similar_line: self.similar(old) }),
            many => Err(Mismatch::Many { lines: many.iter().map(|at| self.line_of(*at)).collect() }),
        }
    }

    /// The first line of a run of lines that equal those of `old` but for white space.
    fn similar(&self, old: &str) -> Option<usize> {
        let wanted: Vec<String> = old.lines().map(squeeze).filter(|l| !l.is_empty()).collect();
        let lines: Vec<(usize, String)> =
            self.seen.lines().enumerate().map(|(i, l)| (i + 1, squeeze(l))).filter(|(_, l)| !l.is_empty()).collect();
        if wanted.is_empty() {
            return None;
        }
        lines.windows(wanted.len()).find(|w| w.iter().map(|(_, l)| l).eq(&wanted)).map(|w| w[0].0)
    }

    fn line_of(&self, at: usize) -> usize {
        self.seen[..at].matches('\n').count() + 1
    }

    /// The offset in `raw` of an offset in `seen`.
    fn raw_offset(&self, seen: usize) -> usize {
        seen + self.crlf.partition_point(|at| *at < seen)
    }

    fn splice(&self, start: usize, end: usize, text: &str) -> String {
        let lines = self.seen.matches('\n').count();
        let crlf = !self.crlf.is_empty() && self.crlf.len() * 2 >= lines;
        let text = if crlf { text.replace('\n', "\r\n") } else { text.to_owned() };
        let mut stored = String::with_capacity(self.raw.len() + text.len() + BOM.len());
        if self.bom {
            stored.push_str(BOM);
        }
        stored.push_str(&self.raw[..self.raw_offset(start)]);
        stored.push_str(&text);
        stored.push_str(&self.raw[self.raw_offset(end)..]);
        stored
    }
}

fn unix(text: &str) -> String {
    text.strip_prefix(BOM).unwrap_or(text).replace("\r\n", "\n")
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The bytes that both share at the start and at the end, without overlap, cut at characters.
fn common_ends(old: &str, new: &str) -> (usize, usize) {
    let start: usize = old.chars().zip(new.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let end =
        old[start..].chars().rev().zip(new[start..].chars().rev()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(stored: &str, old: &str, new: &str) -> String {
        Text::of(stored).replace(old, new).unwrap().0
    }

    #[test]
    fn replaces_the_only_occurrence() {
        assert_eq!(replaced("a: 1\nb: 2\n", "b: 2", "b: 3"), "a: 1\nb: 3\n");
        assert_eq!(replaced("a: 1\nb: 2", "b: 2", ""), "a: 1\n");
        assert_eq!(replaced("grün: 1\n", "grün", "gräulich"), "gräulich: 1\n");
        assert_eq!(Text::of("a\nb\nc\n").replace("c", "d").unwrap().1, 3);
    }

    #[test]
    fn tells_how_often_a_text_occurs() {
        let text = Text::of("x: 1\ny: 2\nx: 1\n");
        assert_eq!(text.replace("x: 1", "x: 2"), Err(Mismatch::Many { lines: vec![1, 3] }));
        assert_eq!(Text::of("aaa").replace("aa", "b"), Err(Mismatch::Many { lines: vec![1, 1] }));
        assert_eq!(text.replace("z", "x"), Err(Mismatch::None { similar_line: None }));
        assert_eq!(text.replace("y:  2", "y: 3"), Err(Mismatch::None { similar_line: Some(2) }));
        assert_eq!(Text::of("ééé").replace("éé", "b"), Err(Mismatch::Many { lines: vec![1, 1] }));
    }

    #[test]
    fn keeps_crlf_and_byte_order_mark() {
        assert_eq!(replaced("\u{feff}a: 1\r\nb: 2\r\n", "a: 1\nb: 2", "a: 1\nc: 3\nb: 2"), "\u{feff}a: 1\r\nc: 3\r\nb: 2\r\n");
        assert_eq!(replaced("a: 1\r\nb: 2\r\n", "a: 1\r\nb", "a: 9\r\nb"), "a: 9\r\nb: 2\r\n");
        assert_eq!(replaced("a\r\nb", "\n", "-"), "a-b");
        assert_eq!(Text::of("\u{feff}a\r\n").seen(), "a\n");
    }

    #[test]
    fn leaves_mixed_line_ends_where_nothing_changes() {
        assert_eq!(replaced("a\r\nb\nc\r\nd\n", "a\nb\nc\nd", "a\nb\nC\nd"), "a\r\nb\nC\r\nd\n");
        assert_eq!(replaced("a\r\nb\nc\n", "b", "B"), "a\r\nB\nc\n");
        assert_eq!(replaced("one\rtwo\n", "two", "2"), "one\r2\n", "a lone carriage return is a character");
    }

    #[test]
    fn inserts_after_a_line() {
        let insert = |stored: &str, line, text: &str| Text::of(stored).insert(line, text);
        assert_eq!(insert("a\nb\n", 0, "x").unwrap(), "x\na\nb\n");
        assert_eq!(insert("a\nb\n", 1, "x\n").unwrap(), "a\nx\nb\n");
        assert_eq!(insert("a\nb\n", 2, "x").unwrap(), "a\nb\nx\n");
        assert_eq!(insert("a\nb", 2, "x").unwrap(), "a\nb\nx");
        assert_eq!(insert("a\r\nb\r\n", 1, "x\ny").unwrap(), "a\r\nx\r\ny\r\nb\r\n");
        assert_eq!(insert("", 0, "x").unwrap(), "x\n");
        assert_eq!(insert("a\n", 2, "x"), Err(1));
        assert_eq!(insert("\u{feff}a\n", 0, "x").unwrap(), "\u{feff}x\na\n");
    }
}
