//! Chunks: a file cut where its structure has joints. YAML by documents and keys, Helm templates by `define` and document,
//! Markdown by sections, code by its definitions, anything else by lines. Whatever the input, cutting never fails: what has no structure has lines.
//! Secrets are taken out before: neither the index nor whoever embeds a chunk gets to see one.

mod code;
mod lines;
mod markdown;
mod outline;
mod template;
mod yaml;

use std::panic::{AssertUnwindSafe, catch_unwind};

use slipway_documents::Format;
use slipway_secrets::Scanner;

use lines::{Lines, Span};

/// Files over this many bytes are passed over.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 20;
/// About as many tokens as one chunk may cost; the model's window is 256 and the path and the title come on top.
const MAX_TOKENS: usize = 200;
const MAX_LINES: usize = 40;
const OVERLAP_LINES: usize = 4;
/// More chunks than this in one file say nothing that the first ones do not.
const MAX_CHUNKS: usize = 4_000;

/// A run of lines that belongs together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// First line, from 1.
    pub(crate) start_line: u32,
    /// Last line, included.
    pub(crate) end_line: u32,
    /// What it is, for example `values ingress`; may be empty.
    pub(crate) title: String,
    /// Its lines.
    pub(crate) text: String,
}

/// The text of a file that can be indexed; `None` for one that is too large or is not UTF-8 text.
pub(crate) fn text_of(bytes: &[u8]) -> Option<&str> {
    if bytes.len() as u64 > MAX_FILE_BYTES || bytes.contains(&0) {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

/// What is embedded for a chunk: where it is and what it is called say as much as its lines.
pub(crate) fn embedded_text(path: &str, title: &str, text: &str) -> String {
    if title.is_empty() { format!("{path}\n{text}") } else { format!("{path}\n{title}\n{text}") }
}

/// Cuts a file into chunks, in the order of its lines.
pub(crate) fn chunk(path: &str, content: &str) -> Vec<Chunk> {
    let content = &*Scanner::standard().redact_file(path, content);
    let lines = Lines::new(content);
    // Neither the YAML scanner nor the grammars are ours: should some input make it panic, the file is still cut by lines.
    let spans = catch_unwind(AssertUnwindSafe(|| spans(path, content, &lines))).unwrap_or_else(|_| vec![lines.all("")]);
    let overlap = if matches!(Form::of(path, content), Form::Plain) { OVERLAP_LINES } else { 0 };
    let mut chunks = Vec::new();
    for span in spans {
        lines.cut(&span, overlap, &mut chunks);
        if chunks.len() >= MAX_CHUNKS {
            chunks.truncate(MAX_CHUNKS);
            break;
        }
    }
    chunks
}

fn spans(path: &str, content: &str, lines: &Lines<'_>) -> Vec<Span> {
    match Form::of(path, content) {
        Form::Yaml => yaml::spans(path, content, lines),
        Form::Template => template::spans(content, lines),
        Form::Markdown => markdown::spans(lines),
        Form::Code(language) => code::spans(language, content, lines),
        Form::Plain => vec![lines.all("")],
    }
}

/// How a file is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Yaml,
    Template,
    Markdown,
    Code(code::Language),
    Plain,
}

impl Form {
    fn of(path: &str, content: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        let extension = name.rsplit_once('.').map_or("", |(_, e)| e);
        let in_templates = path.split('/').rev().skip(1).any(|part| part == "templates");
        match extension {
            "tpl" | "gotmpl" => Self::Template,
            "yaml" | "yml" if content.contains("{{") => Self::Template,
            "yaml" | "yml" => Self::Yaml,
            "txt" if in_templates => Self::Template,
            "md" | "markdown" => Self::Markdown,
            // Their texts come with headings and tables.
            _ if Format::of_path(path).is_some_and(Format::is_opaque) => Self::Markdown,
            _ => code::Language::of(extension).map_or(Self::Plain, Self::Code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_and_huge_files_are_passed_over() {
        assert!(text_of(b"a\0b").is_none());
        assert!(text_of(b"\xff\xfe").is_none());
        assert!(text_of(&vec![b'a'; 1 + MAX_FILE_BYTES as usize]).is_none());
        assert_eq!(text_of("grüß".as_bytes()), Some("grüß"));
    }

    #[test]
    fn secrets_are_in_no_chunk_and_lines_keep_their_numbers() {
        let token = ["ghp", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"].join("_");
        let (begin, end) = (["-----BEGIN RSA PRIVATE", "KEY-----"].join(" "), ["-----END RSA PRIVATE", "KEY-----"].join(" "));
        let body = "MIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF8PbnGy0AHB7MhgwMbRvI0MBZhpI\n".repeat(4);
        let text = format!("# Notes\n\n{begin}\n{body}{end}\n\n# Quokka\n\ntoken {token} here\n");
        let chunks = chunk("NOTES.md", &text);
        assert!(chunks.iter().all(|c| !c.text.contains(&token) && !c.text.contains("MIIEpAIB")), "{chunks:#?}");
        let quokka = chunks.iter().find(|c| c.text.contains("token [REDACTED:")).unwrap();
        assert_eq!((quokka.start_line, quokka.end_line), (10, 12), "{chunks:#?}");
    }

    #[test]
    fn every_line_with_text_is_in_a_chunk() {
        let yaml = include_str!("chunk/testdata/values.yaml");
        for path in ["values.yaml", "README.md", "main.rs", "templates/x.tpl"] {
            let chunks = chunk(path, yaml);
            for (at, line) in yaml.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
                let n = at as u32 + 1;
                assert!(chunks.iter().any(|c| c.start_line <= n && n <= c.end_line), "{path}: line {n} {line:?} is lost");
            }
        }
    }

    #[test]
    fn text_is_exactly_the_lines_it_names() {
        let yaml = include_str!("chunk/testdata/values.yaml");
        let all: Vec<_> = yaml.lines().collect();
        for c in chunk("values.yaml", yaml) {
            assert_eq!(c.text, all[c.start_line as usize - 1..c.end_line as usize].join("\n"), "{}", c.title);
        }
    }

    #[test]
    fn plain_text_is_cut_by_lines_with_overlap() {
        let text: String = (1..=100).map(|n| format!("line {n}\n")).collect();
        let chunks = chunk("notes.txt", &text);
        assert!(chunks.len() >= 3);
        assert_eq!((chunks[0].start_line, chunks[0].end_line), (1, 40));
        assert_eq!(chunks[1].start_line, 37);
        assert_eq!(chunks.last().unwrap().end_line, 100);
    }

    #[test]
    fn one_endless_line_is_cut_too() {
        let chunks = chunk("bundle.js", &"abcdef(ghi);".repeat(20_000));
        assert!(chunks.len() > 10 && chunks.len() <= MAX_CHUNKS);
        assert!(chunks.iter().all(|c| c.text.len() <= 4_096 && c.start_line == 1 && c.end_line == 1));
    }

    #[test]
    fn hostile_input_never_panics() {
        let deep = "[".repeat(50_000);
        let nested: String = (0..2_000).map(|n| format!("{}k{n}:\n", " ".repeat(n))).collect();
        let inputs = [
            "",
            "\n\n\n",
            ":",
            "---",
            "--- ---\n...",
            "? a\n: b",
            "&a *a",
            "*unknown",
            "%YAML 9.9\n---\n",
            "\t- x: 1",
            "{{",
            "}}",
            "{{ end }}",
            "{{ define }}",
            "{{- define \"x\"",
            "{{/* never closed",
            "{{ if }}{{ define \"a\" }}",
            "{{ define \"a\" }}{{ end }}{{ end }}{{ end }}",
            "# ",
            "#",
            "```\n# not a heading",
            "====",
            "a:\n- b\n-c\n  d",
            "a: |\n x\nb",
            "a: \"open",
            "\u{feff}a: 1",
            "\r\r\r",
            "a: 1\r\nb: 2\r\n",
            "🦀: 🦀\n",
            "a: !!binary |\n  ////",
            "<<: *x",
            &deep,
            &nested,
        ];
        for input in inputs {
            for path in ["values.yaml", "templates/a.yaml", "a.tpl", "README.md", "x", "Chart.yaml", "templates/NOTES.txt", ""] {
                for c in chunk(path, input) {
                    assert!(c.start_line >= 1 && c.end_line >= c.start_line, "{path} {c:?}");
                }
            }
        }
    }

    #[test]
    fn every_prefix_and_mutation_of_real_files_is_cut() {
        let sources = [include_str!("chunk/testdata/values.yaml"), include_str!("chunk/testdata/deployment.yaml")];
        for source in sources {
            for end in (0..source.len()).step_by(7).filter(|e| source.is_char_boundary(*e)) {
                chunk("values.yaml", &source[..end]);
                chunk("templates/x.yaml", &source[..end]);
                let mutated = format!("{}\u{0}\u{1}{{{{{}", &source[..end], &source[end..]);
                chunk("values.yaml", &mutated);
            }
        }
    }
}
