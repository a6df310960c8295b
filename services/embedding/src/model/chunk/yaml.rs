//! YAML files: the parser's markers say where documents and keys begin, so block scalars and quoted text are never mistaken
//! for keys. A file that does not parse is read off its indentation instead.

use saphyr_parser::{Event, Parser};

use super::lines::{Lines, Span};
use super::outline::{self, Document, Key, MAX_DEPTH};

/// A file with more events than this is outlined by its indentation.
const MAX_EVENTS: usize = 400_000;

pub(super) fn spans(path: &str, content: &str, lines: &Lines<'_>) -> Vec<Span> {
    let mut documents = parse(content, lines.len()).unwrap_or_else(|| by_indentation(lines));
    let what = what(path);
    let mut spans = Vec::new();
    for document in &mut documents {
        let prefix = prefix(what, document);
        document.apart = what == "values";
        if !document.apart && lines.fits(document.start, document.end) {
            spans.push(Span { start: document.start, end: document.end, title: prefix });
        } else {
            document.split(lines, &prefix, &mut spans);
        }
    }
    spans
}

/// `values` and `chart` for a chart's own files, else nothing.
fn what(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    if name.starts_with("values") {
        "values"
    } else if name.starts_with("chart.") {
        "chart"
    } else {
        ""
    }
}

fn prefix(what: &str, document: &Document) -> String {
    match (what.is_empty(), document.kind.is_empty(), document.name.is_empty()) {
        (true, false, false) => format!("{} {}", document.kind, document.name),
        (true, false, true) => document.kind.clone(),
        _ => what.to_owned(),
    }
}

fn by_indentation(lines: &Lines<'_>) -> Vec<Document> {
    let mut starts = vec![0];
    starts.extend((1..lines.len()).filter(|at| lines.get(*at).trim_end() == "---"));
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    starts.iter().zip(ends).map(|(start, end)| outline::scan(lines, *start, end)).collect()
}

/// A mapping or sequence that the parser is in.
struct Container {
    mapping: bool,
    /// In a mapping: the next node is a key.
    at_key: bool,
    /// The path of the node that is being read.
    name: String,
}

/// The documents of a file; `None` when it does not parse.
fn parse(content: &str, line_count: usize) -> Option<Vec<Document>> {
    let mut documents: Vec<Document> = Vec::new();
    let mut stack: Vec<Container> = Vec::new();
    let mut parser = Parser::new_from_str(content);
    for _ in 0..MAX_EVENTS {
        let (event, span) = parser.next_event()?.ok()?;
        let line = span.start.line().saturating_sub(1);
        match event {
            Event::StreamEnd => return Some(bounded(documents, line_count)),
            Event::DocumentStart(_) => {
                let start = if documents.is_empty() { 0 } else { line };
                documents.push(Document { start, ..Document::default() });
            }
            Event::Scalar(value, ..) => {
                let document = documents.last_mut()?;
                document.meet(&mut stack, line, Some(&value));
                leave(&mut stack);
            }
            Event::Alias(_) => {
                documents.last_mut()?.meet(&mut stack, line, None);
                leave(&mut stack);
            }
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                documents.last_mut()?.meet(&mut stack, line, None);
                let mapping = matches!(event, Event::MappingStart(..));
                stack.push(Container { mapping, at_key: mapping, name: String::new() });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                stack.pop();
                leave(&mut stack);
            }
            Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
        }
    }
    None
}

/// A node has ended: in a mapping, keys and values alternate.
fn leave(stack: &mut [Container]) {
    if let Some(top) = stack.last_mut().filter(|top| top.mapping) {
        top.at_key = !top.at_key;
    }
}

impl Document {
    /// A node begins: notes keys and items, and the values of `kind` and `metadata.name`.
    fn meet(&mut self, stack: &mut [Container], line: usize, scalar: Option<&str>) {
        let depth = stack.len().saturating_sub(1);
        let Some(top) = stack.last_mut() else { return };
        if top.mapping && !top.at_key {
            let path: Vec<&str> = stack.iter().take(3).map(|c| c.name.as_str()).collect();
            match (&path[..], scalar) {
                (["kind"], Some(value)) => value.clone_into(&mut self.kind),
                (["metadata", "name"], Some(value)) => value.clone_into(&mut self.name),
                _ => {}
            }
            return;
        }
        let name = if top.mapping { scalar.unwrap_or("?") } else { "[]" };
        top.name = name.chars().take(128).collect();
        if depth <= MAX_DEPTH {
            self.keys.push(Key { line, depth, name: top.name.clone() });
        }
    }
}

