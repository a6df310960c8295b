//! Helm templates. Go templates are not YAML: `define` blocks are found by their actions, and between them documents are
//! outlined by their indentation.

use super::lines::{Lines, Span};
use super::outline;

pub(super) fn spans(content: &str, lines: &Lines<'_>) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut at = 0;
    for define in defines(content) {
        let (start, end) = (define.start.max(at), define.end.min(lines.len()));
        documents(lines, at, start, &mut spans);
        spans.push(Span { start, end, title: define.title });
        at = end.max(at);
    }
    documents(lines, at, lines.len(), &mut spans);
    spans
}

/// What stands between two defines: documents apart by `---`.
fn documents(lines: &Lines<'_>, start: usize, end: usize, spans: &mut Vec<Span>) {
    let mut at = start;
    while at < end {
        let stop = (at + 1..end).find(|line| lines.get(*line).trim_end() == "---").unwrap_or(end);
        let document = outline::scan(lines, at, stop);
        let title = if document.kind.is_empty() { String::new() } else { format!("template {}", document.kind) };
        if document.kind.is_empty() || lines.fits(at, stop) {
            spans.push(Span { start: at, end: stop, title });
        } else {
            document.split(lines, &title, spans);
        }
        at = stop;
    }
}

/// Finds the `define` blocks that are in no other block, each with the comment that ends on the line above it.
fn defines(content: &str) -> Vec<Span> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String, usize)> = None;
    let mut depth = 0usize;
    let mut comment: Option<(usize, usize)> = None;
    for action in actions(content) {
        match action.word {
            "/*" => comment = Some((action.start, action.end)),
            "define" | "block" if open.is_none() => {
                let above = comment.filter(|(_, end)| end + 1 == action.start || *end == action.start).map(|(start, _)| start);
                open = Some((above.unwrap_or(action.start), action.name.to_owned(), depth));
                depth += 1;
            }
            "if" | "range" | "with" | "define" | "block" => depth += 1,
            "end" => {
                depth = depth.saturating_sub(1);
                if let Some((start, name, _)) = open.take_if(|(_, _, at)| *at == depth) {
                    found.push(Span { start, end: action.end + 1, title: format!("define {name}") });
                }
            }
            _ => {}
        }
    }
    found
}

/// One `{{ … }}`.
struct Action<'a> {
    /// Its lines, from 0.
    start: usize,
    end: usize,
    /// Its first word; `/*` for a comment.
    word: &'a str,
    /// The first quoted text in it.
    name: &'a str,
}

fn actions(content: &str) -> Vec<Action<'_>> {
    let mut actions = Vec::new();
    let (mut at, mut line) = (0, 0);
    while let Some(open) = content[at..].find("{{") {
        let start = line + newlines(&content[at..at + open]);
        let body_at = at + open + 2;
        let Some(length) = action_end(&content[body_at..]) else { break };
        let body = &content[body_at..body_at + length];
        let inner = body.strip_prefix('-').unwrap_or(body).trim();
        let end = start + newlines(body);
        let word =
            if inner.starts_with("/*") { "/*" } else { inner.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default() };
        actions.push(Action { start, end, word, name: inner.split('"').nth(1).unwrap_or_default() });
        at = body_at + length;
        line = end;
    }
    actions
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|b| *b == b'\n').count()
}

/// Where `}}` closes an action: not within its quoted texts and comments.
fn action_end(body: &str) -> Option<usize> {
    let inner = body.strip_prefix('-').unwrap_or(body).trim_start();
    if inner.starts_with("/*") {
        let comment = body.find("*/")?;
        return body[comment..].find("}}").map(|close| comment + close);
    }
    let bytes = body.as_bytes();
    let (mut at, mut quote) = (0, None);
    while at < bytes.len() {
        match (bytes[at], quote) {
            (b'\\', Some(b'"')) => at += 1,
            (c, Some(q)) if c == q => quote = None,
            (b'\n', Some(b'"')) => quote = None,
            (c @ (b'"' | b'`'), None) => quote = Some(c),
            (b'}', None) if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Chunk, chunk};

    const HELPERS: &str = r#"{{/*
The name of the chart.
*/}}
{{- define "gateway.name" -}}
{{- if .Values.nameOverride }}{{ .Values.nameOverride }}{{ else }}{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "gateway.labels" -}}
app: {{ printf "%s }} {{ end" (include "gateway.name" .) }}
{{- range $k, $v := .Values.labels }}
{{ $k }}: {{ $v }}
{{- end }}
{{- end -}}
trailing: text
"#;

    fn titles(chunks: &[Chunk]) -> Vec<(&str, u32, u32)> {
        chunks.iter().map(|c| (c.title.as_str(), c.start_line, c.end_line)).collect()
    }

    #[test]
    fn defines_are_chunks_with_their_comments() {
        let chunks = chunk("templates/_helpers.tpl", HELPERS);
        assert_eq!(titles(&chunks), [("define gateway.name", 1, 6), ("define gateway.labels", 8, 13), ("", 14, 14)]);
    }

    #[test]
    fn documents_of_a_template_are_named_by_kind() {
        let chunks = chunk("templates/gateway.yaml", include_str!("testdata/deployment.yaml"));
        assert_eq!(titles(&chunks), [("template Deployment", 1, 19), ("template Service", 20, 28)]);
    }

    #[test]
    fn a_large_template_is_cut_at_its_keys() {
        let mut text = include_str!("testdata/deployment.yaml").replace("---\n", "");
        for n in 0..40 {
            text.insert_str(text.find("          args:").unwrap(), &format!("          annotation{n}: some-longer-value-{n}\n"));
        }
        let chunks = chunk("templates/gateway.yaml", &text);
        assert!(chunks.len() > 3);
        assert!(chunks.iter().any(|c| c.title.starts_with("template Deployment spec.template")), "{:?}", titles(&chunks));
    }

    #[test]
    fn an_unclosed_define_is_still_searchable() {
        let chunks = chunk("templates/_a.tpl", "{{ define \"x\" }}\na: b\n");
        assert_eq!(chunks.len(), 1);
        assert!(chunks[0].text.contains("a: b"));
    }
}
