//! The values of Kubernetes Secrets: everything under `data` and `stringData` of a document of kind Secret, in YAML (also in
//! lists and in the templates of a chart) and in JSON (also within strings). References and templates are none.

use std::ops::Range;

use crate::shape;

mod json;

/// The name under which they are found.
pub(crate) const RULE: &str = "kubernetes-secret";

/// The values of all Secrets in a text.
pub(crate) fn find(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mentions = memchr::memmem::find_iter(text.as_bytes(), b"Secret").filter(|at| names_kind(text, *at));
    let mut lines = None;
    for at in mentions {
        let quotes = text[..at].chars().rev().take_while(|c| matches!(c, '"' | '\\')).count();
        let line_start = text[..at].rfind('\n').map_or(0, |n| n + 1);
        let key = text[line_start..at].trim_start_matches([' ', '-']);
        if key.starts_with("kind")
            || key.starts_with("'kind")
            || (key.starts_with("\"kind") && !text[at..].lines().next().is_some_and(|l| l.contains([',', '}'])))
        {
            let lines = lines.get_or_insert_with(|| lines_of(text));
            yaml(text, lines, line_start, &mut found);
        }
        if quotes > 0 {
            json::find(text, at, &mut found);
        }
    }
    found
}

/// `kind: Secret`, with or without quotes, or `SecretList`.
fn names_kind(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end_matches(['"', '\'', '\\', ' ']);
    let before = before.strip_suffix(':').unwrap_or("").trim_end_matches(['"', '\'', '\\', ' ']);
    let after = text[at + "Secret".len()..].chars().next();
    before.ends_with("kind") && after.is_none_or(|c| !c.is_alphanumeric())
}

/// A line of YAML.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    start: usize,
    text: &'a str,
    // Where its key begins, behind the marks of list items.
    column: usize,
    item: bool,
    // Nothing in it: blank, a comment, a directive of a template.
    silent: bool,
}

fn lines_of(text: &str) -> Vec<Line<'_>> {
    let mut start = 0;
    let line = |raw: &'_ str| {
        let at = start;
        start += raw.len();
        (at, raw.len())
    };
    text.split_inclusive('\n')
        .map(line)
        .map(|(start, length)| {
            let line = text[start..start + length].trim_end();
            let content = line.trim_start_matches(' ');
            let silent = content.is_empty() || content.starts_with('#') || is_directive(content);
            let item = content.starts_with("- ");
            let key = content.trim_start_matches(['-', ' ']);
            Line {
                start,
                text: line,
                column: if item { line.len() - key.len() } else { line.len() - content.len() },
                item,
                silent,
            }
        })
        .collect()
}

/// `{{- if … }}` and the like, alone on a line.
fn is_directive(content: &str) -> bool {
    content.starts_with("{{") && content.ends_with("}}")
}

