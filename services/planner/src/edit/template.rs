//! Whether a Go template is whole: delimiters closed, strings and parentheses closed, and every `if`, `range`, `with`,
//! `define` and `block` ended. It does not render.

/// One open block.
struct Block {
    keyword: &'static str,
    line: usize,
}

const OPENERS: [&str; 5] = ["if", "range", "with", "define", "block"];

/// Checks a template; the error names the line.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut rest = text;
    let mut line = 1;
    let mut braces = 0_i64;
    while let Some(at) = rest.find("{{") {
        plain(&rest[..at], line, &mut braces)?;
        line += lines(&rest[..at]);
        let inside = &rest[at + 2..];
        let length = action_length(inside, line)?;
        let words = inside[..length].trim_start_matches('-').trim_start();
        block(words, line, &mut blocks)?;
        line += lines(&inside[..length]);
        rest = &inside[length + 2..];
    }
    plain(rest, line, &mut braces)?;
    match blocks.last() {
        Some(open) => Err(format!("line {}: `{{{{ {} }}}}` has no `{{{{ end }}}}`", open.line, open.keyword)),
        None => Ok(()),
    }
}

/// Text outside of actions: a `}}` that no `{` outside opened was meant to close an action.
fn plain(text: &str, first_line: usize, braces: &mut i64) -> Result<(), String> {
    let mut line = first_line;
    let mut before = ' ';
    for c in text.chars() {
        match c {
            '\n' => line += 1,
            '{' => *braces += 1,
            '}' => {
                *braces -= 1;
                if *braces < 0 && before == '}' {
                    return Err(format!("line {line}: `}}}}` closes nothing"));
                }
            }
            _ => {}
        }
        before = c;
    }
    *braces = (*braces).max(0);
    Ok(())
}

/// The bytes from after `{{` to before its `}}`.
fn action_length(inside: &str, first_line: usize) -> Result<usize, String> {
    let body = inside.strip_prefix("- ").unwrap_or(inside);
    if body.starts_with("/*") {
        return comment_length(inside, first_line);
    }
    let unclosed = || format!("line {first_line}: `{{{{` is not closed");
    let mut parens = 0_i64;
    let mut line = first_line;
    let mut chars = inside.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' | '\'' | '`' => loop {
                match chars.next() {
                    None => return Err(format!("line {line}: a string in a template action is not closed")),
                    Some((_, '\n')) if c != '`' => {
                        return Err(format!("line {line}: a string in a template action is not closed"));
                    }
                    Some((_, '\n')) => line += 1,
                    Some((_, '\\')) if c != '`' => {
                        chars.next();
                    }
                    Some((_, end)) if end == c => break,
                    Some(_) => {}
                }
            },
            '(' => parens += 1,
            ')' if parens == 0 => return Err(format!("line {line}: `)` closes nothing in a template action")),
            ')' => parens -= 1,
            '}' if chars.peek().is_some_and(|(_, next)| *next == '}') => {
                return match parens {
                    0 => Ok(at),
                    _ => Err(format!("line {line}: `(` is not closed in a template action")),
                };
            }
            '{' | '}' => return Err(format!("line {line}: `{c}` inside a template action; `{{{{` is not closed before it")),
            '\n' => line += 1,
            _ => {}
        }
    }
    Err(unclosed())
}

fn comment_length(inside: &str, line: usize) -> Result<usize, String> {
    let end = inside.find("*/").ok_or_else(|| format!("line {line}: a template comment is not closed"))? + 2;
    let after = &inside[end..];
    if after.starts_with("}}") {
        Ok(end)
    } else if after.starts_with(" -}}") {
        Ok(end + 2)
    } else {
        Err(format!("line {line}: a template comment must end with `*/}}}}` or `*/ -}}}}`"))
    }
}

fn block(words: &str, line: usize, blocks: &mut Vec<Block>) -> Result<(), String> {
    let word = words.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
    if let Some(keyword) = OPENERS.into_iter().find(|k| *k == word) {
        blocks.push(Block { keyword, line });
    } else if word == "end" {
        blocks.pop().ok_or_else(|| format!("line {line}: `{{{{ end }}}}` ends nothing"))?;
    } else if word == "else" && !blocks.last().is_some_and(|b| matches!(b.keyword, "if" | "range" | "with")) {
        return Err(format!("line {line}: `{{{{ else }}}}` belongs to nothing"));
    }
    Ok(())
}

fn lines(text: &str) -> usize {
    text.matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_whole_templates() {
        for text in [
            "",
            "no template at all",
            "a: {{ .Values.a }}\n",
            "{{- if .Values.x }}\na: 1\n{{- else if .Values.y }}\nb: 1\n{{- else }}\nc: 1\n{{- end }}\n",
            "{{- range $k, $v := .Values.m }}\n{{ $k }}: {{ $v | quote }}\n{{- end -}}\n",
            "{{- define \"x.name\" -}}\n{{- with .Values.n }}{{ . }}{{ end }}\n{{- end }}\n",
            "{{/* a comment with {{ braces }} inside */}}\n",
            "{{- /* trimmed\nover lines */ -}}\n",
            "{{ \"}}\" }}{{ `{{ raw }}` }}{{ '}' }}\n",
            "{{ \"quoted \\\" }} still\" }}\n",
            "{{ include \"x\" (dict \"a\" (list 1 2) \"b\" .) | nindent 4 }}\n",
            "{\"a\": {\"b\": {\"c\": 1}}}\n",
            "{\"a\": {\"b\": {{ .x }}}}\n",
            "{{ ifelse }} {{ ending }} {{ endpoint }}\n",
            "{{if .x}}{{end}}",
            "{{ block \"b\" . }}{{ end }}",
            "{{\n  .Values.a\n}}\n",
        ] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn refuses_broken_ones_and_names_the_line() {
        for (text, part) in [
            ("a\nb: {{ .x\n", "line 2: `{{` is not closed"),
            ("b: {{ .x }\nc: 1\n", "line 1: `}` inside"),
            ("b: .x }}\n", "line 1: `}}` closes nothing"),
            ("{{ if .x }}\na\n", "line 1: `{{ if }}` has no `{{ end }}`"),
            ("{{ range .x }}{{ if .y }}{{ end }}", "`{{ range }}` has no"),
            ("a\n{{ end }}\n", "line 2: `{{ end }}` ends nothing"),
            ("{{ else }}", "`{{ else }}` belongs to nothing"),
            ("{{ define \"a\" }}{{ else }}{{ end }}", "belongs to nothing"),
            ("{{ .a {{ .b }} }}", "inside a template action"),
            ("{{ \"open }}\n", "string"),
            ("{{ (and .a .b }}", "`(` is not closed"),
            ("{{ and .a .b) }}", "`)` closes nothing"),
            ("{{/* open }}", "comment is not closed"),
            ("{{/* a */ b }}", "comment must end"),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
