//! The outline of a document: its keys with their lines and depths, and how a document is split along them.
//!
//! [`scan`] reads an outline off the indentation alone. It serves where a YAML parser cannot: templates and broken files.

use super::lines::{Lines, Span};

/// Keys deeper than this are not joints.
pub(super) const MAX_DEPTH: usize = 8;

/// A key of a mapping, or `[]` for an item of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Its line, from 0.
    pub(super) line: usize,
    /// 0 for the keys of the document.
    pub(super) depth: usize,
    pub(super) name: String,
}

/// One document of a file.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) start: usize,
    pub(super) end: usize,
    /// In the order of lines.
    pub(super) keys: Vec<Key>,
    /// Small neighbours among the document's own keys stay apart too: each is looked for by its name.
    pub(super) apart: bool,
    /// The value of `kind`.
    pub(super) kind: String,
    /// The value of `metadata.name`.
    pub(super) name: String,
}

impl Document {
    /// Splits the document at the keys of its first depth, and further where a part is too large. Titles are `prefix` and
    /// the key's path.
    pub(super) fn split(&self, lines: &Lines<'_>, prefix: &str, spans: &mut Vec<Span>) {
        self.split_at(lines, (self.start, self.end), 0, prefix, "", spans);
    }

    fn split_at(
        &self,
        lines: &Lines<'_>,
        (start, end): (usize, usize),
        depth: usize,
        prefix: &str,
        path: &str,
        spans: &mut Vec<Span>,
    ) {
        let children = self.children(start, end, depth);
        if children.is_empty() {
            spans.push(Span { start, end, title: title(prefix, path) });
            return;
        }
        let mut starts: Vec<usize> = Vec::with_capacity(children.len() + 1);
        for (n, child) in children.iter().enumerate() {
            let floor = if n == 0 { start } else { children[n - 1].line + 1 };
            starts.push(if n == 0 { start } else { lines.comments_above(child.line, floor) });
        }
        starts.push(end);
        let mut n = 0;
        while n < children.len() {
            let mut last = n;
            // Small neighbours share a chunk.
            let apart = self.apart && depth == 0;
            while !apart && last + 1 < children.len() && lines.fits(starts[n], starts[last + 2]) {
                last += 1;
            }
            let range = (starts[n], starts[last + 1]);
            let child = if last > n { path.to_owned() } else { join(path, &children[n].name) };
            if last > n || depth >= MAX_DEPTH || lines.fits(range.0, range.1) {
                spans.push(Span { start: range.0, end: range.1, title: title(prefix, &child) });
            } else {
                self.split_at(lines, range, depth + 1, prefix, &child, spans);
            }
            n = last + 1;
        }
    }

    /// The keys of one depth within lines, one a line at most.
    fn children(&self, start: usize, end: usize, depth: usize) -> Vec<&Key> {
        let from = self.keys.partition_point(|k| k.line < start);
        let within = self.keys[from..].iter().take_while(|k| k.line < end).filter(|k| k.depth == depth);
        let mut children: Vec<&Key> = Vec::new();
        for key in within {
            if children.last().is_none_or(|last| last.line < key.line) {
                children.push(key);
            }
        }
        children
    }
}

fn title(prefix: &str, path: &str) -> String {
    match (prefix.is_empty(), path.is_empty()) {
        (_, true) => prefix.to_owned(),
        (true, false) => path.to_owned(),
        (false, false) => format!("{prefix} {path}"),
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() || name == "[]" { format!("{path}{name}") } else { format!("{path}.{name}") }
}

/// Reads the outline of lines `start..end` off their indentation.
pub(super) fn scan(lines: &Lines<'_>, start: usize, end: usize) -> Document {
    let mut document = Document { start, end, ..Document::default() };
    // Indentation in half steps: the dash of an item stands between its parent key and its own keys.
    let mut stack: Vec<(usize, String)> = Vec::new();
    for line in start..end {
        let text = lines.get(line);
        let mut rest = text.trim_start_matches(' ');
        let mut indent = text.len() - rest.len();
        if rest.starts_with(['#', '{', '}']) {
            continue;
        }
        while let Some(item) = rest.strip_prefix("- ") {
            document.enter(&mut stack, indent * 2 + 1, line, "[]");
            indent += 2 + (item.len() - item.trim_start_matches(' ').len());
            rest = item.trim_start_matches(' ');
        }
        let Some((name, value)) = key_of(rest) else { continue };
        document.enter(&mut stack, indent * 2, line, name);
        document.note(&stack, value);
    }
    document
}

impl Document {
    fn enter(&mut self, stack: &mut Vec<(usize, String)>, indent: usize, line: usize, name: &str) {
        while stack.last().is_some_and(|(above, _)| *above >= indent) {
            stack.pop();
        }
        if stack.len() <= MAX_DEPTH {
            self.keys.push(Key { line, depth: stack.len(), name: name.to_owned() });
        }
        stack.push((indent, name.to_owned()));
    }

    fn note(&mut self, stack: &[(usize, String)], value: &str) {
        let path: Vec<&str> = stack.iter().rev().take(3).rev().map(|(_, name)| name.as_str()).collect();
        match path[..] {
            ["kind"] if self.kind.is_empty() => value.clone_into(&mut self.kind),
            ["metadata", "name"] if self.name.is_empty() && !value.contains("{{") => value.clone_into(&mut self.name),
            _ => {}
        }
    }
}

/// `name: value` of a line, or `None` when it is no key.
fn key_of(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let ends = value.is_empty() || value.starts_with([' ', '\t', '\r']);
    let name = name.trim_matches(['"', '\'']);
    let plain = !name.is_empty() && name.len() <= 128 && name.chars().all(|c| c.is_alphanumeric() || "_-./$".contains(c));
    (ends && plain).then(|| (name, value.trim().trim_matches(['"', '\''])))
}
