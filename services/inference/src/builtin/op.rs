//! The exact changes that a plan is made of, their wording in a step's reason, and how they are made to a file.
//!
//! A step's reason is both read by people and read back by the engine when the step is edited: `set gateway.replicas to
//! 3 (now 1); set gateway.ingress.enabled to true (now false)`.

use super::template::Template;
use super::yaml::{self, Path, Seg, Value};

/// One change to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// A value at a path.
    Set(At, Path, Value),
    /// An item in a list.
    Add(At, Path, Value),
    /// Something that goes.
    Remove(At, Path),
    /// A file that is written, or a place in a template.
    Template(Template),
}

/// Which document of the file: the first, or a Kubernetes object.
pub(super) type At = Option<Object>;

/// A Kubernetes object by kind and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) kind: String,
    pub(super) name: String,
}

impl Op {
    /// The file after the change. Nothing changes when it says so already.
    pub(super) fn apply(&self, text: &str) -> Result<String, String> {
        match self {
            Self::Set(at, path, value) => yaml::set(text, document(text, at)?, path, value),
            Self::Add(at, path, value) => yaml::add(text, document(text, at)?, path, value),
            Self::Remove(at, path) => yaml::remove(text, document(text, at)?, path),
            Self::Template(template) => template.apply(text),
        }
    }

    /// The wording, with what the file says now where that helps.
    pub(super) fn wording(&self, text: Option<&str>) -> String {
        let object = |at: &At| at.as_ref().map(|o| format!(" in {}/{}", o.kind, o.name)).unwrap_or_default();
        match self {
            Self::Set(at, path, value) => {
                let now = text.and_then(|t| now(t, at, path)).map(|n| format!(" (now {n})")).unwrap_or_default();
                format!("set {} to {}{}{now}", shown(path), written(value), object(at))
            }
            Self::Add(at, path, value) => format!("add {} to {}{}", written(value), shown(path), object(at)),
            Self::Remove(at, path) => format!("remove {}{}", shown(path), object(at)),
            Self::Template(template) => template.wording(),
        }
    }

    /// The path, for changes that have one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Set(_, path, _) | Self::Add(_, path, _) | Self::Remove(_, path) => Some(path),
            Self::Template(_) => None,
        }
    }

    /// True when both are about the same place, so that the later one replaces the earlier.
    pub(super) fn same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Set(a, p, _) | Self::Remove(a, p), Self::Set(b, q, _) | Self::Remove(b, q)) => a == b && p == q,
            (Self::Template(a), Self::Template(b)) => a.same_place(b),
            _ => self == other,
        }
    }
}

pub(super) use super::yaml::shown;

/// Reads a reason that this engine wrote. `None` when anything in it is in other words.
pub(super) fn read_reason(reason: &str) -> Option<Vec<Op>> {
    let ops: Option<Vec<_>> = split(reason, "; ").into_iter().map(|part| read(part.trim())).collect();
    ops.filter(|o| !o.is_empty())
}

/// The reason of a step.
pub(super) fn write_reason(ops: &[Op], text: Option<&str>) -> String {
    ops.iter().map(|op| op.wording(text)).collect::<Vec<_>>().join("; ")
}

fn read(text: &str) -> Option<Op> {
    if let Some(rest) = text.strip_prefix("set ") {
        let (path, rest) = cut(rest, " to ")?;
        let rest = cut(rest, " (now ").map_or(rest, |(before, _)| before);
        let (value, at) = object(rest)?;
        return Some(Op::Set(at, read_path(path)?, read_value(value)?));
    }
    if let Some(rest) = text.strip_prefix("add ") {
        let (value, rest) = cut(rest, " to ")?;
        let (path, at) = object(rest)?;
        return Some(Op::Add(at, read_path(path)?, read_value(value)?));
    }
    if let Some(rest) = text.strip_prefix("remove ") {
        let (path, at) = object(rest)?;
        return Some(Op::Remove(at, read_path(path)?));
    }
    Template::read(text).map(Op::Template)
}

// A text of several words is quoted by `written`: anything else is prose.
fn read_value(text: &str) -> Option<Value> {
    let text = text.trim();
    if !text.starts_with(['"', '{', '[']) && text.contains(char::is_whitespace) {
        return None;
    }
    Value::read(text)
}

fn object(text: &str) -> Option<(&str, At)> {
    let Some((before, object)) = cut(text, " in ") else { return (!text.trim().is_empty()).then_some((text, None)) };
    let (kind, name) = object.trim().split_once('/')?;
    let legal = |s: &str| !s.is_empty() && !s.contains(char::is_whitespace);
    (legal(kind) && legal(name)).then(|| (before, Some(Object { kind: kind.to_owned(), name: name.to_owned() })))
}

