//! The embedding model is changed back and forth under searches and commits, and the process killed at any moment: no search
//! fails or answers by another model's vectors, and in the end the index is as a fresh one would be.
//!
//! The two models are providers whose vectors have the same length and nothing else in common: a vector of the wrong one
//! points at another file.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use futures::StreamExt as _;
use slipway_proto::embedding::audit_index_response::Event;
use slipway_proto::embedding::audit_service_client::AuditServiceClient;
use slipway_proto::embedding::{AuditIndexRequest, GetIndexRequest, SearchMode, SearchRequest, SearchResponse};
use slipway_proto::filestore::GetWorkspaceRequest;
use slipway_testkit::suite::{Client, free_port};
use slipway_testkit::{Provider, daemon::Daemon};
use tonic::Status;

use crate::story::{self, binary, commit, only_for_one_process, write};

const LENGTH: usize = 64;
/// Files, one chunk each; those from `CHANGING` on are committed again and again.
const FILES: usize = 18;
const CHANGING: usize = 14;
const ROUNDS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(180);

fn along(text: &str, turn: usize) -> Vec<f32> {
    // So long that moving a workspace takes a moment in which a kill can come.
    std::thread::sleep(Duration::from_millis(12));
    let number: String =
        text.split_once("needle").map_or("", |(_, rest)| rest).chars().take_while(char::is_ascii_digit).collect();
    let axis = number.parse::<usize>().map(|n| (n * 3 + turn) % LENGTH);
    (0..LENGTH).map(|at| if axis == Ok(at) { 1.0 } else { 0.01 }).collect()
}

fn haystack() -> Vec<(String, String)> {
    (0..FILES).map(|n| (format!("f{n}.md"), text_of(n, "at first"))).collect()
}

fn text_of(n: usize, words: &str) -> String {
    format!("# About\n\nneedle{n} lies here, {words}\n")
}

async fn search(client: &Client, workspace: &str, n: usize, mode: SearchMode) -> Result<SearchResponse, Status> {
    let (workspace_id, query) = (workspace.to_owned(), format!("needle{n}"));
    let request = SearchRequest { workspace_id, query, mode: mode.into(), limit: 100, ..Default::default() };
    Ok(client.embedding.clone().search(request).await?.into_inner())
}

/// Whichever way the answers say that they were found, they are the right ones.
async fn find(client: &Client, workspace: &str, n: usize) {
    let path = format!("f{n}.md");
    let fused = search(client, workspace, n, SearchMode::Unspecified).await.expect("a search never fails");
    // What has changed under the old model has no vector: then the nearest of the others stand beside it.
    let among = if n < CHANGING { 1 } else { fused.hits.len() };
    assert!(fused.hits.iter().take(among).any(|hit| hit.path == path), "{path}: {fused:?}");
    let dense = search(client, workspace, n, SearchMode::Dense).await.expect("a search never fails");
    let near = dense.hits.iter().filter(|hit| dense.mode() == SearchMode::Dense && hit.score > 0.9);
    assert!(near.into_iter().all(|hit| hit.path == path), "{path} by another model's vector: {dense:?}");
    if n < CHANGING {
        assert_eq!(dense.hits[0].path, path, "{dense:?}");
        assert!(dense.mode() == SearchMode::Lexical || dense.hits[0].score > 0.9, "{dense:?}");
    }
}

/// Commits a change of one file on whatever is the head; what a kill makes of it is not known.
async fn change(client: &Client, workspace: &str, n: usize, words: &str) -> Result<(), Status> {
    let request = GetWorkspaceRequest { workspace_id: workspace.to_owned() };
    let head = client.files.clone().get_workspace(request).await?.into_inner().workspace.unwrap().head_revision_id;
    commit(client, workspace, &head, vec![write(&format!("f{n}.md"), &text_of(n, words))]).await.map(drop)
}

struct Process {
    daemon: Daemon,
    client: Client,
    port: u16,
    index: std::path::PathBuf,
}

impl Process {
    fn new(directory: &Path) -> Self {
        let (port, index) = (free_port().unwrap(), directory.join("the-index"));
        let mut daemon = Daemon::new(&binary(), &["up"], directory, "slipway");
        daemon.set("SLIPWAY_DATA_DIR", directory.join("data").display().to_string());
        daemon.set("SLIPWAY_LISTEN", format!("127.0.0.1:{port}"));
        daemon.set("SLIPWAY_TELEMETRY__METRICS_LISTEN", "");
        daemon.set("SLIPWAY_EMBEDDING__INDEX_DIR", index.display().to_string());
        let client = Client::connect(&format!("http://127.0.0.1:{port}"), None).unwrap();
        Self { daemon, client, port, index }
    }

    async fn start(&mut self, model: &str, provider: &Provider) {
        self.daemon.set("SLIPWAY_EMBEDDING__EMBEDDER__KIND", "openai");
        self.daemon.set("SLIPWAY_EMBEDDING__EMBEDDER__MODEL", model);
        self.daemon.set("SLIPWAY_EMBEDDING__EMBEDDER__DIMENSIONS", LENGTH.to_string());
        self.daemon.set("SLIPWAY_EMBEDDING__EMBEDDER__BASE_URL", provider.base_url());
        self.daemon.spawn().unwrap();
        self.daemon.listening(self.port).await.unwrap();
    }

    fn folders(&self) -> usize {
        std::fs::read_dir(&self.index).unwrap().flatten().filter(|entry| entry.path().is_dir()).count()
    }