/// The values of the Secret whose `kind` stands on the line that begins at `start`.
fn yaml(text: &str, lines: &[Line<'_>], start: usize, found: &mut Vec<Range<usize>>) {
    let Ok(kind) = lines.binary_search_by_key(&start, |l| l.start) else { return };
    let column = lines[kind].column;
    let outside = |l: &Line<'_>| !l.silent && (l.column < column || l.text.starts_with("---"));
    let mut first = kind;
    while first > 0 && !lines[first].item && !outside(&lines[first - 1]) {
        first -= 1;
    }
    let after = |l: &Line<'_>| outside(l) || (!l.silent && l.item && l.column == column);
    let last = lines[kind + 1..].iter().position(after).map_or(lines.len(), |n| kind + 1 + n);
    let mut at = first;
    while at < last {
        let line = &lines[at];
        at += 1;
        if line.silent || line.column != column {
            continue;
        }
        let Some((key, value)) = line.text[line.column..].split_once(':') else { continue };
        if !matches!(key.trim_matches(['"', '\'', ' ']), "data" | "stringData") {
            continue;
        }
        let end = lines[at..last].iter().position(|l| !l.silent && l.column <= column).map_or(last, |n| at + n);
        if value.trim_start().starts_with('{') && !value.trim_start().starts_with("{{") {
            flow(line.start + line.text.len() - value.len(), value, found);
        } else {
            block(text, &lines[at..end], found);
        }
        at = end;
    }
}

/// The values of a mapping in block style.
fn block(text: &str, lines: &[Line<'_>], found: &mut Vec<Range<usize>>) {
    let Some(column) = lines.iter().find(|l| !l.silent).map(|l| l.column) else { return };
    let mut at = 0;
    while at < lines.len() {
        let line = &lines[at];
        at += 1;
        if line.silent || line.column != column {
            continue;
        }
        let rest = &lines[at..];
        let deeper = rest.iter().take_while(|l| l.silent || l.column > column).count();
        let below = rest[..deeper].iter().filter(|l| !l.text.trim().is_empty());
        let last = below.clone().next_back();
        let Some((_, value)) = line.text[column..].split_once(':') else { continue };
        let value = value.trim();
        match (value, last) {
            ("" | "|" | "|-" | "|+" | ">" | ">-" | ">+", Some(last)) => {
                let from = below.clone().next().map_or(last.start, |l| l.start + l.text.len() - l.text.trim_start().len());
                let range = from..last.start + last.text.len();
                if !below.clone().all(|l| is_directive(l.text.trim())) {
                    found.push(range);
                }
            }
            _ => {
                let end = last.map_or(line.start + line.text.len(), |l| l.start + l.text.len());
                let from = line.start + line.text.len() - value.len();
                push(text, from..end, found);
            }
        }
        at += deeper;
    }
}

/// The values of a mapping in flow style, on one line.
fn flow(start: usize, value: &str, found: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(colon) = value[at..].find(':') {
        let from = at + colon + 1;
        let from = from + value[from..].len() - value[from..].trim_start().len();
        let end = value[from..].find([',', '}']).map_or(value.len(), |n| from + n);
        let content = value[from..end].trim_end().trim_matches(['"', '\'']);
        let from = value[from..].find(content).map_or(from, |n| from + n);
        if !content.is_empty() && !shape::is_reference(content) {
            found.push(start + from..start + from + content.len());
        }
        at = end;
    }
}

/// A scalar without its quotes, unless it is empty or filled in later.
fn push(text: &str, range: Range<usize>, found: &mut Vec<Range<usize>>) {
    let raw = &text[range.clone()];
    let quoted = raw.starts_with(['"', '\'']) && raw.len() >= 2;
    let end = match raw.find(" #") {
        Some(comment) if !quoted => comment,
        _ => raw.len(),
    };
    let content = raw[..end].trim_end();
    let (from, content) = match content.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let inner = &content[1..];
            (1, inner.rfind(quote).map_or(inner, |n| &inner[..n]))
        }
        _ => (0, content),
    };
    if !content.trim().is_empty() && !shape::is_reference(content) && !content.starts_with(['{', '[']) | content.starts_with("{{")
    {
        found.push(range.start + from..range.start + from + content.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<&str> {
        find(text).into_iter().map(|r| &text[r]).collect()
    }

    #[test]
    fn values_of_yaml_documents() {
        let text = "apiVersion: v1\ndata:\n  a: aGVsbG8=\n  b: \"d29ybGQ=\" # why\nkind: Secret\nmetadata:\n  name: x\n---\nkind: ConfigMap\ndata:\n  c: plain\n";
        assert_eq!(values(text), ["aGVsbG8=", "d29ybGQ="]);
        let text = "kind: Secret\nstringData:\n  conf: |\n    user: u\n\n    word: w\n  \"quoted\": 'it is'\ntype: Opaque\n";
        assert_eq!(values(text), ["user: u\n\n    word: w", "it is"]);
    }

    #[test]
    fn values_in_lists() {
        let text = "items:\n- apiVersion: v1\n  data:\n    a: eHg=\n  kind: Secret\n  metadata: {name: s}\n- kind: ConfigMap\n  data:\n    b: no\n- kind: Secret\n  data: {k: eXk=, l: \"eno=\"}\nkind: List\n";
        assert_eq!(values(text), ["eHg=", "eXk=", "eno="]);
    }

    #[test]
    fn templates_keep_what_they_fill_in() {
        let text = "kind: Secret\ntype: Opaque\ndata:\n  {{- if .Values.a }}\n  a: {{ .Values.a | b64enc }}\n  {{- end }}\n  b: aGVsbG8=\n  c: ${C}\n  d: {{ \"literal\" | b64enc }}\n  e: \"\"\n";
        assert_eq!(values(text), ["aGVsbG8=", "{{ \"literal\" | b64enc }}"]);
    }

    #[test]
    fn other_kinds_are_left_alone() {
        for text in ["kind: SecretStore\ndata:\n  a: b\n", "secretKeyRef:\n  kind: x\n  key: Secret\ndata:\n  a: b\n"] {
            assert!(values(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn values_of_json_documents_and_of_json_in_strings() {
        let text =
            r#"{"apiVersion":"v1","data":{"a":"aGVsbG8=","b":""},"kind":"Secret","metadata":{"name":"x","data":{"n":"o"}}}"#;
        assert_eq!(values(text), ["aGVsbG8="]);
        let within = format!("last-applied: {:?}", text);
        assert_eq!(values(&within), ["aGVsbG8="]);
        let pretty = "{\n  \"kind\": \"Secret\",\n  \"stringData\": {\n    \"k\": \"v}al\"\n  }\n}";
        assert_eq!(values(pretty), ["v}al"]);
    }
}
