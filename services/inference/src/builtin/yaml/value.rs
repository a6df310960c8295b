//! Values that are written into YAML: how they look as a block, in a line, and when they need quotes.

use std::fmt;

use super::{Kind, Node, Style, parse};

/// A value to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::builtin) enum Value {
    Bool(bool),
    Number(String),
    Text(String),
    Map(Vec<(String, Value)>),
    List(Vec<Value>),
}

impl Value {
    /// A text.
    pub(in crate::builtin) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A whole number.
    pub(in crate::builtin) fn number(number: impl ToString) -> Self {
        Self::Number(number.to_string())
    }

    /// A mapping.
    pub(in crate::builtin) fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(entries.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    /// What a word means when it is written without quotes.
    pub(in crate::builtin) fn of_word(word: &str) -> Self {
        match word {
            "true" | "True" => Self::Bool(true),
            "false" | "False" => Self::Bool(false),
            _ if is_number(word) => Self::Number(word.to_owned()),
            _ => Self::text(word),
        }
    }

    /// Reads the one-line form.
    pub(in crate::builtin) fn read(text: &str) -> Option<Self> {
        let docs = parse(text)?;
        Self::of_node(docs.first()?)
    }

    fn of_node(node: &Node) -> Option<Self> {
        Some(match &node.kind {
            Kind::Scalar { text, style: Style::Plain } => Self::of_word(text),
            Kind::Scalar { text, .. } => Self::text(text.clone()),
            Kind::List(items) => Self::List(items.iter().map(Self::of_node).collect::<Option<_>>()?),
            Kind::Map(entries) => {
                let pair = |(k, v): &(Node, Node)| Some((k.text()?.to_owned(), Self::of_node(v)?));
                Self::Map(entries.iter().map(pair).collect::<Option<_>>()?)
            }
            Kind::Alias => return None,
        })
    }

    /// True when the node says this already. Quotes around a number do not matter.
    pub(in crate::builtin) fn is_said_by(&self, node: &Node) -> bool {
        match (self, &node.kind) {
            (Self::Bool(b), _) => node.as_bool() == Some(*b),
            (Self::Number(n), Kind::Scalar { text, .. }) => n == text,
            (Self::Text(t), Kind::Scalar { text, style }) => t == text && (*style != Style::Plain || !is_other_type(t)),
            (Self::List(values), Kind::List(items)) => {
                values.len() == items.len() && values.iter().zip(items).all(|(v, i)| v.is_said_by(i))
            }
            (Self::Map(pairs), Kind::Map(entries)) => {
                pairs.len() == entries.len() && pairs.iter().all(|(k, v)| node.get(k).is_some_and(|n| v.is_said_by(n)))
            }
            _ => false,
        }
    }

    pub(super) fn is_scalar(&self) -> bool {
        !matches!(self, Self::Map(_) | Self::List(_))
    }

    /// The lines of a block at an indentation; a scalar is one line. Line ends are the caller's.
    pub(in crate::builtin) fn block(&self, indent: usize) -> Vec<String> {
        let pad = " ".repeat(indent);
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                entries.iter().flat_map(|(key, value)| entry_lines(key, value, indent, 2)).collect()
            }
            Self::List(items) if !items.is_empty() => {
                let item = |item: &Value| {
                    let mut lines = item.block(indent + 2);
                    if let Some(first) = lines.first_mut() {
                        *first = format!("{pad}- {}", first.trim_start());
                    }
                    lines
                };
                items.iter().flat_map(item).collect()
            }
            other => vec![format!("{pad}{other}")],
        }
    }
}

/// The lines of one entry of a mapping. `list_step` is how much deeper than its key a list stands.
pub(super) fn entry_lines(key: &str, value: &Value, indent: usize, list_step: usize) -> Vec<String> {
    let pad = " ".repeat(indent);
    let key = plain_or_quoted(key);
    let nested = match value {
        Value::Map(entries) if !entries.is_empty() => value.block(indent + 2),
        Value::List(items) if !items.is_empty() => value.block(indent + list_step),
        other => return vec![format!("{pad}{key}: {other}")],
    };
    std::iter::once(format!("{pad}{key}:")).chain(nested).collect()
}

/// The one-line form, as in `{name: A, value: "1"}`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => write!(f, "{b}"),
            Self::Number(n) => f.write_str(n),
            Self::Text(t) => f.write_str(&plain_or_quoted(t)),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(flow_item).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Map(entries) => {
                let entries: Vec<_> = entries.iter().map(|(k, v)| format!("{}: {}", plain_or_quoted(k), flow_item(v))).collect();
                write!(f, "{{{}}}", entries.join(", "))
            }
        }
    }
}

