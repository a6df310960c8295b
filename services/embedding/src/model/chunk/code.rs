//! Source code: cut at its definitions, by tree-sitter. A definition comes with the comments and attributes above it; a large
//! one is cut at those inside; small neighbours share a chunk. What does not parse is cut where it does.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tree_sitter::{Node, ParseOptions, Parser, Tree};

use super::lines::{Lines, Span};

/// Definitions in definitions beyond this depth are not joints.
const MAX_DEPTH: usize = 6;
/// Names in one title.
const MAX_NAMES: usize = 4;
/// The longest that a file may be parsed for. Code of a megabyte takes a fraction of it; a file made to keep every alternative of
/// a grammar open would take minutes.
const PATIENCE: Duration = Duration::from_secs(1);
/// Neighbours under this many lines share a chunk.
const SMALL: usize = 10;

/// A language that there is a grammar for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Rust,
    Python,
    Go,
    JavaScript,
    TypeScript,
    Tsx,
    Bash,
    Java,
}

impl Language {
    /// By the ending of a name, in lower case.
    pub(super) fn of(ending: &str) -> Option<Self> {
        Some(match ending {
            "rs" => Self::Rust,
            "py" | "pyi" => Self::Python,
            "go" => Self::Go,
            "js" | "mjs" | "cjs" | "jsx" => Self::JavaScript,
            "ts" | "mts" | "cts" => Self::TypeScript,
            "tsx" => Self::Tsx,
            "sh" | "bash" => Self::Bash,
            "java" => Self::Java,
            _ => return None,
        })
    }

    fn grammar(self) -> tree_sitter::Language {
        match self {
            Self::Rust => tree_sitter_rust::LANGUAGE,
            Self::Python => tree_sitter_python::LANGUAGE,
            Self::Go => tree_sitter_go::LANGUAGE,
            Self::JavaScript => tree_sitter_javascript::LANGUAGE,
            Self::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT,
            Self::Tsx => tree_sitter_typescript::LANGUAGE_TSX,
            Self::Bash => tree_sitter_bash::LANGUAGE,
            Self::Java => tree_sitter_java::LANGUAGE,
        }
        .into()
    }
}

/// The definitions of a file, as spans that cover it; one span without a title when there is no grammar to tell.
pub(super) fn spans(language: Language, content: &str, lines: &Lines<'_>) -> Vec<Span> {
    let Some(tree) = parsed(language, content) else { return vec![lines.all("")] };
    let cutter = Cutter { content, lines };
    let mut spans = Vec::new();
    cutter.cut(tree.root_node(), (0, lines.len()), "", 0, &mut spans);
    spans
}

/// The tree of a file; nothing if it takes too long.
fn parsed(language: Language, content: &str) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&language.grammar()).ok()?;
    let begun = Instant::now();
    let mut go_on = |_: &_| if begun.elapsed() > PATIENCE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let options = ParseOptions::new().progress_callback(&mut go_on);
    parser.parse_with_options(&mut |at, _| content.as_bytes().get(at..).unwrap_or_default(), None, Some(options))
}

/// A run of lines with what is defined in it.
struct Piece<'a> {
    start: usize,
    end: usize,
    titles: Vec<String>,
    /// Whether all that is in it is small.
    small: bool,
    /// Where to cut on, if it is one definition.
    body: Option<Node<'a>>,
}

struct Cutter<'a> {
    content: &'a str,
    lines: &'a Lines<'a>,
}

impl<'a> Cutter<'a> {
    /// Cuts lines at the children of a node; `prefix` says what they are in.
    fn cut(&self, node: Node<'a>, (start, end): (usize, usize), prefix: &str, depth: usize, spans: &mut Vec<Span>) {
        let pieces = self.merged(self.pieces(node, start, end));
        if pieces.is_empty() {
            spans.push(Span { start, end, title: prefix.to_owned() });
        }
        for piece in pieces {
            let title = title(prefix, &piece.titles);
            match piece.body {
                Some(body) if depth < MAX_DEPTH && !self.lines.fits(piece.start, piece.end) => {
                    self.cut(body, (piece.start, piece.end), &title, depth + 1, spans);
                }
                _ => spans.push(Span { start: piece.start, end: piece.end, title }),
            }
        }
    }

