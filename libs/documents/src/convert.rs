//! Text out of bytes. Called in a worker only: a document may take any time and memory, or make a reader panic.

use std::io::{Cursor, Read as _};

use calamine::{Data, Reader as _};
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;

use crate::Format;

/// How wide a text that has no lines of its own gets, in characters.
const WIDTH: usize = 120;

/// The text of a document, or why there is none, for people.
pub(crate) fn text_of(format: Format, document: &[u8]) -> Result<String, String> {
    let text = match format {
        Format::Pdf => pdf(document),
        Format::Office => office(document),
        Format::Sheets => sheets(document),
        Format::OpenDocument => open_document(document),
        Format::Html => html(document),
        Format::Notebook => notebook(document),
    }?;
    Ok(tidy(&text))
}

fn pdf(document: &[u8]) -> Result<String, String> {
    let pages = pdf_extract::extract_text_from_mem_by_pages(document).map_err(|e| e.to_string())?;
    Ok(pages.iter().map(|page| page.trim()).collect::<Vec<_>>().join("\n\n"))
}

fn office(document: &[u8]) -> Result<String, String> {
    let parsed = undoc::parse_bytes(document).map_err(|e| e.to_string())?;
    undoc::render::to_markdown(&parsed, &undoc::render::RenderOptions::default()).map_err(|e| e.to_string())
}

fn sheets(document: &[u8]) -> Result<String, String> {
    let mut book: calamine::Ods<_> = calamine::open_workbook_from_rs(Cursor::new(document)).map_err(|e| format!("{e}"))?;
    let mut text = String::new();
    for (name, range) in book.worksheets() {
        text.push_str(&format!("## {name}\n\n"));
        for (number, row) in range.rows().enumerate() {
            let cells: Vec<String> = row.iter().map(Data::to_string).collect();
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
            if number == 0 {
                text.push_str(&format!("|{}\n", " --- |".repeat(cells.len())));
            }
        }
        text.push('\n');
    }
    Ok(text)
}

/// The paragraphs of `content.xml`; headings are marked as in Markdown.
fn open_document(document: &[u8]) -> Result<String, String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(document)).map_err(|e| e.to_string())?;
    let mut content = String::new();
    let mut part = archive.by_name("content.xml").map_err(|e| e.to_string())?;
    part.read_to_string(&mut content).map_err(|e| e.to_string())?;
    let mut reader = Reader::from_str(&content);
    let mut text = String::new();
    loop {
        match reader.read_event().map_err(|e| e.to_string())? {
            Event::Start(start) if start.local_name().as_ref() == b"h" => text.push_str("# "),
            Event::End(end) if matches!(end.local_name().as_ref(), b"p" | b"h") => text.push_str("\n\n"),
            Event::Empty(empty) => match empty.local_name().as_ref() {
                b"line-break" => text.push('\n'),
                b"tab" | b"s" => text.push(' '),
                _ => {}
            },
            Event::Text(piece) => text.push_str(&piece.decode().map_err(|e| e.to_string())?),
            Event::GeneralRef(entity) => {
                let name = entity.decode().map_err(|e| e.to_string())?;
                let code = entity.resolve_char_ref().map_err(|e| e.to_string())?;
                let known = quick_xml::escape::resolve_predefined_entity(&name).unwrap_or_default();
                text.extend(code);
                text.push_str(known);
            }
            Event::Eof => return Ok(text),
            _ => {}
        }
    }
}

fn html(document: &[u8]) -> Result<String, String> {
    html2text::config::plain_no_decorate().string_from_read(document, WIDTH).map_err(|e| e.to_string())
}

fn notebook(document: &[u8]) -> Result<String, String> {
    let notebook: Value = serde_json::from_slice(document).map_err(|e| e.to_string())?;
    let cells = notebook["cells"].as_array().ok_or("it has no list of cells; only notebooks of nbformat 4 can be read")?;
    let language = notebook["metadata"]["language_info"]["name"].as_str().unwrap_or_default();
    let mut text = String::new();
    for cell in cells {
        let source = joined(&cell["source"]);
        match cell["cell_type"].as_str() {
            Some("code") => text.push_str(&format!("```{language}\n{}\n```\n\n", source.trim_end())),
            _ => text.push_str(&format!("{}\n\n", source.trim_end())),
        }
        for output in cell["outputs"].as_array().into_iter().flatten() {
            let shown = joined(&output["text"]) + &joined(&output["data"]["text/plain"]) + &joined(&output["traceback"]);
            if !shown.trim().is_empty() {
                text.push_str(&format!("```\n{}\n```\n\n", shown.trim_end()));
            }
        }
    }
    Ok(text)
}

