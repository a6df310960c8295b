//! The lines of a file: what a span of them costs, and how one that is too long is cut into windows.

use super::{Chunk, MAX_CHUNKS, MAX_LINES, MAX_TOKENS};

/// A piece of an endless line, in characters.
const SLICE_CHARS: usize = 800;

/// Lines `start..end`, from 0, that belong together under a title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) title: String,
}

/// A file's lines with what each of them costs.
pub(super) struct Lines<'a> {
    lines: Vec<&'a str>,
    costs: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(content: &'a str) -> Self {
        let lines: Vec<_> = content.lines().collect();
        let costs = lines.iter().map(|line| cost(line)).collect();
        Self { lines, costs }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The line, without its end.
    pub(super) fn get(&self, at: usize) -> &'a str {
        self.lines.get(at).copied().unwrap_or_default()
    }

    pub(super) fn all(&self, title: &str) -> Span {
        Span { start: 0, end: self.len(), title: title.to_owned() }
    }

    pub(super) fn is_blank(&self, at: usize) -> bool {
        self.get(at).trim().is_empty()
    }

    /// Whether the lines fit one chunk.
    pub(super) fn fits(&self, start: usize, end: usize) -> bool {
        let end = end.min(self.len());
        end.saturating_sub(start) <= MAX_LINES
            && self.costs.get(start..end).is_some_and(|c| c.iter().sum::<usize>() <= MAX_TOKENS)
    }

    /// The first of the comment lines that stand directly above `line`, not going above `floor`.
    pub(super) fn comments_above(&self, line: usize, floor: usize) -> usize {
        let mut first = line;
        while first > floor && self.get(first - 1).trim_start().starts_with('#') {
            first -= 1;
        }
        first
    }

    /// Appends the span's chunks: one when it fits, else windows of lines that overlap by `overlap`.
    pub(super) fn cut(&self, span: &Span, overlap: usize, chunks: &mut Vec<Chunk>) {
        let end = span.end.min(self.len());
        let mut at = span.start;
        while at < end && chunks.len() < MAX_CHUNKS {
            if self.costs[at] > MAX_TOKENS {
                self.slice(at, &span.title, chunks);
                at += 1;
                continue;
            }
            let stop = self.window(at, end);
            self.push(at, stop, &span.title, chunks);
            let again = if stop < end && stop - at > 3 * overlap { overlap } else { 0 };
            at = stop - again;
        }
    }

    /// Where the window that begins at `start` ends: as far as it fits, back to a blank line when one is near.
    fn window(&self, start: usize, end: usize) -> usize {
        let (mut stop, mut tokens) = (start, 0);
        while stop < end && stop - start < MAX_LINES && (stop == start || tokens + self.costs[stop] <= MAX_TOKENS) {
            tokens += self.costs[stop];
            stop += 1;
        }
        if stop == end {
            return end;
        }
        let near = start + (stop - start) * 2 / 3;
        (near.max(start + 1)..stop).rev().find(|at| self.is_blank(*at)).map_or(stop, |blank| blank + 1)
    }

    fn push(&self, start: usize, end: usize, title: &str, chunks: &mut Vec<Chunk>) {
        let Some(first) = (start..end).find(|at| !self.is_blank(*at)) else { return };
        let last = (first..end).rev().find(|at| !self.is_blank(*at)).unwrap_or(first);
        let text = self.lines[first..=last].join("\n");
        chunks.push(Chunk { start_line: number(first), end_line: number(last), title: title.to_owned(), text });
    }

    /// A line that is too long for a chunk becomes several, all with its number.
    fn slice(&self, at: usize, title: &str, chunks: &mut Vec<Chunk>) {
        let mut rest = self.lines[at];
        while !rest.trim().is_empty() && chunks.len() < MAX_CHUNKS {
            let cut = rest.char_indices().nth(SLICE_CHARS).map_or(rest.len(), |(byte, _)| byte);
            let (head, tail) = rest.split_at(cut);
            chunks.push(Chunk { start_line: number(at), end_line: number(at), title: title.to_owned(), text: head.to_owned() });
            rest = tail;
        }
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}

/// About as many word pieces as the model's tokenizer makes of a line: a word is one for every six letters, a mark is one.
fn cost(line: &str) -> usize {
    let (mut tokens, mut run) = (0, 0);
    for c in line.chars() {
        if c.is_alphanumeric() {
            tokens += usize::from(run % 6 == 0);
            run += 1;
        } else {
            tokens += usize::from(!c.is_whitespace());
            run = 0;
        }
    }
    tokens
}
