//! Changes of the model, with searches and commits going on: two providers whose vectors have the same length and nothing else
//! in common, so that an answer from the wrong space is a wrong answer.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde_json::{Value, json};
use slipway_proto::embedding::Hit;
use tokio::task::JoinHandle;

use super::*;
use crate::index::{FORMAT, Server as Qdrant, StandIn, Tenant, VectorIndex as _};
use crate::service::Source;
use crate::settings::EmbedderKind;

const LENGTH: usize = 64;
const NEEDLES: usize = 20;
/// The file that is committed again in the middle.
const CHANGED: usize = 7;

/// A provider of one model. Text about needle `n` points along an axis that is another one in every model.
struct Provider {
    settings: EmbedderSettings,
    held: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State((turn, held)): State<(usize, Arc<AtomicUsize>)>, axum::Json(body): axum::Json<Value>) -> Response<Body> {
    let say = |status: u16, body: String| Response::builder().status(status).body(body.into()).unwrap();
    if held.load(Ordering::SeqCst) > 0 {
        return say(503, "held".to_owned());
    }
    let texts = body["input"].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
    let data = texts.map(|text| json!({"embedding": along(text, turn)}));
    say(200, json!({"data": data.collect::<Vec<_>>()}).to_string())
}

fn along(text: &str, turn: usize) -> Vec<f32> {
    let digits = text.split_once("needle").map_or("", |(_, rest)| rest);
    let number: String = digits.chars().take_while(char::is_ascii_digit).collect();
    let axis = number.parse::<usize>().map(|n| (n * 3 + turn) % LENGTH);
    (0..LENGTH).map(|at| if axis == Ok(at) { 1.0 } else { 0.01 }).collect()
}