/// Every line belongs to a document: each ends where the next begins.
fn bounded(mut documents: Vec<Document>, line_count: usize) -> Vec<Document> {
    if documents.is_empty() {
        documents.push(Document::default());
    }
    let starts: Vec<_> = documents.iter().skip(1).map(|d| d.start).chain([line_count]).collect();
    for (document, end) in documents.iter_mut().zip(starts) {
        document.end = end.max(document.start);
        document.keys.sort_by_key(|k| k.line);
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::super::{Chunk, chunk};

    fn find<'a>(chunks: &'a [Chunk], title: &str) -> &'a Chunk {
        let titles: Vec<_> = chunks.iter().map(|c| &c.title).collect();
        chunks.iter().find(|c| c.title == title).unwrap_or_else(|| panic!("no {title:?} in {titles:?}"))
    }

    #[test]
    fn values_are_cut_at_their_keys_with_the_comments_above() {
        let chunks = chunk("values.yaml", include_str!("testdata/values.yaml"));
        let ingress = find(&chunks, "values ingress");
        assert_eq!((ingress.start_line, ingress.end_line), (12, 21));
        assert!(ingress.text.starts_with("# -- Reaching the gateway"));
        assert!(find(&chunks, "values replicaCount").text.contains("How many pods"));
        assert_eq!(find(&chunks, "values image").start_line, 7);
    }

    #[test]
    fn large_subtrees_are_cut_further_and_block_scalars_are_not_keys() {
        let chunks = chunk("charts/x/values.yaml", include_str!("testdata/values.yaml"));
        let nested: Vec<_> = chunks.iter().filter(|c| c.title.starts_with("values gateway")).collect();
        assert!(nested.len() >= 2, "{nested:?}");
        assert!(nested[0].text.contains("gateway:") && nested[0].text.contains("replicas: 2"));
        assert!(chunks.iter().all(|c| !c.title.contains("key") && !c.title.contains("another")));
    }

    #[test]
    fn documents_are_named_by_kind_and_name() {
        let yaml = "# first\napiVersion: v1\nkind: Service\nmetadata:\n  name: gateway\n---\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n";
        let chunks = chunk("deploy/all.yaml", yaml);
        assert_eq!(find(&chunks, "Service gateway").start_line, 1);
        assert_eq!(find(&chunks, "ConfigMap settings").start_line, 6);
        assert_eq!(chunks.len(), 2);
    }

    #[test]
    fn small_keys_share_chunks_outside_values_files() {
        let flat: String = (0..120).map(|n| format!("key{n}: value{n}\n")).collect();
        assert!(chunk("deploy/flat.yaml", &flat).len() < 8);
        assert_eq!(chunk("values.yaml", &flat).len(), 120);
    }

    #[test]
    fn broken_yaml_is_read_off_its_indentation() {
        let chunks = chunk("values.yaml", "a:\n  b: 1\n# about c\nc: [1, 2\nd:\n  e: \"x\n");
        assert_eq!(find(&chunks, "values a").end_line, 2);
        assert_eq!(find(&chunks, "values c").start_line, 3);
    }

    #[test]
    fn a_small_chart_file_is_one_chunk() {
        let chunks = chunk("Chart.yaml", "apiVersion: v2\nname: slipway\nversion: 0.1.0\n");
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].title, "chart");
    }

    #[test]
    fn long_lists_are_cut_at_their_items() {
        let items: String = (0..60).map(|n| format!("  - name: SOME_LONG_VARIABLE_{n}\n    value: something-{n}\n")).collect();
        let chunks = chunk("values.yaml", &format!("env:\n{items}"));
        assert!(chunks.len() > 3);
        assert!(chunks.iter().skip(1).all(|c| c.text.trim_start().starts_with("- name")), "{chunks:?}");
    }
}
