//! The forced tenant filter: whatever is asked, in whatever words, modes, globs and limits, an answer holds only what is the
//! asking project's. Two projects hold the same files but for a canary in every chunk of each.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use slipway_proto::embedding::SelectFilesRequest;
use slipway_rpc::Reason;

use super::*;
use crate::index::{Server, StandIn, VectorIndex, open_for_test};
use crate::service::Source;

/// Requests on each engine.
const REQUESTS: usize = 2_000;
const AT_ONCE: usize = 8;

/// What one might try to get out of a workspace with.
const WORDS: [&str; 24] = [
    "canary",
    "mine",
    "theirs",
    "project_id",
    "workspace_id",
    "*",
    "' OR 1=1 --",
    "\"; DROP TABLE vector",
    "../../",
    "{\"must\":[]}",
    "must_not",
    "should",
    "{{ .Values.secret }}",
    "gateway",
    "replicas",
    "payload",
    "has_id",
    "\u{202e}",
    "\u{0000}",
    "ｃａｎａｒｙ",
    "path",
    "build",
    "null",
    "00000000-0000-0000-0000-000000000001",
];
const GLOBS: [&str; 12] =
    ["", "*", "**", "**/*", "{a,b}/**", "[!a]*", "../**", "/**", "shared/*.md", "theirs/**", "*{,*}", "**/canary*"];

fn files(owner: &str, other: &str) -> Vec<(String, String)> {
    let file = |n: usize| {
        let words = format!(
            "# Canary {n}\n\nmine-{owner} gateway replicas path build payload{n}\n\n## More of {owner}\n\ncanary-{owner}\n"
        );
        (format!("shared/f{n}.md"), words)
    };
    let mut all: Vec<_> = (0..12).map(file).collect();
    all.push((
        format!("{owner}/only.md"),
        format!("canary-{owner} is not for {}\n", if other.is_empty() { "nobody" } else { "others" }),
    ));
    all
}

fn query(random: &mut StdRng, ids: &[String]) -> String {
    let mut parts: Vec<String> = (0..random.random_range(1..8)).map(|_| (*WORDS.choose(random).unwrap()).to_owned()).collect();
    if random.random_bool(0.3) {
        parts.push(ids.choose(random).unwrap().clone());
    }
    // Most find something: a request that finds nothing leaks nothing either.
    if random.random_bool(0.7) {
        parts.push(" gateway canary ".to_owned());
    }
    if random.random_bool(0.2) {
        parts.push((0..random.random_range(1..40)).map(|_| random.random::<char>()).collect());
    }
    parts.join(if random.random_bool(0.5) { " " } else { "" }).chars().take(3_000).collect()
}

/// Another's workspace is not there; of one's own a request may be refused for what it says, and for nothing else.
fn is_no_fault(refused: &Status, foreign: bool, said: &str) {
    let reason = slipway_rpc::Fault::from_status(refused).reason();
    let said_wrong = [Reason::FieldInvalid, Reason::PatternInvalid].contains(&reason);
    assert!(said_wrong || (foreign && reason == Reason::IndexNotFound), "{said}: {refused}");
}

async fn no_request_widens_its_scope(engine: Arc<dyn VectorIndex>, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/embedding.db", dir.path().display());
    let parts = Parts { engine: Some(Source::Given(engine)), ..Parts::default() };
    let world = World::start_with(dir, &url, FileStore::default(), Model::Counting(Arc::default()), parts).await;
    let tenants = [(project(1), Uuid::now_v7(), "alice", "bob"), (project(2), Uuid::now_v7(), "bob", "alice")];
    for (p, w, owner, other) in tenants {
        let files = files(owner, other);
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        world.commit(p, w, &files).await;
        world.hybrid(p, w, 1).await;
    }
    let mut ids: Vec<String> = tenants.iter().flat_map(|t| [t.0.to_string(), t.1.to_string()]).collect();
    ids.extend(["canary-alice", "canary-bob", "alice/only.md", "bob/only.md"].map(str::to_owned));

    let next = AtomicUsize::new(0);
    let (answered, selected) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let one = || async {
        loop {
            let n = next.fetch_add(1, Ordering::SeqCst);
            if n >= REQUESTS {
                return;
            }
            let mut random = StdRng::seed_from_u64(seed + n as u64);
            let (p, w, owner, other) = tenants[n % 2];
            // Now and then somebody asks for a workspace that is not theirs.
            let (asked, foreign) = if random.random_bool(0.1) { (tenants[(n + 1) % 2].1, true) } else { (w, false) };
            let text = query(&mut random, &ids);
            let said = format!("request {n} of seed {seed}: {text:?}");
            let canary = format!("canary-{other}");
            if random.random_bool(0.2) {
                let request =
                    SelectFilesRequest { workspace_id: asked.to_string(), request: text, limit: random.random_range(0..=100) };
                match world.client().select_files(ctx(p).request(request)).await {
                    Ok(_) if foreign => panic!("{said}: another project's workspace was read"),
                    Ok(chosen) => {
                        let chosen = chosen.into_inner();
                        selected.fetch_add(usize::from(!chosen.files.is_empty()), Ordering::SeqCst);
                        assert!(chosen.files.iter().all(|f| f.path != format!("{other}/only.md")), "{said}: {chosen:?}");
                    }
                    Err(refused) => is_no_fault(&refused, foreign, &said),
                }
                continue;
            }
            let request = SearchRequest {
                workspace_id: asked.to_string(),
                query: text,
                limit: random.random_range(0..=100),
                mode: random.random_range(0..=3),
                glob: if random.random_bool(0.5) { "" } else { GLOBS.choose(&mut random).unwrap() }.to_owned(),
            };
            match world.search_with(p, request).await {
                Ok(_) if foreign => panic!("{said}: another project's workspace was read"),
                Ok(found) => {
                    answered.fetch_add(usize::from(!found.hits.is_empty()), Ordering::SeqCst);
                    for hit in &found.hits {
                        let leaked = hit.text.contains(&canary) || hit.title.contains(other) || hit.path.starts_with(other);
                        assert!(!leaked, "{said}: {owner} has got {hit:?}");
                    }
                }
                Err(refused) => is_no_fault(&refused, foreign, &said),
            }
        }
    };
    futures::future::join_all((0..AT_ONCE).map(|_| one())).await;
    let answered = answered.into_inner();
    assert!(answered > REQUESTS / 4, "only {answered} of {REQUESTS} found anything: they prove little");
    let selected = selected.into_inner();
    assert!(selected > REQUESTS / 20, "only {selected} of {REQUESTS} chose anything: they prove little");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_process_no_request_widens_its_scope() {
    let (_dir, engine) = open_for_test();
    no_request_widens_its_scope(Arc::new(engine), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_server_no_request_widens_its_scope() {
    let stand_in = StandIn::start().await;
    let server = Server::new(&stand_in.settings()).unwrap();
    server.create().await.unwrap();
    no_request_widens_its_scope(Arc::new(server.current().unwrap()), 100_000).await;
}