impl Provider {
    async fn start(name: &str, turn: usize) -> Provider {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let held = Arc::new(AtomicUsize::new(0));
        let router = Router::new().fallback(axum::routing::post(answer)).with_state((turn, held.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = EmbedderSettings {
            kind: EmbedderKind::Openai,
            model: name.to_owned(),
            base_url: format!("http://{}/v1", listener.local_addr().unwrap()),
            dimensions: LENGTH,
            ..EmbedderSettings::default()
        };
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Provider { settings, held, serving }
    }

    fn hold(&self, held: bool) {
        self.held.store(usize::from(held), Ordering::SeqCst);
    }

    fn folder(&self) -> String {
        let hash = &blake3::hash(self.settings.space().model.as_bytes()).to_hex()[..8];
        format!("in-process_openai-{}-{LENGTH}-{hash}_{LENGTH}_v{FORMAT}", self.settings.model)
    }

    async fn world(&self, dir: TempDir, files: &FileStore) -> World {
        let url = format!("sqlite://{}/embedding.db", dir.path().display());
        World::start_by(dir, &url, files.clone(), Model::None, Parts::default(), self.settings.clone()).await
    }
}

fn haystack(words: &str) -> Vec<(String, String)> {
    (0..NEEDLES).map(|n| (format!("f{n}.md"), format!("# About\n\nneedle{n} lies here, {words}\n"))).collect()
}

async fn commit(world: &World, p: ProjectId, w: Uuid, words: &str) -> u64 {
    let files = haystack(words);
    world.commit(p, w, &files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>()).await
}

/// Searches for a needle both ways; whichever way the answer says it was found, it is the right one.
async fn find(world: &World, p: ProjectId, w: Uuid, n: usize) -> (SearchMode, Hit) {
    let request = |mode: SearchMode| SearchRequest {
        workspace_id: w.to_string(),
        query: format!("needle{n}"),
        mode: mode.into(),
        ..SearchRequest::default()
    };
    let path = format!("f{n}.md");
    let fused = world.search_with(p, request(SearchMode::Unspecified)).await.expect("a search never fails");
    // What has changed under the old model has no vector: then the nearest other file may stand beside it.
    let among = if n == CHANGED { 2 } else { 1 };
    assert!(paths(&fused).iter().take(among).any(|found| *found == path), "{path}: {:?}", fused.mode());
    let dense = world.search_with(p, request(SearchMode::Dense)).await.expect("a search never fails");
    let near = dense.hits.iter().filter(|hit| dense.mode() == SearchMode::Dense && hit.score > 0.9);
    assert!(near.into_iter().all(|hit| hit.path == path), "a vector of another space");
    if n != CHANGED {
        assert_eq!(dense.hits[0].path, path, "{:?}", dense.mode());
    }
    (dense.mode(), dense.hits[0].clone())
}

/// Searches without a pause until the workspace has arrived.
async fn arrives(world: &World, p: ProjectId, workspaces: &[Uuid], provider: &Provider) {
    let model = provider.settings.space().model;
    let start = Instant::now();
    for n in (0..NEEDLES).cycle() {
        let mut there = true;
        for w in workspaces {
            find(world, p, *w, n).await;
            let index = world.index(p, *w).await.unwrap();
            there &=
                index.model == model && index.mode_reason.starts_with("every chunk") && !index.mode_reason.contains("moving");
        }
        if there && folders(&world.dir) == [provider.folder()] {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "still {:?}: {:?}", folders(&world.dir), world.index(p, workspaces[0]).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_changed_while_searches_and_commits_go_on() {
    let (first, second) = (Provider::start("first", 0).await, Provider::start("second", 1).await);
    let (files, p, workspaces) = (FileStore::default(), project(1), [Uuid::now_v7(), Uuid::now_v7()]);
    let world = first.world(tempfile::tempdir().unwrap(), &files).await;
    for w in workspaces {
        commit(&world, p, w, "at first").await;
        world.hybrid(p, w, 1).await;
        assert_eq!(find(&world, p, w, 3).await.0, SearchMode::Dense);
    }
    let (dir, _) = world.stop().await;

    // As long as the new model cannot be asked, the old index answers as it did, and what is new is found in it.
    second.hold(true);
    let world = second.world(dir, &files).await;
    let w = workspaces[0];
    assert_eq!(find(&world, p, w, 3).await.0, SearchMode::Dense);
    let mut changed = haystack("at first");
    changed[CHANGED].1 = "# About\n\nneedle7 has been polished\n".to_owned();
    world.commit(p, w, &changed.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>()).await;
    let index = world.ready(p, w, 2).await;
    assert_eq!((index.model.as_str(), index.mode()), ("openai/first@64", SearchMode::Hybrid));
    assert!(index.mode_reason.contains("moving to openai/second@64"), "{}", index.mode_reason);
    let found = world.search(p, w, "polished").await.unwrap();
    assert_eq!((paths(&found)[..2].contains(&"f7.md"), found.mode()), (true, SearchMode::Hybrid));
    assert_eq!(folders(&world.dir), {
        let mut both = [first.folder(), second.folder()];
        both.sort();
        both
    });

    // A stop in the middle, and then the rest.
    let (dir, _) = world.stop().await;
    let world = second.world(dir, &files).await;
    for w in workspaces {
        find(&world, p, w, CHANGED).await;
    }
    second.hold(false);
    arrives(&world, p, &workspaces, &second).await;
    assert!(find(&world, p, w, CHANGED).await.1.text.contains("polished"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_old_model_is_gone_words_answer_and_say_so() {
    let (first, second) = (Provider::start("first", 0).await, Provider::start("second", 1).await);
    let (files, p, w) = (FileStore::default(), project(1), Uuid::now_v7());
    let world = first.world(tempfile::tempdir().unwrap(), &files).await;
    commit(&world, p, w, "at first").await;
    world.hybrid(p, w, 1).await;
    let (dir, _) = world.stop().await;

    drop(first);
    second.hold(true);
    let world = second.world(dir, &files).await;
    assert_eq!(find(&world, p, w, 5).await.0, SearchMode::Lexical);
    let index = world.index(p, w).await.unwrap();
    assert_eq!(index.mode(), SearchMode::Lexical);
    assert!(index.mode_reason.contains("cannot be reached"), "{}", index.mode_reason);
    second.hold(false);
    arrives(&world, p, &[w], &second).await;
    assert_eq!(find(&world, p, w, 5).await.0, SearchMode::Dense);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_in_the_middle_of_a_switch_and_the_way_back() {
    let (first, second, third) =
        (Provider::start("first", 0).await, Provider::start("second", 1).await, Provider::start("third", 2).await);
    let (files, p, workspaces) = (FileStore::default(), project(1), [Uuid::now_v7(), Uuid::now_v7()]);
    let world = first.world(tempfile::tempdir().unwrap(), &files).await;
    commit(&world, p, workspaces[0], "at first").await;
    world.commit(p, workspaces[1], &[("lost.md", "needle0"), ("f3.md", "needle3")]).await;
    for w in workspaces {
        world.hybrid(p, w, 1).await;
    }
    let (dir, _) = world.stop().await;

    // One of the two gets to the second model; of the other a file cannot be read.
    files.lose("lost.md");
    let world = second.world(dir, &files).await;
    world.wait(p, workspaces[0], |index| index.model == "openai/second@64").await;
    assert_eq!(world.index(p, workspaces[1]).await.unwrap().model, "openai/first@64");
    for w in workspaces {
        assert_eq!(find(&world, p, w, 3).await.0, SearchMode::Dense);
    }
    let (dir, _) = world.stop().await;

    // Both go on to the third, each from where it is, and both indexes of before go.
    files.find_again();
    let world = third.world(dir, &files).await;
    for w in workspaces {
        assert_eq!(find(&world, p, w, 3).await.0, SearchMode::Dense);
    }
    commit(&world, p, workspaces[1], "again").await;
    world.ready(p, workspaces[1], 2).await;
    arrives(&world, p, &workspaces, &third).await;
    let (dir, _) = world.stop().await;

    // Back before anything has moved: nothing is to be done.
    first.hold(true);
    let world = first.world(dir, &files).await;
    assert_eq!(find(&world, p, workspaces[0], 4).await.0, SearchMode::Dense);
    let (dir, _) = world.stop().await;
    files.take_reads();
    let world = third.world(dir, &files).await;
    arrives(&world, p, &workspaces, &third).await;
    assert_eq!(files.take_reads(), 0, "it is all there");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alias_of_a_server_moves_when_what_it_is_to_stand_for_is_whole() {
    let (server, files) = (StandIn::start().await, FileStore::default());
    let (p, whole, lacking) = (project(1), Uuid::now_v7(), Uuid::now_v7());
    let start = async |dir: TempDir, format: u32| {
        let source = Source::Server(Box::new(Qdrant::with_format(&server.settings(), format).unwrap()));
        let url = format!("sqlite://{}/embedding.db", dir.path().display());
        let parts = Parts { engine: Some(source), ..Parts::default() };
        World::start_with(dir, &url, files.clone(), Model::Counting(Arc::default()), parts).await
    };
    let world = start(tempfile::tempdir().unwrap(), FORMAT).await;
    commit(&world, p, whole, "here").await;
    world.commit(p, lacking, &[("lost.md", "needle0")]).await;
    for w in [whole, lacking] {
        world.hybrid(p, w, 1).await;
    }
    let (dir, _) = world.stop().await;

    files.lose("lost.md");
    let world = start(dir, FORMAT + 1).await;
    world.wait(p, whole, |index| !index.mode_reason.contains("moving")).await;
    // The one that has moved loses a chunk before the other one is there.
    let new = Qdrant::with_format(&server.settings(), FORMAT + 1).unwrap().current().unwrap();
    let tenant = Tenant { project: p, workspace: whole };
    let ids = new.ids(tenant, false).await.unwrap();
    new.erase(vec![ids[0]]).await.unwrap();
    assert_eq!(server.names().0.len(), 2);
    assert!(server.names().1["slipway"].ends_with(&format!("_v{FORMAT}")));
    files.find_again();
    let start_of_wait = Instant::now();
    while server.names().0.len() > 1 {
        assert!(start_of_wait.elapsed() < PATIENCE, "still {:?}", server.names());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(server.names().1["slipway"].ends_with(&format!("_v{}", FORMAT + 1)));
    let mut now = new.ids(tenant, false).await.unwrap();
    let mut before = ids;
    now.sort_unstable();
    before.sort_unstable();
    assert_eq!(now, before, "what was missing was built again before the alias moved");
    world.stop().await;
}
