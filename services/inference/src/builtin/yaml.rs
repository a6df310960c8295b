//! YAML with positions: what a file says and where exactly it says it, so that it can be changed without being rewritten.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

mod edit;
mod value;

pub(super) use edit::{add, remove, set, shown};
pub(super) use value::{Value, double_quoted};

/// One step of a path into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seg {
    /// A mapping's key.
    Key(String),
    /// A list's item by number.
    Index(usize),
    /// A list's item by its `name`.
    Named(String),
}

/// A way into a document.
pub(super) type Path = Vec<Seg>;

/// A node and the bytes that it takes. A block collection ends with its last item; a missing value sits after its colon.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) flow: bool,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Map(Vec<(Node, Node)>),
    List(Vec<Node>),
    Scalar { text: String, style: Style },
    Alias,
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    Block,
}

impl Node {
    /// An empty document.
    pub(super) const fn nothing() -> Self {
        Self { kind: Kind::Scalar { text: String::new(), style: Style::Plain }, start: 0, end: 0, flow: false }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _)| k.text() == Some(key)).map(|(_, v)| v)
    }

    /// The node that a path leads to.
    pub(super) fn find(&self, path: &[Seg]) -> Option<&Node> {
        path.iter().try_fold(self, |node, seg| node.step(seg))
    }

    pub(super) fn step(&self, seg: &Seg) -> Option<&Node> {
        match seg {
            Seg::Key(key) => self.get(key),
            Seg::Index(n) => self.items().get(*n),
            Seg::Named(name) => self.items().iter().find(|i| i.get("name").and_then(Node::text) == Some(name)),
        }
    }

    /// The value of a chain of keys.
    pub(super) fn at(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    pub(super) fn entries(&self) -> &[(Node, Node)] {
        if let Kind::Map(entries) = &self.kind { entries } else { &[] }
    }

    pub(super) fn items(&self) -> &[Node] {
        if let Kind::List(items) = &self.kind { items } else { &[] }
    }

    /// A scalar's text, without its quotes.
    pub(super) fn text(&self) -> Option<&str> {
        if let Kind::Scalar { text, .. } = &self.kind { Some(text) } else { None }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }

    /// Nothing written, or one of the spellings of null.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, style: Style::Plain } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// A collection without items, or null.
    pub(super) fn is_empty(&self) -> bool {
        match &self.kind {
            Kind::Map(entries) => entries.is_empty(),
            Kind::List(items) => items.is_empty(),
            Kind::Scalar { .. } => self.is_null(),
            Kind::Alias => false,
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match &self.kind {
            Kind::Scalar { text, style: Style::Plain } if text.eq_ignore_ascii_case("true") => Some(true),
            Kind::Scalar { text, style: Style::Plain } if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// Every mapping below and at this node, with the keys that lead to it. Lists are not entered.
    pub(super) fn maps(&self) -> Vec<(Vec<String>, &Node)> {
        let mut found = Vec::new();
        self.collect_maps(&mut Vec::new(), &mut found);
        found
    }

    fn collect_maps<'a>(&'a self, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, &'a Node)>) {
        if !self.is_map() {
            return;
        }
        found.push((path.clone(), self));
        for (key, value) in self.entries() {
            if let Some(key) = key.text() {
                path.push(key.to_owned());
                value.collect_maps(path, found);
                path.pop();
            }
        }
    }
}

/// The documents of a file. `None` when it is not YAML, as a template is not.
pub(super) fn parse(text: &str) -> Option<Vec<Node>> {
    // `{{ x }}` alone on a line would pass for a mapping of mappings.
    if text.lines().any(|l| l.trim_start().trim_start_matches("- ").starts_with("{{")) {
        return None;
    }
    let mut reader = Reader { text, bytes: byte_positions(text), docs: Vec::new(), open: Vec::new() };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.ok()?;
        reader.event(event, span)?;
    }
    Some(reader.docs)
}

/// A path from keys.
pub(super) fn keys(keys: &[impl AsRef<str>]) -> Path {
    keys.iter().map(|k| Seg::Key(k.as_ref().to_owned())).collect()
}

// The parser counts characters; files are cut at bytes.
fn byte_positions(text: &str) -> Option<Vec<usize>> {
    if text.is_ascii() {
        return None;
    }
    Some(text.char_indices().map(|(at, _)| at).chain([text.len()]).collect())
}

struct Reader<'a> {
    text: &'a str,
    bytes: Option<Vec<usize>>,
    docs: Vec<Node>,
    open: Vec<Open>,
}

struct Open {
    list: bool,
    flow: bool,
    start: usize,
    nodes: Vec<Node>,
}