fn cut<'a>(text: &'a str, at: &str) -> Option<(&'a str, &'a str)> {
    let parts = split(text, at);
    let first = *parts.first()?;
    (parts.len() > 1).then(|| (first, &text[first.len() + at.len()..]))
}

/// Splits where no quote, backtick or bracket is open.
pub(super) fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let (mut depth, mut quote, mut from, mut skip) = (0i32, None::<char>, 0, false);
    for (at, c) in text.char_indices() {
        if at < from {
            continue;
        }
        if std::mem::take(&mut skip) {
            continue;
        }
        match (quote, c) {
            (Some('"'), '\\') => skip = true,
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(c),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => depth -= 1,
            (None, _) if depth <= 0 && text[at..].starts_with(separator) => {
                parts.push(&text[from..at]);
                from = at + separator.len();
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// Reads `a.b[0].c[name=x]."d.e"`.
pub(super) fn read_path(text: &str) -> Option<Path> {
    let mut path = Path::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (inside, after) = inner.split_once(']')?;
            path.push(match inside.strip_prefix("name=") {
                Some(name) => Seg::Named(name.to_owned()),
                None => Seg::Index(inside.parse().ok()?),
            });
            rest = after;
        } else {
            if !path.is_empty() {
                rest = rest.strip_prefix('.')?;
            }
            if let Some(quoted) = rest.strip_prefix('"') {
                let (key, after) = quoted.split_once('"')?;
                path.push(Seg::Key(key.to_owned()));
                rest = after;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let key = &rest[..end];
                let legal = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/');
                if key.is_empty() || !key.chars().all(legal) {
                    return None;
                }
                path.push(Seg::Key(key.to_owned()));
                rest = &rest[end..];
            }
        }
    }
    (!path.is_empty()).then_some(path)
}

// A value in a sentence: quoted when a reader, or the engine, could take it for something else.
fn written(value: &Value) -> String {
    match value {
        Value::Text(t) if t.contains([' ', ';', '(', '{', '`', '[']) => yaml::double_quoted(t),
        other => other.to_string(),
    }
}

fn now(text: &str, at: &At, path: &Path) -> Option<String> {
    let docs = yaml::parse(text)?;
    let node = docs.get(document(text, at).ok()?)?.find(path)?;
    if node.is_null() || node.text().is_some_and(str::is_empty) {
        return Some("empty".to_owned());
    }
    node.text().filter(|t| t.chars().count() <= 60 && !t.contains(['"', '`', '\n'])).map(str::to_owned)
}

/// The number of the document that is meant.
pub(super) fn document(text: &str, at: &At) -> Result<usize, String> {
    let Some(object) = at else { return Ok(0) };
    let docs = yaml::parse(text).ok_or("the file is not plain YAML")?;
    let is = |d: &yaml::Node| {
        d.at(&["kind"]).and_then(yaml::Node::text) == Some(&object.kind)
            && d.at(&["metadata", "name"]).and_then(yaml::Node::text) == Some(&object.name)
    };
    docs.iter().position(is).ok_or_else(|| format!("the file has no {} called {}", object.kind, object.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wording_reads_back() {
        let object = Some(Object { kind: "Deployment".into(), name: "web".into() });
        let ops = vec![
            Op::Set(None, read_path("gateway.replicas").unwrap(), Value::number(3)),
            Op::Set(None, read_path("a.\"b.c/d\"").unwrap(), Value::text("x; y to (now z) in A/b")),
            Op::Set(object.clone(), read_path("spec.containers[name=web].env[0]").unwrap(), Value::text("1.0")),
            Op::Add(object.clone(), read_path("spec.tls").unwrap(), Value::map([("name", Value::text("a to b"))])),
            Op::Remove(object, read_path("x.y").unwrap()),
        ];
        let reason = write_reason(&ops, Some("gateway:\n  replicas: 1\n"));
        assert!(reason.starts_with("set gateway.replicas to 3 (now 1); "), "{reason}");
        assert_eq!(read_reason(&reason), Some(ops), "{reason}");
    }

    #[test]
    fn other_words_are_not_mistaken() {
        for text in ["", "please scale the gateway", "set it up", "set a to b in c", "set to to to x y: z"] {
            assert!(read_reason(text).is_none(), "{text}");
        }
    }
}