// Inside brackets, commas and brackets end a plain text.
fn flow_item(value: &Value) -> String {
    match value {
        Value::Text(t) if t.contains([',', '[', ']', '{', '}']) => double_quoted(t),
        other => other.to_string(),
    }
}

/// A text as YAML reads it back, without quotes where that is safe.
pub(super) fn plain_or_quoted(text: &str) -> String {
    if is_safe_plain(text) { text.to_owned() } else { double_quoted(text) }
}

pub(in crate::builtin) fn double_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c) & 0xff)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(super) fn is_safe_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    let bad_first = "-?:,[]{}#&*!|>'\"%@`= \t".contains(first);
    let odd = text.contains(": ") || text.contains(" #") || text.ends_with([':', ' ']) || text.chars().any(char::is_control);
    let templated = text.contains("{{") || text.contains("}}");
    !(bad_first || odd || templated || is_other_type(text))
}

/// True when YAML (1.1 or 1.2) would read the plain text as something other than text.
pub(super) fn is_other_type(text: &str) -> bool {
    const WORDS: [&str; 11] = ["true", "false", "yes", "no", "on", "off", "null", "~", "y", "n", ".nan"];
    text.is_empty() || WORDS.iter().any(|w| text.eq_ignore_ascii_case(w)) || looks_numeric(text)
}

/// A number as people write it in a request.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let decimal = digits
        .split_once('.')
        .is_some_and(|(a, b)| !a.is_empty() && !b.is_empty() && a.bytes().chain(b.bytes()).all(|b| b.is_ascii_digit()));
    whole || decimal
}

// Anything that begins like a number and holds nothing else that a text would: 1.27, 0x1F, 1e3, 2001-01-01, 12:30.
fn looks_numeric(text: &str) -> bool {
    let body = text.trim_start_matches(['+', '-', '.']);
    let hexadecimal = body.strip_prefix("0x").is_some_and(|h| !h.is_empty() && h.bytes().all(|b| b.is_ascii_hexdigit()));
    let octal = body.strip_prefix("0o").is_some_and(|h| !h.is_empty() && h.bytes().all(|b| b.is_ascii_digit()));
    let dots = body.bytes().filter(|b| *b == b'.').count();
    let exponent = body.split_once(['e', 'E']).is_some_and(|(a, b)| {
        let digits = |s: &str| !s.is_empty() && s.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit() || b == b'.');
        digits(a) && digits(b)
    });
    let plain = body.starts_with(|c: char| c.is_ascii_digit())
        && body.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_' | b':' | b'-'))
        && (dots <= 1);
    hexadecimal || octal || exponent || plain || body.eq_ignore_ascii_case("inf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_only_where_needed() {
        for (text, written) in [
            ("debug", "debug"),
            ("1.27", "\"1.27\""),
            ("1.2.3", "1.2.3"),
            ("yes", "\"yes\""),
            ("", "\"\""),
            ("a: b", "\"a: b\""),
            ("500m", "500m"),
            ("/healthz", "/healthz"),
            ("*.example.com", "\"*.example.com\""),
            ("say \"x\"", "say \"x\""),
            ("{{ x }}", "\"{{ x }}\""),
            ("1e3", "\"1e3\""),
            ("slipway.example.com", "slipway.example.com"),
        ] {
            assert_eq!(plain_or_quoted(text), written);
            assert!(Value::text(text) == Value::read(&plain_or_quoted(text)).unwrap(), "{text}");
        }
    }

    #[test]
    fn the_one_line_form_reads_back() {
        let value = Value::map([
            ("name", Value::text("A")),
            ("value", Value::text("1")),
            ("list", Value::List(vec![Value::Bool(true), Value::text("a, b"), Value::number(3)])),
        ]);
        assert_eq!(value.to_string(), "{name: A, value: \"1\", list: [true, \"a, b\", 3]}");
        assert_eq!(Value::read(&value.to_string()), Some(value));
    }

    #[test]
    fn blocks_are_indented() {
        let value =
            Value::map([("hosts", Value::List(vec![Value::map([("host", Value::text("h")), ("port", Value::number(1))])]))]);
        assert_eq!(value.block(2), ["  hosts:", "    - host: h", "      port: 1"]);
    }
}