impl Reader<'_> {
    fn byte(&self, index: usize) -> usize {
        match &self.bytes {
            Some(bytes) => bytes.get(index).copied().unwrap_or(self.text.len()),
            None => index.min(self.text.len()),
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let (start, end) = (self.byte(span.start.index()), self.byte(span.end.index()));
        match event {
            Event::SequenceStart(..) => self.open(true, start, b'['),
            Event::MappingStart(..) => self.open(false, start, b'{'),
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop()?;
                self.close(open, end)?;
            }
            Event::Scalar(text, style, ..) => {
                let node = self.scalar(text.into_owned(), style, start, end);
                self.push(node);
            }
            Event::Alias(_) => self.push(Node { kind: Kind::Alias, start, end, flow: true }),
            Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::Nothing => {}
        }
        Some(())
    }

    fn open(&mut self, list: bool, start: usize, bracket: u8) {
        let flow = self.text.as_bytes().get(start) == Some(&bracket);
        self.open.push(Open { list, flow, start, nodes: Vec::new() });
    }

    fn close(&mut self, open: Open, end: usize) -> Option<()> {
        let Open { list, flow, start, nodes } = open;
        // The parser's end of a bracket reaches to the next token.
        let end = if flow {
            self.text[..end].rfind(if list { ']' } else { '}' }).map_or(end, |at| at + 1)
        } else {
            nodes.last().map_or(start, |n| n.end)
        };
        let start = if flow || list { start } else { nodes.first().map_or(start, |n| n.start) };
        let kind = if list {
            Kind::List(nodes)
        } else {
            let mut entries = Vec::with_capacity(nodes.len() / 2);
            let mut nodes = nodes.into_iter();
            while let Some(key) = nodes.next() {
                let mut value = nodes.next()?;
                if !flow && value.start == value.end {
                    let colon = self.text[key.end..].find(':')? + key.end + 1;
                    (value.start, value.end) = (colon, colon);
                }
                entries.push((key, value));
            }
            Kind::Map(entries)
        };
        let end = match &kind {
            Kind::Map(entries) if !flow => entries.last().map_or(end, |(_, v)| v.end),
            _ => end,
        };
        self.push(Node { kind, start, end, flow });
        Some(())
    }

    fn scalar(&self, text: String, style: ScalarStyle, start: usize, end: usize) -> Node {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        if style == Style::Plain && text.is_empty() {
            return Node { kind: Kind::Scalar { text, style }, start, end: start, flow: false };
        }
        let end = start + self.text[start..end.max(start)].trim_end().len();
        let start = if style == Style::Block { self.header(start) } else { start };
        Node { kind: Kind::Scalar { text, style }, start, end, flow: false }
    }

    /// Where the `|` or `>` of a block scalar stands, from where its first line begins.
    fn header(&self, content: usize) -> usize {
        let before = self.text[..content].trim_end();
        let line = before.rfind('\n').map_or(0, |n| n + 1);
        let value = [": ", "- ", ":\t"].iter().filter_map(|m| before[line..].find(m)).max().unwrap_or(0) + line;
        before[value..].find(['|', '>']).map_or(content, |at| at + value)
    }

    fn push(&mut self, node: Node) {
        match self.open.last_mut() {
            Some(open) => open.nodes.push(node),
            None => self.docs.push(node),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans<'a>(text: &'a str, node: &Node, out: &mut Vec<&'a str>) {
        match &node.kind {
            Kind::Map(entries) => entries.iter().for_each(|(k, v)| {
                spans(text, k, out);
                spans(text, v, out);
            }),
            Kind::List(items) => items.iter().for_each(|i| spans(text, i, out)),
            _ => out.push(&text[node.start..node.end]),
        }
    }

    #[test]
    fn positions_are_exact() {
        let text = "# höhe\na: 1 # one\nb:\n  - x: \"q\"  \n    y: 'z'\n  - p q\nc:\nd: {k: v, l: [1, 2]}\ne: |\n  line\n  two\n\nf: last\n";
        for text in [text.to_owned(), text.replace('\n', "\r\n")] {
            let docs = parse(&text).unwrap();
            let mut out = Vec::new();
            spans(&text, &docs[0], &mut out);
            let block = if text.contains('\r') { "|\r\n  line\r\n  two" } else { "|\n  line\n  two" };
            let expected =
                ["a", "1", "b", "x", "\"q\"", "y", "'z'", "p q", "c", "", "d", "k", "v", "l", "1", "2", "e", block, "f", "last"];
            assert_eq!(out, expected);
            let c = docs[0].get("c").unwrap();
            assert_eq!(&text[c.start - 2..c.start], "c:");
            let d = docs[0].get("d").unwrap();
            assert_eq!(&text[d.start..d.end], "{k: v, l: [1, 2]}");
        }
    }

    #[test]
    fn several_documents_and_templates() {
        assert_eq!(parse("a: 1\n---\nb: 2\n---\n").unwrap().len(), 3);
        assert!(parse("{{- if .Values.x }}\na: {{ .Values.y }}\n{{- end }}\n").is_none());
    }
}
