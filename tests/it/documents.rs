//! Documents: their text by its call and by the command, found by search, read once, and nothing that a hostile one gains.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use slipway_proto::embedding::{SearchMode, SearchRequest};
use slipway_proto::filestore::document_service_client::DocumentServiceClient;
use slipway_proto::filestore::{FileChange, GetDocumentTextRequest, GetDocumentTextResponse, WriteFile, file_change::Change};
use slipway_testkit::suite::Client;
use tonic::{Code, Status};

use crate::story::{self, binary, commit, refused, repository, suite};

const KINDS: [(&str, &str); 8] = [
    ("plan.docx", "The gateway moves to port 8443 on Monday."),
    ("capacity.xlsx", "| gateway | 2 | 512Mi |"),
    ("why.pptx", "One writer per workspace"),
    ("handbook.pdf", "Second page: the on-call rota"),
    ("runbook.odt", "# Runbook\n\nRestart the relay before the planner."),
    ("ports.ods", "| grpc | 50051 |"),
    ("page.html", "All green."),
    ("load.ipynb", "```python\nprint(1 + 1)\n```"),
];

fn file(path: &str, content: Vec<u8>) -> FileChange {
    FileChange { change: Some(Change::Write(WriteFile { path: path.into(), content: content.into(), ..Default::default() })) }
}

fn fixtures(of: &Path) -> Vec<FileChange> {
    KINDS.iter().map(|(name, _)| file(&format!("docs/{name}"), std::fs::read(of.join(name)).unwrap())).collect()
}

async fn text_of(client: &Client, workspace: &str, path: &str) -> Result<GetDocumentTextResponse, Status> {
    let request = GetDocumentTextRequest { workspace_id: workspace.into(), path: path.into(), ..Default::default() };
    let mut documents = DocumentServiceClient::new(client.wire.clone());
    Ok(documents.get_document_text(request).await?.into_inner())
}

async fn finds(client: &Client, workspace: &str, query: &str) -> Vec<String> {
    let mode = SearchMode::Lexical.into();
    let request = SearchRequest { workspace_id: workspace.into(), query: query.into(), mode, ..Default::default() };
    let hits = client.embedding.clone().search(request).await.unwrap().into_inner().hits;
    hits.into_iter().map(|hit| hit.path).collect()
}

/// A Word document whose one part is 2.5 GiB of spaces, and which is under 3 MiB itself.
fn bomb() -> Vec<u8> {
    const SEGMENT: usize = 16 << 20;
    const TIMES: u32 = 160;
    let mut deflate = flate2::Compress::new(flate2::Compression::best(), false);
    let mut segment = Vec::with_capacity(SEGMENT / 100);
    deflate.compress_vec(&vec![b' '; SEGMENT], &mut segment, flate2::FlushCompress::Full).unwrap();
    let mut stream = segment.repeat(TIMES as usize);
    // An empty last block.
    stream.extend([3, 0]);
    let name = b"word/document.xml";
    let sizes = [(stream.len() as u32).to_le_bytes(), (SEGMENT as u32 * TIMES).to_le_bytes()].concat();
    let head = [&[20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &sizes, &(name.len() as u16).to_le_bytes(), &[0, 0]].concat();
    let mut zip = [&b"PK\x03\x04"[..], &head, name, &stream].concat();
    let directory = zip.len() as u32;
    zip.extend([&b"PK\x01\x02\x14\x00"[..], &head, &[0; 14], name].concat());
    let size = zip.len() as u32 - directory;
    zip.extend([&b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..], &size.to_le_bytes(), &directory.to_le_bytes(), &[0, 0]].concat());
    zip
}

