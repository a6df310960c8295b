//! Providers as their documentation describes them, and as they fail.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap as Headers, Response};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc2822;
use tokio::task::JoinHandle;

use super::*;

/// A request as it came.
struct Asked {
    path: String,
    authorization: String,
    body: Value,
}

/// How an answer is made.
type Answer = Box<dyn Fn(&Value) -> Response<Body> + Send>;

#[derive(Default)]
struct Provider {
    asked: Mutex<Vec<Asked>>,
    /// Answers before the usual one.
    first: Mutex<VecDeque<Answer>>,
}

struct Running {
    provider: Arc<Provider>,
    url: String,
    serving: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State((provider, kind)): State<(Arc<Provider>, EmbedderKind)>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let text = |headers: &Headers| headers.get("authorization").map_or(String::new(), |v| v.to_str().unwrap().to_owned());
    let authorization = text(request.headers());
    let bytes = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    let first = provider.first.lock().unwrap().pop_front();
    let response = first.map_or_else(|| usual(kind, &body), |first| first(&body));
    provider.asked.lock().unwrap().push(Asked { path, authorization, body });
    response
}

fn said(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).body(body.into()).unwrap()
}

fn texts_of(body: &Value) -> Vec<String> {
    let texts = body.get("input").or_else(|| body.get("texts")).unwrap().as_array().unwrap();
    texts.iter().map(|t| t.as_str().unwrap().to_owned()).collect()
}

/// A vector that tells its text's length, not of length 1.
fn vector(text: &str) -> Value {
    json!([3.0, text.len(), 0.0, 4.0])
}

/// The answers of the documentation.
fn usual(kind: EmbedderKind, body: &Value) -> Response<Body> {
    let vectors: Vec<Value> = texts_of(body).iter().map(|t| vector(t)).collect();
    let answer = match kind {
        EmbedderKind::Cohere => json!({
            "id": "da6e531f-54c5-4a73-bf92-f60566d8d753",
            "embeddings": {"float": vectors},
            "texts": texts_of(body),
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 2}},
        }),
        EmbedderKind::Ollama => json!({"model": "m", "embeddings": vectors, "total_duration": 14143917, "prompt_eval_count": 8}),
        _ => {
            let datum = |(index, vector)| json!({"object": "embedding", "index": index, "embedding": vector});
            // The last one first: the index counts.
            let data: Vec<Value> = vectors.into_iter().enumerate().map(datum).rev().collect();
            json!({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 8, "total_tokens": 8}})
        }
    };
    said(200, answer.to_string())
}

async fn start(kind: EmbedderKind) -> Running {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let provider = Arc::new(Provider::default());
    let router = Router::new().fallback(answer).with_state((provider.clone(), kind));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Running { provider, url, serving }
}

fn settings(kind: EmbedderKind, running: &Running) -> EmbedderSettings {
    EmbedderSettings {
        kind,
        model: "m".to_owned(),
        base_url: running.url.clone(),
        api_key: "sk-test".into(),
        dimensions: 4,
        timeout_ms: 2_000,
        ..EmbedderSettings::default()
    }
}