    /// Searches until everything is in the index of `model` with its vectors, and nothing else is left.
    async fn arrives(&self, workspaces: &[String], model: &str) {
        let deadline = Instant::now() + PATIENCE;
        for n in (0..FILES).cycle() {
            let mut there = self.folders() == 1;
            for workspace in workspaces {
                find(&self.client, workspace, n).await;
                let request = GetIndexRequest { workspace_id: workspace.clone() };
                let index = self.client.embedding.clone().get_index(request).await.unwrap().into_inner().index.unwrap();
                let whole = index.mode_reason.starts_with("every chunk") && !index.mode_reason.contains("moving");
                there &= whole && index.model == format!("openai/{model}@{LENGTH}");
                assert!(Instant::now() < deadline, "{} indexes, {index:?}", self.folders());
            }
            if there {
                return;
            }
        }
    }

    /// What an audit finds.
    async fn findings(&self) -> Vec<Event> {
        let request = AuditIndexRequest::default();
        let stream = AuditServiceClient::new(self.client.wire.clone()).audit_index(request).await.unwrap().into_inner();
        let events: Vec<_> = stream.map(|step| step.unwrap().event.unwrap()).collect().await;
        events.into_iter().filter(|event| matches!(event, Event::Finding(_))).collect()
    }

    /// Everything that can be found: by vectors with its score, and what is best by both. Of what is equally good the engine
    /// takes one as well as another.
    async fn answers(&self, workspaces: &[String]) -> Vec<(String, String, String)> {
        let mut answers = Vec::new();
        for workspace in workspaces {
            for n in 0..FILES {
                let fused = search(&self.client, workspace, n, SearchMode::Hybrid).await.unwrap();
                let dense = search(&self.client, workspace, n, SearchMode::Dense).await.unwrap();
                assert_eq!((fused.mode(), dense.mode()), (SearchMode::Hybrid, SearchMode::Dense));
                for best in [&fused.hits[0], &dense.hits[0]] {
                    assert_eq!(best.path, format!("f{n}.md"));
                }
                let mut all = dense.hits;
                all.sort_by(|a, b| a.path.cmp(&b.path));
                answers.extend(all.into_iter().map(|hit| (hit.path, hit.text, format!("{:.4}", hit.score))));
            }
        }
        answers
    }
}

/// A pseudo-random number below `below`.
fn draw(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stderr, reason = "a run that fails is repeated by its seed")]
async fn a_model_is_changed_back_and_forth_under_searches_commits_and_kills() {
    if only_for_one_process("a_model_is_changed_back_and_forth", "the index is of one process") {
        return;
    }
    let mut seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    eprintln!("the seed is {seed}");
    let (one, other) = (Provider::saying(&[]).await.unwrap(), Provider::saying(&[]).await.unwrap());
    one.embed_with(Some(|text| along(text, 0)));
    other.embed_with(Some(|text| along(text, 1)));
    let models = [("one", &one), ("other", &other)];
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::new(directory.path());
    process.start("one", &one).await;
    let files = haystack();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let mut workspaces = Vec::new();
    for _ in 0..2 {
        workspaces.push(story::workspace(&process.client, &files).await.0);
    }
    for workspace in &workspaces {
        story::indexed(&process.client, workspace, 1).await;
    }
    process.arrives(&workspaces, "one").await;
    process.daemon.kill();

    let (mut searches, mut commits, mut between) = (0, 0, 0);
    for round in 0..ROUNDS {
        // Now and then the same again: a switch is taken up where it was broken off.
        let (model, provider) = models[draw(&mut seed, 2) as usize];
        process.start(model, provider).await;
        let until = Instant::now() + Duration::from_millis(50 + draw(&mut seed, 2_500));
        let committing = tokio::spawn({
            let (client, workspaces, mut seed) = (process.client.clone(), workspaces.clone(), seed);
            async move {
                let mut made = 0;
                loop {
                    let (workspace, n) = (draw(&mut seed, 2) as usize, CHANGING as u64 + draw(&mut seed, 4));
                    // The kill comes in the middle of one.
                    if change(&client, &workspaces[workspace], n as usize, &format!("in round {round}, {made}")).await.is_err() {
                        return made;
                    }
                    made += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        while Instant::now() < until {
            let (workspace, n) = (draw(&mut seed, 2) as usize, draw(&mut seed, FILES as u64) as usize);
            find(&process.client, &workspaces[workspace], n).await;
            searches += 2;
        }
        process.daemon.kill();
        between += usize::from(process.folders() > 1);
        commits += committing.await.unwrap();
    }
    eprintln!("{searches} searches and {commits} commits in {ROUNDS} rounds; {between} kills between two indexes");
    assert!(searches >= ROUNDS && commits > 0);

    let (model, provider) = models[draw(&mut seed, 2) as usize];
    process.start(model, provider).await;
    // A build that died with five processes in a row is given up; the next commit is another one.
    for workspace in &workspaces {
        change(&process.client, workspace, CHANGING, "at last").await.unwrap();
    }
    process.arrives(&workspaces, model).await;
    // A build that a kill cut off after its last step is ended by whoever takes its job over.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let findings = process.findings().await;
        if findings.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{findings:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let switched = process.answers(&workspaces).await;
    process.daemon.kill();
    std::fs::remove_dir_all(&process.index).unwrap();
    process.start(model, provider).await;
    for workspace in &workspaces {
        story::indexed(&process.client, workspace, 1).await;
    }
    process.arrives(&workspaces, model).await;
    assert_eq!(process.answers(&workspaces).await, switched, "as a fresh index answers");
}