#[tokio::test]
async fn every_format_gives_its_text_and_is_found_by_it() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, first) = story::workspace(&client, &[("notes.txt", "plain words\n")]).await;
    let documents = repository().join("libs/documents/fixtures");
    commit(&client, &workspace, &first.id, fixtures(&documents)).await.unwrap();
    for (name, text) in KINDS {
        let document = text_of(&client, &workspace, &format!("docs/{name}")).await.unwrap();
        assert!(document.text.contains(text) && !document.truncated, "{name}: {}", document.text);
        assert_eq!(document.file.unwrap().path, format!("docs/{name}"));
    }
    assert_eq!(text_of(&client, &workspace, "notes.txt").await.unwrap().text, "plain words\n");
    story::indexed(&client, &workspace, 2).await;
    for (query, path) in
        [("gateway moves Monday", "docs/plan.docx"), ("rota", "docs/handbook.pdf"), ("relay", "docs/runbook.odt")]
    {
        assert_eq!(finds(&client, &workspace, query).await.first().map(String::as_str), Some(path));
    }
    let mut slipway = Command::new(binary());
    slipway.args(["files", "text", &workspace, "docs/ports.ods"]).env("SLIPWAY_SERVER", suite.url());
    let printed = slipway.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&printed.stdout), "## Ports\n\n| name | port |\n| --- | --- |\n| grpc | 50051 |\n");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_takes_nothing_along() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, first) = story::workspace(&client, &[("notes.txt", "plain words\n")]).await;
    let whole = std::fs::read(repository().join("libs/documents/fixtures/plan.docx")).unwrap();
    let mut deep = Vec::new();
    write!(deep, "<html>{}", "<div>".repeat(200_000)).unwrap();
    let hostile = vec![
        file("cut.docx", whole[..whole.len() / 2].to_vec()),
        file("named.pdf", whole),
        file("bomb.docx", bomb()),
        file("empty.xlsx", Vec::new()),
        file("cells.ipynb", b"{\"cells\": 7}".to_vec()),
        file("logo.png", vec![0x89, b'P', b'N', b'G', 0]),
        file("deep.html", deep),
    ];
    commit(&client, &workspace, &first.id, hostile).await.unwrap();
    for path in ["cut.docx", "named.pdf", "bomb.docx", "empty.xlsx", "cells.ipynb"] {
        for _ in 0..2 {
            let status = refused(text_of(&client, &workspace, path).await, Code::FailedPrecondition, "DOCUMENT_UNREADABLE");
            assert_eq!(story::fact(&status, "path"), path);
            assert!(status.message().starts_with("the document "), "{}", status.message());
        }
    }
    refused(text_of(&client, &workspace, "logo.png").await, Code::FailedPrecondition, "FILE_NOT_TEXT");
    refused(text_of(&client, &workspace, "absent.pdf").await, Code::NotFound, "FILE_NOT_FOUND");
    // Text or no text: the worker's end is nobody else's.
    let _ = text_of(&client, &workspace, "deep.html").await;
    assert_eq!(text_of(&client, &workspace, "notes.txt").await.unwrap().text, "plain words\n");
    story::indexed(&client, &workspace, 2).await;
    assert_eq!(finds(&client, &workspace, "plain").await, ["notes.txt"]);
}

/// What the worker makes of a document, as it is when it is started by hand.
fn worker_reads(kind: &str, document: &[u8]) -> std::process::Output {
    let mut worker = Command::new(binary());
    worker.args(["convert-document", kind]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut worker = worker.spawn().unwrap();
    // One that knows enough reads no more.
    let _ = worker.stdin.take().unwrap().write_all(document);
    worker.wait_with_output().unwrap()
}

#[test]
#[ignore = "a minute long"]
fn fuzz_documents_for_a_minute() {
    let kinds = ["office", "office", "office", "pdf", "opendocument", "sheets", "html", "notebook"];
    let fixtures = repository().join("libs/documents/fixtures");
    let documents = KINDS.map(|(name, _)| std::fs::read(fixtures.join(name)).unwrap());
    let (end, mut dice, mut count) = (Instant::now() + Duration::from_secs(60), StdRng::seed_from_u64(7), [0; 3]);
    while Instant::now() < end {
        let which = dice.random_range(0..documents.len());
        let mut document = documents[which].clone();
        for _ in 0..dice.random_range(1..20) {
            let (from, length) = (dice.random_range(0..document.len()), dice.random_range(0..64));
            let to = document.len().min(from + length);
            match dice.random_range(0..4) {
                0 => document[from] ^= 1 << dice.random_range(0..8),
                1 => document.copy_within(from..to, 0),
                2 => drop(document.drain(from..to)),
                _ => document[from..to].fill(b'9'),
            }
            document.push(0);
        }
        let output = worker_reads(kinds[which], &document);
        match output.status.code() {
            Some(0) => count[0] += 1,
            Some(65) => count[1] += usize::from(!output.stderr.is_empty()),
            // It gave up, or came to its limits: that is what it is for.
            _ => count[2] += 1,
        }
        assert!(std::str::from_utf8(&output.stdout).is_ok());
    }
    assert!(count[0] > 100 && count[1] > 100, "texts, reasons, ends: {count:?}");
}