    /// One piece for each definition, from the end of the one before to its own: comments belong to what follows them.
    fn pieces(&self, node: Node<'a>, start: usize, end: usize) -> Vec<Piece<'a>> {
        let mut pieces: Vec<Piece<'a>> = Vec::new();
        let mut at = start;
        let mut walk = node.walk();
        for child in node.named_children(&mut walk) {
            let (first, last) = (child.start_position().row, last_row(&child).min(end.saturating_sub(1)));
            let defined = definition(child);
            let name = defined.and_then(|d| self.name(d));
            if child.is_extra() || is_attribute(child.kind()) || last < at && name.is_none() {
                continue;
            }
            match pieces.last_mut() {
                // Two on one line are one piece.
                Some(before) if first < at => {
                    before.end = before.end.max(last + 1);
                    before.titles.extend(name);
                    before.body = None;
                }
                _ => {
                    let body = defined.and_then(body);
                    let small = name.is_none() || last + 1 - at < SMALL;
                    pieces.push(Piece { start: at, end: last + 1, titles: name.into_iter().collect(), small, body });
                }
            }
            at = at.max(last + 1);
        }
        if let Some(last) = pieces.last_mut() {
            last.end = end;
        }
        pieces
    }

    /// Small neighbours together, as far as they fit a chunk.
    fn merged(&self, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
        let mut merged: Vec<Piece<'a>> = Vec::new();
        for piece in pieces {
            match merged.last_mut() {
                Some(before) if before.small && piece.small && self.lines.fits(before.start, piece.end) => {
                    before.end = piece.end;
                    before.titles.extend(piece.titles);
                    before.body = None;
                }
                _ => merged.push(piece),
            }
        }
        merged
    }

    /// What a definition is called, with the word for its kind: `function main`.
    fn name(&self, node: Node<'_>) -> Option<String> {
        let named = ["name", "type", "declarator"].iter().find_map(|field| node.child_by_field_name(field))?;
        let text = self.content.get(named.byte_range())?;
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(80).collect();
        let word = node.kind().split('_').next().unwrap_or_default();
        (!text.is_empty()).then(|| format!("{word} {text}"))
    }
}

/// The definition that a node is, or wraps: decorated, exported, declared together.
fn definition(node: Node<'_>) -> Option<Node<'_>> {
    let mut node = node;
    for _ in 0..4 {
        let inner = ["definition", "declaration"].iter().find_map(|field| node.child_by_field_name(field));
        let inner = inner.or_else(|| match node.kind() {
            "lexical_declaration" | "variable_declaration" | "type_declaration" => node.named_child(0),
            _ => None,
        });
        match inner {
            Some(inner) => node = inner,
            None => break,
        }
    }
    let is_one = [
        "function",
        "method",
        "class",
        "struct",
        "enum",
        "trait",
        "impl",
        "mod",
        "interface",
        "type",
        "variable",
        "const",
        "static",
        "macro",
        "union",
        "constructor",
        "record",
        "internal",
        "module",
        "generator",
        "abstract",
        "export",
    ]
    .iter()
    .any(|word| node.kind().split('_').next() == Some(word));
    is_one.then_some(node)
}

/// What a definition holds that can be cut on.
fn body(node: Node<'_>) -> Option<Node<'_>> {
    let body = node
        .child_by_field_name("body")
        .or_else(|| node.child_by_field_name("value").and_then(|v| v.child_by_field_name("body")));
    body.filter(|body| body.named_child_count() > 1)
}

fn is_attribute(kind: &str) -> bool {
    matches!(kind, "attribute_item" | "inner_attribute_item")
}

/// The last row that a node has text in.
fn last_row(node: &Node<'_>) -> usize {
    let end = node.end_position();
    if end.column == 0 && end.row > node.start_position().row { end.row - 1 } else { end.row }
}

fn title(prefix: &str, names: &[String]) -> String {
    let more = if names.len() > MAX_NAMES { ", …" } else { "" };
    let names = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ") + more;
    match (prefix.is_empty(), names.is_empty()) {
        (_, true) => prefix.to_owned(),
        (true, false) => names,
        (false, false) => format!("{prefix} › {names}"),
    }
}

#[cfg(test)]
#[path = "code_tests.rs"]
mod tests;