/// A text of a notebook: a string, or several that belong together.
fn joined(text: &Value) -> String {
    match text {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

/// One kind of line end, no control characters, no more than one empty line at a time, one at the end.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines() {
        let line: String = line.trim_end().chars().filter(|c| !c.is_control() || *c == '\t').collect();
        empty = if line.trim().is_empty() { empty + 1 } else { 0 };
        if empty <= 1 && !(tidy.is_empty() && empty > 0) {
            tidy.push_str(&line);
            tidy.push('\n');
        }
    }
    tidy.truncate(tidy.trim_end().len());
    if !tidy.is_empty() {
        tidy.push('\n');
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> (Format, Vec<u8>) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        (Format::of_path(name).unwrap(), std::fs::read(path).unwrap())
    }

    fn text(name: &str) -> String {
        let (format, document) = fixture(name);
        text_of(format, &document).unwrap()
    }

    #[test]
    fn every_format_gives_its_text() {
        assert_eq!(
            text("plan.docx"),
            "# Rollout plan\n\nThe gateway moves to port 8443 on Monday.\n\n| service | replicas |\n| --- | --- |\n| planner | 3 |\n\n\
             Grüße aus Köln\n"
        );
        assert_eq!(
            text("handbook.pdf"),
            "Handbook of the release train\n\nEvery revision can be undone.\n\nSecond page: the on-call rota\n"
        );
        assert_eq!(text("runbook.odt"), "# Runbook\n\nRestart the relay before the planner.\n");
        assert_eq!(text("ports.ods"), "## Ports\n\n| name | port |\n| --- | --- |\n| grpc | 50051 |\n");
        assert_eq!(
            text("load.ipynb"),
            "# Load test\nWhat we saw.\n\n```python\nprint(1 + 1)\n```\n\n```\n2\n```\n\n```\n<Figure>\n```\n"
        );
        let sheets = text("capacity.xlsx");
        assert!(sheets.contains("| gateway | 2 | 512Mi |") && sheets.contains("burst in December"), "{sheets}");
        let slides = text("why.pptx");
        assert!(
            slides.contains("# Why we shard\n\nOne writer per workspace\n") && slides.contains("Mention the lease"),
            "{slides}"
        );
        let page = text("page.html");
        assert!(
            page.starts_with("# Status page\n\nAll green.\n") && !page.contains("secret") && !page.contains("color"),
            "{page}"
        );
    }

    #[test]
    fn entities_and_line_ends_are_text() {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file("content.xml", zip::write::SimpleFileOptions::default()).unwrap();
        let content =
            "<d xmlns:text=\"t\"><text:p>a &lt;b&gt; &amp;&#xe4;<text:s/>c\0</text:p>\r\n\r\n\r\n<text:p>d</text:p></d>";
        std::io::Write::write_all(&mut archive, content.as_bytes()).unwrap();
        let document = archive.finish().unwrap().into_inner();
        assert_eq!(text_of(Format::OpenDocument, &document).unwrap(), "a <b> &ä c\n\nd\n");
    }

    /// Cut anywhere, changed anywhere: a text or a reason, and no end of this process. A panic is the worker's end only.
    #[test]
    fn broken_documents_give_a_text_or_a_reason() {
        let mut refused = 0;
        for name in ["plan.docx", "capacity.xlsx", "why.pptx", "handbook.pdf", "runbook.odt", "ports.ods", "load.ipynb"] {
            let (format, document) = fixture(name);
            for part in 0..40 {
                let mut broken = document[..document.len() * part / 40].to_vec();
                if part % 2 == 1 {
                    broken.extend_from_slice(&document[broken.len()..]);
                    let at = broken.len() * part / 41;
                    broken[at] ^= 0x55;
                }
                let made = std::panic::catch_unwind(|| text_of(format, &broken));
                refused += usize::from(!matches!(made, Ok(Ok(_))));
            }
        }
        assert!(refused > 100, "{refused}");
    }
}