async fn embed(remote: &Arc<Remote>, texts: &[&str]) -> Result<Vec<Vec<f32>>, String> {
    let (remote, texts) = (remote.clone(), texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
    tokio::task::spawn_blocking(move || remote.embed(&texts)).await.unwrap().map_err(|e| e.to_string())
}

const ALL: [EmbedderKind; 4] = [EmbedderKind::Openai, EmbedderKind::Voyage, EmbedderKind::Cohere, EmbedderKind::Ollama];

#[tokio::test(flavor = "multi_thread")]
async fn every_provider_is_asked_as_it_wants_to_be_and_understood() {
    for kind in ALL {
        let running = start(kind).await;
        let remote = Arc::new(Remote::new(EmbedderSettings { batch: 2, ..settings(kind, &running) }).unwrap());
        let vectors = embed(&remote, &["a", "bb", "ccc"]).await.unwrap();
        assert_eq!(vectors.len(), 3, "{kind:?}");
        for (vector, length) in vectors.iter().zip([1.0f32, 2.0, 3.0]) {
            let norm = (25.0 + length * length).sqrt();
            let expected = [3.0 / norm, length / norm, 0.0, 4.0 / norm];
            assert!(vector.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-6), "{kind:?}: {vector:?} is not {expected:?}");
        }
        let asked_for = remote.clone();
        tokio::task::spawn_blocking(move || asked_for.embed_query("what").unwrap()).await.unwrap();
        let asked = running.provider.asked.lock().unwrap();
        assert_eq!(asked.len(), 3, "two batches and a query");
        assert!(asked.iter().all(|a| a.authorization == "Bearer sk-test" && a.body["model"] == "m"));
        let (passage, query) = (&asked[0].body, &asked[2].body);
        let (path, length) = match kind {
            EmbedderKind::Cohere => ("/v1/embed", "output_dimension"),
            EmbedderKind::Ollama => ("/v1/api/embed", "dimensions"),
            EmbedderKind::Voyage => ("/v1/embeddings", "output_dimension"),
            _ => ("/v1/embeddings", "dimensions"),
        };
        assert_eq!((asked[0].path.as_str(), &passage[length]), (path, &json!(4)), "{kind:?}");
        let kinds = (passage["input_type"].as_str(), query["input_type"].as_str());
        match kind {
            EmbedderKind::Cohere => assert_eq!(kinds, (Some("search_document"), Some("search_query"))),
            EmbedderKind::Voyage => assert_eq!(kinds, (Some("document"), Some("query"))),
            _ => assert_eq!(kinds, (None, None)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_now_is_asked_again_when_the_provider_says() {
    let running = start(EmbedderKind::Openai).await;
    let remote = Arc::new(Remote::new(settings(EmbedderKind::Openai, &running)).unwrap());
    let busy = |wait: &'static str| -> Answer {
        Box::new(move |_| Response::builder().status(429).header("retry-after", wait).body(Body::from("slow down")).unwrap())
    };
    running.provider.first.lock().unwrap().extend([busy("1"), Box::new(|_: &Value| said(500, "oops")) as Answer]);
    let started = std::time::Instant::now();
    assert_eq!(embed(&remote, &["a"]).await.unwrap().len(), 1);
    assert!(started.elapsed() >= Duration::from_secs(1), "the wait is honoured");
    assert_eq!(running.provider.asked.lock().unwrap().len(), 3);
    // The same as a date; to the second, so that it may be up to one less.
    let date = (OffsetDateTime::now_utc() + Duration::from_secs(3)).format(&Rfc2822).unwrap();
    let until = Response::builder().status(503).header("retry-after", date.replace("+0000", "GMT"));
    let until = Mutex::new(Some(until.body(Body::from("later")).unwrap()));
    running.provider.first.lock().unwrap().push_back(Box::new(move |_| until.lock().unwrap().take().unwrap()));
    let started = std::time::Instant::now();
    assert_eq!(embed(&remote, &["a"]).await.unwrap().len(), 1);
    assert!(started.elapsed() >= Duration::from_secs(2), "the date is honoured");

    // Not for ever, not for hours, and not what would be no better.
    running.provider.asked.lock().unwrap().clear();
    running.provider.first.lock().unwrap().extend([busy("7200")]);
    assert!(embed(&remote, &["a"]).await.unwrap_err().contains("429"));
    assert_eq!(running.provider.asked.lock().unwrap().len(), 1);
    running.provider.first.lock().unwrap().extend((0..9).map(|_| Box::new(|_: &Value| said(503, "down")) as Answer));
    assert!(embed(&remote, &["a"]).await.unwrap_err().contains("503"));
    assert_eq!(running.provider.asked.lock().unwrap().len(), 1 + TRIES);
    running.provider.first.lock().unwrap().clear();
    running.provider.first.lock().unwrap().extend([Box::new(|_: &Value| said(401, "bad key")) as Answer]);
    let refused = embed(&remote, &["a"]).await.unwrap_err();
    assert!(refused.contains("embedding.embedder.api_key") && !refused.contains("sk-test"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_is_an_error_that_says_why() {
    for kind in ALL {
        let running = start(kind).await;
        let remote = Arc::new(Remote::new(settings(kind, &running)).unwrap());
        let once = |body: &'static str| running.provider.first.lock().unwrap().push_back(Box::new(move |_| said(200, body)));
        // Cut in the middle, then whole: asked again.
        once(r#"{"data":[{"index":0,"embed"#);
        once("");
        assert_eq!(embed(&remote, &["a"]).await.unwrap().len(), 1, "{kind:?}");
        let shaped = |vectors: Value| {
            let body = match kind {
                EmbedderKind::Cohere => json!({"embeddings": {"float": vectors}}),
                EmbedderKind::Ollama => json!({"embeddings": vectors}),
                _ => json!({"data": vectors.as_array().unwrap().iter().map(|v| json!({"embedding": v})).collect::<Vec<_>>()}),
            };
            running.provider.first.lock().unwrap().push_back(Box::new(move |_| said(200, body.to_string())));
        };
        for (vectors, why) in [
            (json!([[1.0, 2.0]]), "set embedding.embedder.dimensions to 2"),
            (json!([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]), "2 vectors for 1 texts"),
            (json!([]), "0 vectors for 1 texts"),
            (json!([[0.0, 0.0, 0.0, 0.0]]), "without a direction"),
            (json!([[1e39, 0.0, 0.0, 0.0]]), "without a direction"),
        ] {
            shaped(vectors);
            let failed = embed(&remote, &["a"]).await.unwrap_err();
            assert!(failed.contains(why), "{kind:?}: {failed}");
        }
    }
    let nobody = EmbedderSettings { base_url: "http://127.0.0.1:1".to_owned(), dimensions: 4, ..EmbedderSettings::default() };
    let nobody = Arc::new(Remote::new(EmbedderSettings { kind: EmbedderKind::Ollama, ..nobody }).unwrap());
    let failed = tokio::task::spawn_blocking(move || nobody.embed_query("x").unwrap_err().to_string()).await.unwrap();
    assert!(failed.contains("cannot be reached"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_number_and_what_has_no_end_are_no_vectors() {
    let running = start(EmbedderKind::Openai).await;
    let remote = Arc::new(Remote::new(settings(EmbedderKind::Openai, &running)).unwrap());
    for odd in ["NaN", "null", "\"1\"", "1e999"] {
        let body = format!(r#"{{"data":[{{"index":0,"embedding":[{odd},0,0,1]}}]}}"#);
        let times = (0..TRIES).map(|_| {
            let body = body.clone();
            Box::new(move |_: &Value| said(200, body.clone())) as Answer
        });
        running.provider.first.lock().unwrap().extend(times);
        let failed = embed(&remote, &["a"]).await.unwrap_err();
        assert!(failed.contains("sent no vectors"), "{odd}: {failed}");
    }
    // Fewer than there were texts, in the middle of several batches.
    running.provider.first.lock().unwrap().push_back(Box::new(|_| said(200, r#"{"data":[{"embedding":[1,0,0,0]}]}"#)));
    assert!(embed(&remote, &["a", "b"]).await.unwrap_err().contains("1 vectors for 2 texts"));
    running.provider.first.lock().unwrap().push_back(Box::new(|_| said(200, vec![b' '; MAX_ANSWER_BYTES + 1])));
    assert!(embed(&remote, &["a"]).await.unwrap_err().contains("more than vectors take"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_made_again_and_one_that_is_silent_is_left() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = connections.clone();
    let breaking = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let turn = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut request = vec![0; 65_536];
            let _ = tokio::io::AsyncReadExt::read(&mut socket, &mut request).await.unwrap();
            // Before the answer, and in the middle of it.
            if turn % 2 == 1 {
                let half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"data\":[{\"embedding\":[1,";
                tokio::io::AsyncWriteExt::write_all(&mut socket, half).await.unwrap();
            }
        }
    });
    let of = |base_url: String, timeout_ms| EmbedderSettings {
        kind: EmbedderKind::Openai,
        model: "m".to_owned(),
        base_url,
        dimensions: 4,
        timeout_ms,
        ..EmbedderSettings::default()
    };
    let remote = Arc::new(Remote::new(of(url, 2_000)).unwrap());
    let failed = embed(&remote, &["a"]).await.unwrap_err();
    assert!(failed.contains("broke off its answer"), "{failed}");
    assert!(connections.load(std::sync::atomic::Ordering::SeqCst) >= TRIES, "each time on a connection of its own");
    breaking.abort();

    // It takes connections, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = Arc::new(Remote::new(of(format!("http://{}/v1", silent.local_addr().unwrap()), 150)).unwrap());
    let started = std::time::Instant::now();
    let failed = tokio::task::spawn_blocking(move || remote.embed_query("x").unwrap_err().to_string()).await.unwrap();
    assert!(failed.contains("does not answer in time") && started.elapsed() < Duration::from_secs(2), "{failed}");
}

#[test]
fn batches_are_bounded_by_count_and_by_tokens() {
    let long = "x".repeat(90_000);
    assert_eq!(batches(&["a"; 5], 2), [(0, 2), (2, 4), (4, 5)]);
    assert_eq!(batches(&[&long, "a", &long, &long], 10), [(0, 2), (2, 3), (3, 4)]);
    assert_eq!(batches(&[], 10), []);
    assert_eq!(cut(&"é".repeat(MAX_CHARS + 9)).chars().count(), MAX_CHARS);
    assert_eq!(cut(" \n"), ".");
}
